"""Every bad row of a pair set, with its place and the reason, and what is odd in it without being wrong."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int

from earshot.data.overlap import normalised_prompt
from earshot.data.rows import (
    IMAGE_COLUMNS,
    INFO,
    JSONL,
    PARQUET,
    RESULT_COLUMNS,
    VOTE_COLUMNS,
    find_metadata,
    is_count,
    is_half_written,
    iter_rows,
    pair_of,
    place_of,
    read_info,
    row_faults,
)
from earshot.errors import DataError, ImageError
from earshot.files import parse_jsonl_line
from earshot.images import ImageFolder, load_image, resolve_inside
from earshot.measured import compared
from earshot.paths import at_home
from earshot.types import Pair, hash_of

_BATCH = 512
_BLANK = 0  # in the place of an id, where a line is blank
_REMEMBERED = 200_000
_LISTED = 5


OnPair: TypeAlias = Callable[[Pair, list[Mapping[str, float]]], None]


class Problem(NamedTuple):
    """Something wrong with a pair set."""

    place: str
    reason: str
    row: int | None
    """The row it is in, counted from 1; None where the whole set is meant."""


class Note(NamedTuple):
    """Something that a pair set may hold, and its owner may want to know."""

    kind: Literal["no_images", "same_picture", "repeated_pair", "opposite_votes"]
    reason: str
    n_rows: int
    rows: list[int]
    """The first few, counted from 1."""
    earlier: list[int]
    """The row that each of these is like; empty where a row is odd by itself."""


def check_pairset(
    folder: str | Path,
    *,
    workers: int = 1,
    roots: Sequence[str | Path] = (),
    on_note: Callable[[Note], None] | None = None,
    on_pair: OnPair | None = None,
) -> Iterator[Problem]:
    """Yields everything that is wrong with a pair set, every image decoded, in the order of the rows but for ids.

    Values that are not what their column holds; images that are missing, refused or outside the folder; repeated ids,
    which come last; an empty, half-written or damaged file, and one with another number of rows than `dataset.json`
    says. A few hundred rows are in memory at a time, and forty bytes of each, at the end for a moment four times that.

    Args:
        folder: The pair set.
        workers: Threads that decode images.
        roots: Further folders in which images may lie, behind links or by absolute paths.
        on_note: Told at the end of equal pictures, repeated pairs and opposite votes. Pictures and prompts are compared
            by 64 bits of a hash: of the pixels, and of the prompt as `overlap.normalised_prompt` gives it.
        on_pair: Told of every sound pair, and what is measured of its pictures, where it has some
            (`measured.compared`).

    Raises:
        InputError: There is no such folder, or nothing of a pair set in it.
    """
    folder, seen = at_home(Path(folder)), _Seen()
    images = ImageFolder(folder, roots)
    is_pair_set = is_half_written(folder) or any((folder / name).is_file() for name in (PARQUET, JSONL))
    try:
        metadata, info = find_metadata(folder), read_info(folder)
        require_images = info.get("images") is not False
        yield from _row_problems(metadata, seen, workers, images, on_pair, require_images=require_images)
    except DataError as error:
        if not is_pair_set:
            raise
        yield Problem(str(folder), str(error).removeprefix(f"{folder}: "), None)
        return
    yield from _repeated_ids(metadata, seen.ids)
    counts = info.get("counts")
    expected = counts.get("pairs") if isinstance(counts, dict) else None
    if expected is not None and expected != (held := sum(one != _BLANK for one in seen.ids)):
        yield Problem(str(metadata), f"holds {held} pairs where {INFO} says {expected}; copy the set again", None)
    if on_note is not None:
        for note in seen.notes():
            on_note(note)


class _Picture(NamedTuple):
    """What came of decoding an image."""

    fault: str | None
    pixels: int = _BLANK
    """A hash of them."""
    measured: Mapping[str, float] = MappingProxyType({})


class _Seen:
    """Of each row so far, in order: hashes of its id, its pictures and its prompt, and which side has more votes."""

    def __init__(self) -> None:
        self.ids = array("q")
        self._first, self._second, self._original, self._prompt = (array("q") for _ in range(4))
        self._majority = array("b")
        """1 for the first side, -1 for the second."""
        self._without_images = array("q")

    def add(self, number: int, row: dict[str, Any] | str, pictures: dict[str, _Picture]) -> None:
        values = row if isinstance(row, dict) else {}
        names = [values.get(name) for name in IMAGE_COLUMNS]
        if values and names == [None] * len(names):
            self._without_images.append(number)
        first, second, original = (pictures[name].pixels if isinstance(name, str) else _BLANK for name in names)
        prompt, votes = values.get("prompt"), [values.get(name) for name in VOTE_COLUMNS]
        compared = [_BLANK] * 5
        if isinstance(prompt, str) and all(map(is_count, votes)) and _BLANK not in (first, second):
            in_favour = float(votes[0]) - float(votes[1])  # type: ignore[arg-type]
            asked = hash_of(normalised_prompt(prompt))
            compared = [first, second, original, asked, (in_favour > 0) - (in_favour < 0)]
        columns = (self.ids, self._first, self._second, self._original, self._prompt, self._majority)
        for column, value in zip(columns, (hash_of(repr(_id_of(row))), *compared), strict=True):
            column.extend([_BLANK] * (number - 1 - len(column)))
            column.append(value)

    def notes(self) -> Iterator[Note]:
        if self._without_images:
            reason = "no images: what looks at pictures needs an import without --no-images"
            yield Note("no_images", reason, len(self._without_images), self._without_images[:_LISTED].tolist(), [])
        columns = (self._first, self._second, self._original, self._prompt)
        first, second, original, prompt = (np.frombuffer(column, dtype=np.int64) for column in columns)
        sound = np.flatnonzero(first)
        low, high = np.minimum(first, second), np.maximum(first, second)
        same = sound[first[sound] == second[sound]]
        if same.size:
            reason = "the same picture on both sides"
            yield Note("same_picture", reason, same.size, (same[:_LISTED] + 1).tolist(), [])
        repeated, opposite = list[tuple[int, int]](), list[tuple[int, int]]()
        for rows in _groups(sound, np.stack([prompt, original, low, high])):
            repeated += ((row, rows[0]) for row in rows[1:])
            won: dict[int, int] = {}  # the first row in which the picture with the smaller hash won, or lost
            for row in rows if low[rows[0]] != high[rows[0]] else ():
                side = self._majority[row] * (1 if first[row] == low[row] else -1)
                if side and -side in won:
                    opposite.append((row, won[-side]))
                won.setdefault(side, row)
        if repeated:
            yield _like_earlier("repeated_pair", "the prompt and all pictures of an earlier row", repeated)
        if opposite:
            yield _like_earlier(
                "opposite_votes", "a majority against that of an earlier row of the same pair", opposite
            )


def _like_earlier(kind: Any, reason: str, found: list[tuple[int, int]]) -> Note:
    listed = sorted(found)[:_LISTED]
    return Note(kind, reason, len(found), [row + 1 for row, _ in listed], [earlier + 1 for _, earlier in listed])


def _groups(rows: Int[np.ndarray, " n"], keys: Int[np.ndarray, "k m"]) -> Iterator[list[int]]:
    """The rows, in their order, of each group of more than one whose keys are all the same."""
    order = rows[np.lexsort(keys[:, rows])]  # stable
    begins = np.flatnonzero(np.r_[True, (keys[:, order[1:]] != keys[:, order[:-1]]).any(axis=0)]) if rows.size else rows
    ends = np.r_[begins[1:], order.size]
    for begin, end in zip(begins[ends - begins > 1].tolist(), ends[ends - begins > 1].tolist(), strict=True):
        yield order[begin:end].tolist()


def _row_problems(
    metadata: Path, seen: _Seen, workers: int, images: ImageFolder, on_pair: OnPair | None, *, require_images: bool
) -> Iterator[Problem]:
    """Goes through the rows once, and keeps what is compared at the end in `seen`."""
    rows = _numbered_rows(metadata)
    # An image that is in many pairs is decoded once.
    decoded = lru_cache(_REMEMBERED)(partial(_decoded, images, measure=on_pair is not None))
    with ThreadPoolExecutor(workers) as pool:
        while batch := list(islice(rows, _BATCH)):
            values = (row.get(column) for _, row in batch if isinstance(row, dict) for column in IMAGE_COLUMNS)
            names = sorted({value for value in values if isinstance(value, str)})
            pictures = dict(zip(names, pool.map(decoded, names), strict=True))
            for number, row in batch:
                seen.add(number, row, pictures)
                reasons = list(_reasons(row, pictures, require_images=require_images))
                for reason in reasons:
                    yield Problem(_place(metadata, number, row), reason, number)
                if on_pair is not None and not reasons and isinstance(row, dict):
                    pair = pair_of(row, images, _place(metadata, number, row), require_images=False)
                    files = (row.get(column) for column in RESULT_COLUMNS)
                    on_pair(pair, [pictures[file].measured for file in files if file is not None])


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


def _reasons(row: dict[str, Any] | str, pictures: dict[str, _Picture], *, require_images: bool) -> Iterator[str]:
    if isinstance(row, str):
        yield f"found {row}, expected one JSON object"
        return
    yield from row_faults(row, require_images=require_images)
    for column in IMAGE_COLUMNS:
        name = row.get(column)
        if isinstance(name, str) and (fault := pictures[name].fault) is not None:
            yield fault


def _decoded(images: ImageFolder, name: str, *, measure: bool) -> _Picture:
    try:
        image = load_image(resolve_inside(images.root, name, roots=images.roots))
    except ImageError as error:
        return _Picture(str(error))
    digest = blake2b(repr((image.size, image.mode)).encode() + image.tobytes(), digest_size=8)
    pixels = int.from_bytes(digest.digest(), "big", signed=True)
    return _Picture(None, pixels, compared(image)) if measure else _Picture(None, pixels)


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
