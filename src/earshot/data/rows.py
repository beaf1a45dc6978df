"""One row of a pair set: its columns, what may stand in them, and the pair it makes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard, get_args

import pyarrow as pa

from earshot.data.row_files import iter_row_file
from earshot.errors import DataError, InputError, short
from earshot.files import TEMPORARY_PREFIX, read_json_object, read_jsonl
from earshot.images import NO_IMAGE, ImageFolder
from earshot.types import Label, Pair, Side, Votes

PARQUET, JSONL, INFO = "metadata.parquet", "metadata.jsonl", "dataset.json"
TRACES_FILE, TRUTH_FILE = "traces.jsonl", "truth.jsonl"
RESULT_COLUMNS = ("first_file_name", "second_file_name")
ORIGINAL_COLUMN = "original_file_name"
"""The picture that was to be edited; of a set of edits alone."""
IMAGE_COLUMNS = (*RESULT_COLUMNS, ORIGINAL_COLUMN)
VOTE_COLUMNS = ("votes_first", "votes_second")
OPTIONAL_COLUMNS = ("prompt_id", "axis", "split", "model_first", "model_second", "source", "label", "category")
REQUIRED_COLUMNS = ("id", "prompt", *RESULT_COLUMNS, *VOTE_COLUMNS)
COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, ORIGINAL_COLUMN)
AXES = ("preference", "style", "coherence", "alignment")
LABELS = get_args(Label)
MAX_TEXT = 100_000
"""Characters of a prompt, an id or a name: more than any model reads."""
_ONE_OF = {"axis": AXES, "label": LABELS}

SCHEMA = pa.schema([(name, pa.float64() if name in VOTE_COLUMNS else pa.string()) for name in COLUMNS])

_NEXT_STEP = "'earshot data check' lists all such rows"


def find_metadata(folder: Path) -> Path:
    """The metadata file of a pair set.

    Raises:
        InputError: There is no such folder.
        DataError: The folder holds no pair set, or one whose writing was never finished.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder, expected a pair set; check the path")
    found = has_metadata(folder)
    if len(found) == 2:
        raise DataError(f"{folder}: holds both {PARQUET} and {JSONL}, expected one of them; move the other away")
    if found:
        return found[0]
    if is_half_written(folder):
        raise DataError(f"{folder}: is a half-written pair set, its {PARQUET} was never finished; make it again")
    raise DataError(f"{folder}: holds no {PARQUET} or {JSONL}; 'earshot data import' makes a pair set")


def has_metadata(folder: Path) -> list[Path]:
    """The metadata files that a folder has, which is none where it is no pair set."""
    return [folder / name for name in (PARQUET, JSONL) if (folder / name).is_file()]


def is_half_written(folder: Path) -> bool:
    """Whether a writer was stopped here: the metadata gets its name only when all else is written."""
    return any(folder.glob(f"{TEMPORARY_PREFIX}*-metadata.*"))


def read_info(folder: Path) -> dict[str, Any]:
    """What `dataset.json` says of a pair set: where it is from, its licence, seed and counts; empty without the file.

    Raises:
        DataError: The file is no JSON object.
    """
    file = Path(folder) / INFO
    return read_json_object(file, what="where a pair set is from") if file.is_file() else {}


def read_traces(path: Path, *, sides: bool = False) -> Iterator[dict[str, Any]]:
    """Yields each reference trace of a file: the `id` of its pair, its `trace`, and with `sides` its `side`.

    Raises:
        InputError: There is no such file.
        DataError: A row lacks one of them.
    """
    for number, row in enumerate(read_jsonl(path, allow_cut=False), start=1):
        sound = _is_text(row.get("id")) and _is_text(row.get("trace"))
        if not sound or (sides and row.get("side") not in get_args(Side)):
            also = " and a side that is first or second" if sides else ""
            raise DataError(f"{path}:{number}: found {short(row)}, expected an id and a trace{also}")
        yield row


def place_of(metadata: Path, number: int) -> str:
    """How a message names a row; rows are counted from 1, as lines are."""
    return f"{metadata}:{number}" if metadata.name == JSONL else f"{metadata} row {number}"


