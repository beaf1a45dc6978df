"""HPDv3: `{prompt, choice_dist, confidence, path1, path2, model1, model2}`, in which path1 is always preferred.

From the reference repository (MizzenAI/HPSv3): a JSON list (`all.json`, `train.json`, `test.json`) beside `images/`.
`test.json` has neither `choice_dist` nor `confidence`, and both are null in pairs that come from Midjourney and from
HPDv2: there the votes are 1 and 0. JSONL files and parquet shards of the same fields are read too.

`choice_dist` is documented as the votes for the first and the second image, but the reference code sorts it, larger
first, before it takes the preferred image's share. So does this importer, and counts how often it had to. Where both
are equal, the votes are tied, and the label alone says what the publisher says.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import (
    MEND,
    WINNER,
    Row,
    fields,
    find_file,
    list_field,
    locate,
    number_field,
    optional_text,
    pairs_of_rows,
    read_entries,
    text_field,
)
from earshot.data.public.parquet import Layout, read_shards
from earshot.errors import DataError
from earshot.images import ImageFolder, Tolerance
from earshot.types import Pair, Votes

_HINTS = {"file_path": "this is hpdv2-train", "image_path": "this is hpdv2-test"}
_LAYOUT = Layout(("prompt", "path1", "path2"), ("choice_dist", "model1", "model2"), hints=_HINTS)


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens a JSON list, a JSONL file, or parquet shards; see `Published`.

    A folder of several JSON files needs a split: the name of one of them.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: The folder holds none of these, or several and no split was chosen; a column is missing.
    """
    source, by_rule = Path(source), Counter[str]()
    folder = ImageFolder(source if source.is_dir() else source.parent)

    def make(row: Row) -> list[Pair]:
        return [_pair(row, folder, by_rule)]

    if source.suffix == ".parquet" or (source.is_dir() and not any(source.glob("*.json*"))):
        return read_shards(
            source, tolerance, _LAYOUT, lambda row, _: make(row), split=split, images=images, by_rule=by_rule
        )
    file = find_file(source, f"{split or '*'}.json*", by_split=True)
    return Published((file,), pairs_of_rows(read_entries(file), tolerance, make), by_rule=by_rule)


def _pair(row: Row, folder: ImageFolder, by_rule: Counter[str]) -> Pair:
    entry = fields(row, *_LAYOUT.required, hints=_HINTS)
    return Pair(
        id=row.key,
        prompt=text_field(entry, "prompt", row.place),
        first=locate(folder, entry["path1"], row.place),
        second=locate(folder, entry["path2"], row.place),
        votes=_votes(row, by_rule),
        axis="preference",
        split=row.split,
        model_first=optional_text(entry, "model1", row.place),
        model_second=optional_text(entry, "model2", row.place),
        source="hpdv3",
        label="first",
    )


def _votes(row: Row, by_rule: Counter[str]) -> Votes:
    if row.values.get("choice_dist") is None:
        return WINNER["first"]
    given = [number_field(one, "choice_dist", row.place) for one in list_field(row.values, "choice_dist", row.place, 2)]
    if sum(given) == 0:
        raise DataError(f"{row.place}: choice_dist is [0, 0], expected at least one vote, or null; {MEND}")
    if given[0] < given[1]:
        by_rule["choice_dist_sorted"] += 1
    return Votes(max(given), min(given))
