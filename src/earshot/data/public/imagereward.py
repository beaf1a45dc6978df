"""ImageReward's rankings: a list of `{id, prompt, generations: [path, ...], ranking: [int, ...]}`.

`ranking` is no permutation: 1 is best, images may share a rank, and a group may start at 2 or 3. Every two images of a
group become a pair. One person ranked a group, so the votes of a pair are 1 and 0; of two images that share a rank
they are 1 and 1: a share of one half and no majority, and metrics that need one leave the pair out by that.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from earshot.data.public import Published
from earshot.data.public.annotations import find_file, read_list, text_field
from earshot.errors import DataError
from earshot.images import Tolerance, resolve_inside
from earshot.types import Pair, Votes


def read(source: Path, tolerance: Tolerance) -> Published:
    """Opens the annotations; see `Published`.

    The id of a group is the `prompt_id` of its pairs: three prompts of the test set were ranked in two groups each.

    Raises:
        InputError: There is no such folder or file.
        DataError: The folder holds no JSON file, or several, or it is no list.
    """
    file = find_file(Path(source), "*.json")
    return Published(file, _pairs(file, read_list(file), tolerance))


def _pairs(file: Path, groups: list[Any], tolerance: Tolerance) -> Iterator[Pair]:
    split = next((name for name in ("train", "validation", "test") if name in file.stem), None)
    for number, group in enumerate(groups):
        try:
            pairs = _pairs_of_group(group, file.parent, split, f"{file.name}: group {number}")
        except DataError as error:
            tolerance.refuse(error)
            continue
        yield from pairs


def _pairs_of_group(group: Any, folder: Path, split: str | None, place: str) -> list[Pair]:
    identity = text_field(group, "id", place)
    place = f"{place} ({identity})"
    prompt = text_field(group, "prompt", place)
    names, ranks = group.get("generations"), group.get("ranking")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise DataError(f"{place}: generations is no list of at least 2 paths; mend the group or tolerate it")
    if not isinstance(ranks, list) or len(ranks) != len(names) or not all(type(rank) is int for rank in ranks):
        raise DataError(f"{place}: ranking is no list of {len(names)} whole numbers; mend the group or tolerate it")
    images = [resolve_inside(folder, name, where=place) for name in names]
    return [
        Pair(
            id=f"{identity}-{i}-{j}",
            prompt=prompt,
            first=images[i],
            second=images[j],
            votes=Votes(float(ranks[i] <= ranks[j]), float(ranks[j] <= ranks[i])),
            prompt_id=identity,
            axis="preference",
            split=split,
            source="imagereward",
        )
        for i, j in combinations(range(len(names)), 2)
    ]
