"""Every bad row of a pair set, with its place and the reason."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from earshot.data.rows import (
    IMAGE_COLUMNS,
    INFO,
    JSONL,
    find_metadata,
    iter_rows,
    place_of,
    read_info,
    row_faults,
)
from earshot.errors import DataError, ImageError
from earshot.images import ImageFolder, load_image, resolve_inside
from earshot.paths import at_home
from earshot.rundir import parse_jsonl_line
from earshot.types import hash_of

_BATCH = 512
_BLANK = 0  # in the place of an id, where a line is blank
_REMEMBERED = 200_000


class Problem(NamedTuple):
    """Something wrong with a pair set."""

    place: str
    reason: str
    row: int | None
    """The row it is in, counted from 1; None where the whole set is meant."""


def check_pairset(folder: str | Path, *, workers: int = 1, roots: Sequence[str | Path] = ()) -> Iterator[Problem]:
    """Yields everything that is wrong with a pair set, every image decoded, in the order of the rows but for ids.

    Values that are not what their column holds; images that are missing, refused or outside the folder; repeated ids,
    which come last; an empty, half-written or damaged file, and one with another number of rows than `dataset.json`
    says. A few hundred rows are in memory at a time, and eight bytes of every id.

    Args:
        folder: The pair set.
        workers: Threads that decode images.
        roots: Further folders in which images may lie, behind links or by absolute paths.

    Raises:
        InputError: There is no such folder.
    """
    folder, ids = at_home(Path(folder)), array("q")
    images = ImageFolder(folder, roots)
    try:
        metadata, info = find_metadata(folder), read_info(folder)
        yield from _row_problems(metadata, ids, workers, images, require_images=info.get("images") is not False)
    except DataError as error:
        yield Problem(str(folder), str(error).removeprefix(f"{folder}: "), None)
        return
    yield from _repeated_ids(metadata, ids)
    counts = info.get("counts")
    expected = counts.get("pairs") if isinstance(counts, dict) else None
    if expected is not None and expected != (held := sum(one != _BLANK for one in ids)):
        yield Problem(str(metadata), f"holds {held} pairs where {INFO} says {expected}; copy the set again", None)


def _row_problems(
    metadata: Path, ids: array, workers: int, images: ImageFolder, *, require_images: bool
) -> Iterator[Problem]:
    """Goes through the rows once, and adds the hash of each id to `ids`."""
    rows = _numbered_rows(metadata)
    # An image that is in many pairs is decoded once.
    image_fault = lru_cache(_REMEMBERED)(partial(_image_fault, images))
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(rows, _BATCH)):
            values = (row.get(column) for _, row in batch if isinstance(row, dict) for column in IMAGE_COLUMNS)
            names = sorted({value for value in values if isinstance(value, str)})
            faults = dict(zip(names, pool.map(image_fault, names), strict=True))
            for number, row in batch:
                ids.extend([_BLANK] * (number - 1 - len(ids)))
                ids.append(hash_of(repr(_id_of(row))))
                for reason in _reasons(row, faults, require_images=require_images):
                    yield Problem(_place(metadata, number, row), reason, number)


def _numbered_rows(metadata: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Each row and its number. Of a line that is no JSON object it is told what is wrong, so that the rest is read."""
    if metadata.name != JSONL:
        yield from enumerate(iter_rows(metadata.parent), start=1)
        return
    empty = True
    with metadata.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                empty = False
                yield number, parse_jsonl_line(line)
    if empty:
        raise DataError(f"{metadata}: holds no pairs; expected at least one")


def _id_of(row: dict[str, Any] | str) -> Any:
    return row.get("id") if isinstance(row, dict) else None


def _place(metadata: Path, number: int, row: dict[str, Any] | str) -> str:
    place, identity = place_of(metadata, number), _id_of(row)
    return f"{place} (pair {identity!a})" if isinstance(identity, str) else place


def _reasons(row: dict[str, Any] | str, faults: dict[str, str | None], *, require_images: bool) -> Iterator[str]:
    if isinstance(row, str):
        yield f"found {row}, expected one JSON object"
        return
    yield from row_faults(row, require_images=require_images)
    for column in IMAGE_COLUMNS:
        name = row.get(column)
        if isinstance(name, str) and (fault := faults[name]) is not None:
            yield fault


def _image_fault(images: ImageFolder, name: str) -> str | None:
    try:
        load_image(resolve_inside(images.root, name, roots=images.roots))
    except ImageError as error:
        return str(error)
    return None


def _repeated_ids(metadata: Path, hashes: array) -> Iterator[Problem]:
    """The rows whose id an earlier row has. Equal hashes only select rows to compare; the ids themselves decide."""
    values, counts = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if not suspects:
        return
    first_row: dict[str, int] = {}
    for number, row in _numbered_rows(metadata):
        identity = _id_of(row)
        if not isinstance(identity, str) or hashes[number - 1] not in suspects:
            continue
        earlier = first_row.setdefault(identity, number)
        if earlier != number:
            yield Problem(
                _place(metadata, number, row), f"has the id of row {earlier}; expected one of its own", number
            )
