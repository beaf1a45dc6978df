"""Rapidata's votes on generated images: parquet shards, in two layouts.

From the data cards. The three sets of one question each, style, coherence and alignment, have the same columns:
`prompt, image1, image2` (the hub's struct of bytes and path), `votes_image1, votes_image2` (counts), `model1, model2,
detailed_results, image1_path, image2_path`. Nothing in a file says which question was asked: the name of the importer
does. Later sets have `weighted_results_image{1,2}_{preference,coherence,alignment}` instead: what the answers weigh,
every person by a trust score, as a share of 1. One row then gives up to three pairs, one a question; a question without
results gives none, and is counted.

Assumed, not read: that a higher number means a better image on every axis. Check the question on the card.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import (
    MEND,
    Row,
    absent,
    number_field,
    optional_text,
    pairs_of_rows,
    text_field,
)
from earshot.data.public.parquet import Shard, column_names, embedded_image, find_shards, read_rows, shards_absent
from earshot.errors import DataError, short
from earshot.images import ImageFolder, Tolerance
from earshot.types import Pair, Votes

_IMAGES = ("image1", "image2")
_OPTIONAL = ("model1", "model2")
_VOTES = ("votes_image1", "votes_image2")
_AXES = ("preference", "coherence", "alignment")
_NEWER = {f"weighted_results_image1_{axis}": "this is the newer layout; import it as rapidata-t2i" for axis in _AXES}
_OLDER = {"votes_image1": "this is a set of one question; import it as rapidata-style, -coherence or -alignment"}


def read_style(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the shards of the question about style; see `_read_votes`."""
    return _read_votes(source, tolerance, "style", split, images)


def read_coherence(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the shards of the question about coherence; see `_read_votes`."""
    return _read_votes(source, tolerance, "coherence", split, images)


def read_alignment(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the shards of the question about alignment; see `_read_votes`."""
    return _read_votes(source, tolerance, "alignment", split, images)


def _read_votes(source: Path, tolerance: Tolerance, axis: str, split: str | None, images: bool) -> Published:
    """Opens shards with vote counts.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, or a column is missing.
    """
    source, by_rule = Path(source), Counter[str]()
    shards = find_shards(source, split)
    present = column_names(shards, ("prompt", *_VOTES, *(_IMAGES if images else ())), _NEWER)
    folder = ImageFolder(source if source.is_dir() else source.parent)

    def make(row: Row) -> list[Pair]:
        votes = _numbers(row, *_VOTES)
        if votes.total == 0:
            raise DataError(f"{row.place}: votes_image1 and votes_image2 are 0, expected at least one vote; {MEND}")
        return [_pair(row, row.key, axis, votes, folder, images)]

    rows = _rows(shards, ["prompt", *_VOTES], present, images, by_rule)
    pairs = pairs_of_rows(rows, tolerance, make)
    return Published(tuple(shard.file for shard in shards), pairs, embedded=True, by_rule=by_rule)


def read_weighted(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens shards with weighted results, of as many of the three questions as they have.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, or a column is missing.
    """
    source, by_rule = Path(source), Counter[str]()
    shards = find_shards(source, split)
    present = column_names(shards, ("prompt", *(_IMAGES if images else ())), _OLDER)
    folder = ImageFolder(source if source.is_dir() else source.parent)
    columns = {axis: _weights(axis) for axis in _AXES if any(name in present for name in _weights(axis))}
    wanted = [name for names in columns.values() for name in names]
    if missing := [name for name in (wanted or _weights("preference")) if name not in present]:
        raise absent(missing, present, str(shards[0].file), _OLDER)

    def make(row: Row) -> Iterator[Pair]:
        for axis, names in columns.items():
            if all(row.values[name] is None for name in names):
                by_rule[f"no_{axis}_results"] += 1
                continue
            votes = _numbers(row, *names)
            if votes.total == 0:
                raise DataError(f"{row.place}: {names[0]} and {names[1]} are 0, expected any weight; {MEND}")
            yield _pair(row, f"{row.key}-{axis}", axis, votes, folder, images)

    rows = _rows(shards, ["prompt", *wanted], present, images, by_rule)
    pairs = pairs_of_rows(rows, tolerance, make)
    return Published(tuple(shard.file for shard in shards), pairs, embedded=True, by_rule=by_rule)


def _weights(axis: str) -> tuple[str, str]:
    return f"weighted_results_image1_{axis}", f"weighted_results_image2_{axis}"


def _rows(
    shards: list[Shard], columns: list[str], present: set[str], images: bool, by_rule: Counter[str]
) -> Iterator[Row]:
    if missing := shards_absent(shards):
        by_rule["shards_absent"] = missing
    return read_rows(shards, [*columns, *(column for column in _OPTIONAL if column in present)], _IMAGES, images)


def _numbers(row: Row, first: str, second: str) -> Votes:
    one, two = row.values[first], row.values[second]
    if (one is None) != (two is None):
        raise DataError(f"{row.place}: {first} is {short(one)} and {second} {short(two)}, expected both; {MEND}")
    return Votes(number_field(one, first, row.place), number_field(two, second, row.place))


def _pair(row: Row, identity: str, axis: str, votes: Votes, folder: ImageFolder, images: bool) -> Pair:
    return Pair(
        id=identity,
        prompt=text_field(row.values, "prompt", row.place),
        first=embedded_image(row, "image1", folder, images),
        second=embedded_image(row, "image2", folder, images),
        votes=votes,
        axis=axis,
        split=row.split,
        model_first=optional_text(row.values, "model1", row.place),
        model_second=optional_text(row.values, "model2", row.place),
        source="rapidata",
    )
