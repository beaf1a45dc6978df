"""HPDv2: rankings of 9 or 10 images by ten people (`test.json`), and single choices between two (`train.json`).

From the data card and the reference code (tgxs002/HPSv2): `test.json` is a list of `{prompt, image_path, rank,
raw_annotations: [{rank, user_hash}]}`, where `rank` is the mean of the annotators' rankings, lower being better;
`train.json` of `{prompt, file_path[2], human_preference[2]}`, 1 being preferred. The first release of `test.json` had
no `raw_annotations`, and gives no votes. The card calls an annotator's ranking `rank`; a public program that reads the
file calls it `annotation`: either is read.

A pair of the test set gets a vote from each annotator who ranks one of its images higher, and as its `label` the order
of the published mean, a tie where that is equal: the two may differ. The mean may be fractional and shared, so that a
hole in it can only be a missing value. An annotator's ranking is of whole numbers; where it begins does not matter, for
that is not said (ImageReward's begin at 2 or 3), and images may share a rank, but a step of more than the number of
images that share the rank on either side of it is a hole: an image has gone, and with it the meaning of the others.
Files are named by number: they tell neither generator nor kind of prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, pairwise
from pathlib import Path
from typing import Any

from earshot.data.public import Published
from earshot.data.public.annotations import (
    MEND,
    WINNER,
    Row,
    fields,
    find_file,
    image_root,
    list_field,
    locate,
    no_split,
    number_field,
    pairs_of_rows,
    read_list,
    rows_of,
    text_field,
)
from earshot.errors import DataError, short
from earshot.images import ImageFolder, Tolerance
from earshot.types import Label, Pair, Votes

_HINTS = {
    "human_preference": "this is the training set, hpdv2-train",
    "image_path": "this is the test set, hpdv2-test",
    "generations": "this is imagereward",
    "path1": "this is hpdv3",
}
_NO_VOTES = {"rank": "the first release has no annotators' rankings; get the test.json of 2 August 2023 or later"}


def read_test(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens `test.json`; see `Published`.

    Raises:
        InputError: There is no such folder or file, or a split was asked for.
        DataError: The folder holds no test.json, or it is no list.
    """
    no_split(split, "hpdv2-test")
    file = find_file(Path(source), "test.json")
    folder = image_root(file.parent, _first_names(file, "image_path"), "test")
    return Published(
        (file,), pairs_of_rows(rows_of(file, read_list(file)), tolerance, lambda row: _ranked(row, folder))
    )


def read_train(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens `train.json`; see `Published`.

    Raises:
        InputError: There is no such folder or file, or a split was asked for.
        DataError: The folder holds no train.json, or it is no list.
    """
    no_split(split, "hpdv2-train")
    file = find_file(Path(source), "train.json")
    folder = image_root(file.parent, _first_names(file, "file_path"), "train")
    return Published(
        (file,), pairs_of_rows(rows_of(file, read_list(file)), tolerance, lambda row: [_chosen(row, folder)])
    )


def _first_names(file: Path, field: str) -> list[Any]:
    lists = [entry.get(field) for entry in islice(read_list(file), 20) if isinstance(entry, Mapping)]
    return [name for names in lists if isinstance(names, list) for name in names]


def _ranked(row: Row, folder: ImageFolder) -> Iterator[Pair]:
    entry = fields(row, "prompt", "image_path", "rank", hints=_HINTS)
    fields(row, "raw_annotations", hints=_NO_VOTES)
    prompt = text_field(entry, "prompt", row.place)
    names = list_field(entry, "image_path", row.place)
    if repeated := [name for name, count in Counter(map(str, names)).items() if count > 1]:
        raise DataError(f"{row.place}: image_path holds {short(repeated[0])} twice, expected each image once; {MEND}")
    paths = [locate(folder, name, row.place) for name in names]
    means = [number_field(rank, "rank", row.place) for rank in list_field(entry, "rank", row.place, len(names))]
    rankings = [_ranking(one, n, len(names), row.place) for n, one in enumerate(_annotations(entry, row.place))]
    for i, j in combinations(range(len(names)), 2):
        yield Pair(
            id=f"{row.key}-{i}-{j}",
            prompt=prompt,
            first=paths[i],
            second=paths[j],
            votes=Votes(float(sum(r[i] < r[j] for r in rankings)), float(sum(r[j] < r[i] for r in rankings))),
            prompt_id=row.key,
            axis="preference",
            split="test",
            source="hpdv2",
            label=_order(means[i], means[j]),
        )


def _annotations(entry: Mapping[str, Any], place: str) -> list[Any]:
    annotations = entry["raw_annotations"]
    if not isinstance(annotations, list) or not annotations:
        raise DataError(f"{place}: raw_annotations is {short(annotations)}, expected the annotators' rankings; {MEND}")
    return annotations


def _ranking(annotation: Any, number: int, length: int, place: str) -> list[float]:
    """An annotator's ranking of all images of an entry.

    Raises:
        DataError: It is of another length, has a hole, or is not of whole numbers.
    """
    place = f"{place}, raw_annotations {number}"
    one = fields(Row(place, "", annotation))
    name = "annotation" if "annotation" in one and "rank" not in one else "rank"
    fields(Row(place, "", annotation), name)
    ranks = [number_field(rank, name, place) for rank in list_field(one, name, place, length)]
    if any(not rank.is_integer() for rank in ranks):
        raise DataError(f"{place}: {name} is {short(one[name])}, expected whole numbers; {MEND}")
    hole = find_hole(ranks)
    if hole is not None:
        raise DataError(
            f"{place}: {name} is {short(one[name])}, with nothing between {hole[0]:g} and {hole[1]:g}; "
            f"expected a ranking without a hole; {MEND}"
        )
    return ranks


def find_hole(ranks: Sequence[float]) -> tuple[float, float] | None:
    """Two neighbouring ranks that are further apart than ties explain; None where there are none.

    1, 2, 2, 4 and 1, 3, 3, 4 and 1, 2, 2, 3 are ways to write a tie; 1, 2, 4 lacks an image.
    """
    shared = Counter(ranks)
    for low, high in pairwise(sorted(shared)):
        if high - low > max(shared[low], shared[high]):
            return low, high
    return None


def _order(first: float, second: float) -> Label:
    if first == second:
        return "tie"
    return "first" if first < second else "second"


def _chosen(row: Row, folder: ImageFolder) -> Pair:
    entry = fields(row, "prompt", "file_path", "human_preference", hints=_HINTS)
    prompt = text_field(entry, "prompt", row.place)
    first, second = (locate(folder, name, row.place) for name in list_field(entry, "file_path", row.place, 2))
    choice = list_field(entry, "human_preference", row.place, 2)
    if any(type(one) is not int for one in choice) or sorted(choice) != [0, 1]:
        raise DataError(f"{row.place}: human_preference is {short(choice)}, expected [1, 0] or [0, 1]; {MEND}")
    votes = WINNER["first" if choice[0] == 1 else "second"]
    return Pair(row.key, prompt, first, second, votes, axis="preference", split="train", source="hpdv2")
