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
from earshot.data.public.annotations import MEND, WINNER, Row, number_field, optional_text, pairs_of_rows, text_field
from earshot.data.public.parquet import column_names, embedded_image, find_shards, read_rows, shards_absent
from earshot.errors import DataError
from earshot.images import ImageFolder, Tolerance
from earshot.types import Label, Pair

_REQUIRED = ("caption", "has_label", "label_0", "label_1")
_IMAGES = ("jpg_0", "jpg_1")
_OPTIONAL = ("model_0", "model_1")
_LABELS: dict[tuple[float, float], Label] = {(1.0, 0.0): "first", (0.0, 1.0): "second", (0.5, 0.5): "tie"}


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the shards of one split; see `Published`.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, or a column is missing.
    """
    source, by_rule = Path(source), Counter({"has_label_false": 0})
    shards = find_shards(source, split)
    present = column_names(shards, _REQUIRED, {})
    if images:
        column_names(shards, _IMAGES, {"has_label": "if this is the set without images, add --no-images"})
    if missing := shards_absent(shards):
        by_rule["shards_absent"] = missing
    folder = ImageFolder(source if source.is_dir() else source.parent)
    columns = [*_REQUIRED, *(column for column in _OPTIONAL if column in present)]
    rows = read_rows(shards, columns, _IMAGES, images)
    pairs = pairs_of_rows(rows, tolerance, lambda row: _pairs(row, folder, images, by_rule))
    return Published(tuple(shard.file for shard in shards), pairs, embedded=True, by_rule=by_rule)


def _pairs(row: Row, folder: ImageFolder, images: bool, by_rule: Counter[str]) -> Iterator[Pair]:
    if not isinstance(labelled := row.values["has_label"], bool):
        raise DataError(f"{row.place}: has_label is {labelled!r}, expected true or false; {MEND}")
    if not labelled:
        by_rule["has_label_false"] += 1
        return
    label = _label(row)
    yield Pair(
        id=row.key,
        prompt=text_field(row.values, "caption", row.place),
        first=embedded_image(row, "jpg_0", folder, images),
        second=embedded_image(row, "jpg_1", folder, images),
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