def iter_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields each row of the metadata, unchecked; a few thousand rows are in memory at a time.

    Of the columns those are read that a pair set may have. A column that is not there is missing from the rows.

    Raises:
        InputError: There is no such folder.
        DataError: There is no finished pair set, no row in it, or the file is damaged or lacks a required column.
    """
    return _at_least_one(find_metadata(folder))


def _at_least_one(metadata: Path) -> Iterator[dict[str, Any]]:
    empty = True
    for row in iter_row_file(metadata, COLUMNS):
        if empty and metadata.name == PARQUET and (missing := [name for name in REQUIRED_COLUMNS if name not in row]):
            raise DataError(f"{metadata}: has no column {', '.join(missing)}; expected {', '.join(REQUIRED_COLUMNS)}")
        empty = False
        yield row
    if empty:
        raise DataError(f"{metadata}: holds no pairs; expected at least one")


def row_faults(row: Mapping[str, Any], *, require_images: bool = True) -> Iterator[str]:
    """Each thing that is wrong with a row by itself; whether its images exist is another question."""
    for name in ("id", "prompt"):
        yield from text_faults(name, row.get(name))
    original = row.get(ORIGINAL_COLUMN)
    files = [row.get(name) for name in RESULT_COLUMNS]
    if files == [None, None] and original is None:
        if require_images:
            yield "has no images, and none were to be left out; import the set without --no-images"
    else:
        for name, value in zip(IMAGE_COLUMNS, (*files, original), strict=True):
            if not _is_text(value) and (name in RESULT_COLUMNS or value is not None):
                yield f"{name} is {short(value)}, expected a file name"
    for name in VOTE_COLUMNS:
        value = row.get(name)
        if not is_count(value):
            yield f"{name} is {short(value)}, expected a finite count of at least 0"
    for name in OPTIONAL_COLUMNS:
        value = row.get(name)
        if value is None:
            continue
        yield from text_faults(name, value, may_be_blank=True)
        if isinstance(value, str) and value not in _ONE_OF.get(name, (value,)):
            yield f"{name} is {short(value)}, expected one of {', '.join(_ONE_OF[name])}"


def text_faults(name: str, value: object, *, may_be_blank: bool = False) -> Iterator[str]:
    """What is wrong with a value that should be text."""
    if not _is_text(value) or not (may_be_blank or value.strip()):
        yield f"{name} is {short(value)}, expected text" + (" in UTF-8" if isinstance(value, bytes) else "")
    elif len(value) > MAX_TEXT:
        yield f"{name} has {len(value)} characters, expected at most {MAX_TEXT}"


def is_count(value: object) -> bool:
    """Whether a value is a finite number of at least 0 that a float can hold: JSON's numbers have no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return 0 <= float(value) < math.inf
    except OverflowError:
        return False


def _is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that a file can hold: a lone surrogate, as in half an emoji, cannot be encoded."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_row(row: Mapping[str, Any], place: str, *, require_images: bool = True) -> None:
    """Lets a row pass whose values are what its columns hold.

    Raises:
        DataError: One of them is not; the message gives the first.
    """
    fault = next(row_faults(row, require_images=require_images), None)
    if fault is not None:
        raise DataError(f"{place}: {fault}; {_NEXT_STEP}")


def pair_of(row: Mapping[str, Any], images: ImageFolder, place: str, *, require_images: bool = True) -> Pair:
    """The pair a row stands for, with the paths of its images; they are looked for, not opened.

    Raises:
        DataError: A value is not what its column holds.
        ImageError: An image is missing or outside the folder.
    """
    check_row(row, place, require_images=require_images)
    first, second = (NO_IMAGE if row[name] is None else images.find(row[name], where=place) for name in RESULT_COLUMNS)
    named = row.get(ORIGINAL_COLUMN)
    original = None if named is None else images.find(named, where=place)
    votes = Votes(float(row["votes_first"]), float(row["votes_second"]))
    rest = {name: row.get(name) for name in OPTIONAL_COLUMNS}
    return Pair(row["id"], row["prompt"], first, second, votes, **rest, original=original)
