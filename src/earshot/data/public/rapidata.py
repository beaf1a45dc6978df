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
from functools import partial
from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import MEND, Row, number_field, optional_text, text_field
from earshot.data.public.parquet import Images, Layout, column_names, find_shards, read_shards
from earshot.errors import DataError, short
from earshot.images import Tolerance
from earshot.types import Pair, Votes

_IMAGES = ("image1", "image2")
_MODELS = ("model1", "model2")
_VOTES = ("votes_image1", "votes_image2")
_AXES = ("preference", "coherence", "alignment")
_NEWER = {f"weighted_results_image1_{axis}": "this is the newer layout; import it as rapidata-t2i" for axis in _AXES}
_OLDER = {"votes_image1": "this is a set of one question; import it as rapidata-style, -coherence or -alignment"}


def _read_votes(
    source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True, axis: str
) -> Published:
    """Opens shards with vote counts, of the question about one axis.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, or a column is missing.
    """

    def make(row: Row, image: Images) -> Iterator[Pair]:
        votes = _numbers(row, *_VOTES)
        if votes.total == 0:
            raise DataError(f"{row.place}: votes_image1 and votes_image2 are 0, expected at least one vote; {MEND}")
        yield _pair(row, row.key, axis, votes, image)

    layout = Layout(("prompt", *_VOTES), _MODELS, _IMAGES, _NEWER)
    return read_shards(Path(source), tolerance, layout, make, split=split, images=images)


read_style = partial(_read_votes, axis="style")
read_coherence = partial(_read_votes, axis="coherence")
read_alignment = partial(_read_votes, axis="alignment")


def read_weighted(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens shards with weighted results, of as many of the three questions as they have.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, or a column is missing.
    """
    by_rule = Counter[str]()
    present = column_names(find_shards(Path(source), split), ("prompt",), _OLDER)
    columns = {axis: _weights(axis) for axis in _AXES if any(name in present for name in _weights(axis))}

    def make(row: Row, image: Images) -> Iterator[Pair]:
        for axis, names in columns.items():
            if all(row.values[name] is None for name in names):
                by_rule[f"no_{axis}_results"] += 1
                continue
            votes = _numbers(row, *names)
            if votes.total == 0:
                raise DataError(f"{row.place}: {names[0]} and {names[1]} are 0, expected any weight; {MEND}")
            yield _pair(row, f"{row.key}-{axis}", axis, votes, image)

    wanted = [name for names in columns.values() for name in names] or _weights("preference")
    layout = Layout(("prompt", *wanted), _MODELS, _IMAGES, _OLDER)
    return read_shards(Path(source), tolerance, layout, make, split=split, images=images, by_rule=by_rule)


def _weights(axis: str) -> tuple[str, str]:
    return f"weighted_results_image1_{axis}", f"weighted_results_image2_{axis}"


def _numbers(row: Row, first: str, second: str) -> Votes:
    one, two = row.values[first], row.values[second]
    if (one is None) != (two is None):
        raise DataError(f"{row.place}: {first} is {short(one)} and {second} {short(two)}, expected both; {MEND}")
    return Votes(number_field(one, first, row.place), number_field(two, second, row.place))


def _pair(row: Row, identity: str, axis: str, votes: Votes, image: Images) -> Pair:
    return Pair(
        id=identity,
        prompt=text_field(row.values, "prompt", row.place),
        first=image("image1"),
        second=image("image2"),
        votes=votes,
        axis=axis,
        split=row.split,
        model_first=optional_text(row.values, "model1", row.place),
        model_second=optional_text(row.values, "model2", row.place),
        source="rapidata",
    )
