"""ImageReward's rankings: a list of `{id, prompt, generations: [path, ...], ranking: [int, ...]}`.

`ranking` is no permutation: 1 is best, images may share a rank, and a group may start at 2 or 3. Every two images of a
group become a pair. One person ranked a group, so the votes of a pair are 1 and 0; of two images that share a rank
they are 1 and 1: a share of one half and no majority, and metrics that need one leave the pair out by that. Ranks that
are skipped are no errors here: 55 of the 466 published groups have them.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import (
    MEND,
    Row,
    fields,
    find_file,
    list_field,
    locate,
    pairs_of_rows,
    read_list,
    split_in,
    text_field,
)
from earshot.errors import DataError, short
from earshot.images import ImageFolder, Tolerance
from earshot.types import Pair, Votes


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the annotations; see `Published`. A folder of several JSON files needs a split, which one of them names.

    The id of a group is the `prompt_id` of its pairs: three prompts of the test set were ranked in two groups each.

    Raises:
        InputError: There is no such folder or file.
        DataError: The folder holds no JSON file, or several, or it is no list.
    """
    file = find_file(Path(source), "*.json" if split is None else f"*{split}*.json", by_split=True)
    rows = (Row(f"{file.name}: group {n}", "", group, split_in(file.stem)) for n, group in enumerate(read_list(file)))
    folder = ImageFolder(file.parent)
    return Published((file,), pairs_of_rows(rows, tolerance, lambda row: _pairs_of_group(row, folder)))


def _pairs_of_group(row: Row, folder: ImageFolder) -> list[Pair]:
    group = fields(row, "id", "prompt", "generations", "ranking")
    identity = text_field(group, "id", row.place)
    place = f"{row.place} ({identity})"
    prompt = text_field(group, "prompt", place)
    names = list_field(group, "generations", place)
    ranks = list_field(group, "ranking", place, len(names))
    if not all(type(rank) is int for rank in ranks):
        raise DataError(f"{place}: ranking is {short(ranks)}, expected whole numbers; {MEND}")
    paths = [locate(folder, name, place) for name in names]
    return [
        Pair(
            id=f"{identity}-{i}-{j}",
            prompt=prompt,
            first=paths[i],
            second=paths[j],
            votes=Votes(float(ranks[i] <= ranks[j]), float(ranks[j] <= ranks[i])),
            prompt_id=identity,
            axis="preference",
            split=row.split,
            source="imagereward",
        )
        for i, j in combinations(range(len(names)), 2)
    ]
