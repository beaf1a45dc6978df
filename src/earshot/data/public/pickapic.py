"""Pick-a-Pic, versions 1 and 2: parquet shards with the bytes of two images and what one person said of them.

From the data cards: `caption`, `jpg_0`, `jpg_1` (bytes), `label_0`, `label_1` (1 and 0, or 0.5 and 0.5 for a tie),
`has_label`, `model_0`, `model_1`, `best_image_uid`, `ranking_id` and more, in the splits train, validation, test,
validation_unique and test_unique. The publisher's own evaluation leaves out rows whose `has_label` is false; so does
this importer, in every split, and counts them. The `_no_images` variants have no jpg columns: import them without.

What the labels of a row without one are, is not said, and they are not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import MEND, WINNER, Row, number_field, optional_text, text_field
from earshot.data.public.parquet import Images, Layout, read_shards
from earshot.errors import DataError
from earshot.images import Tolerance
from earshot.types import Label, Pair

_LAYOUT = Layout(("caption", "has_label", "label_0", "label_1"), ("model_0", "model_1"), ("jpg_0", "jpg_1"))
_LABELS: dict[tuple[float, float], Label] = {(1.0, 0.0): "first", (0.0, 1.0): "second", (0.5, 0.5): "tie"}


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the shards of one split; see `Published`.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, or a column is missing.
    """
    by_rule = Counter({"has_label_false": 0})

    def make(row: Row, image: Images) -> Iterator[Pair]:
        return _pairs(row, image, by_rule)

    return read_shards(Path(source), tolerance, _LAYOUT, make, split=split, images=images, by_rule=by_rule)


def _pairs(row: Row, image: Images, by_rule: Counter[str]) -> Iterator[Pair]:
    if not isinstance(labelled := row.values["has_label"], bool):
        raise DataError(f"{row.place}: has_label is {labelled!r}, expected true or false; {MEND}")
    if not labelled:
        by_rule["has_label_false"] += 1
        return
    label = _label(row)
    yield Pair(
        id=row.key,
        prompt=text_field(row.values, "caption", row.place),
        first=image("jpg_0"),
        second=image("jpg_1"),
        votes=WINNER[label],
        axis="preference",
        split=row.split,
        model_first=optional_text(row.values, "model_0", row.place),
        model_second=optional_text(row.values, "model_1", row.place),
        source="pickapic",
        label=label,
    )


def _label(row: Row) -> Label:
    given = tuple(number_field(row.values[name], name, row.place) for name in ("label_0", "label_1"))
    for labels, label in _LABELS.items():
        if given == labels:
            return label
    raise DataError(
        f"{row.place}: label_0 and label_1 are {given[0]:g} and {given[1]:g}, expected 1 and 0, 0 and 1, "
        f"or 0.5 and 0.5; {MEND}"
    )
