"""What importers share: finding annotation files, reading their entries, and checking an entry's fields.

A place names a file and what in it: `entry 3` of a JSON list is counted from 0, as programs index it, `row 3` of a
parquet shard and line 3 of a JSONL file from 1.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from earshot.data.json_list import iter_json_list
from earshot.data.rows import is_count
from earshot.errors import DataError, ImageError, InputError, short
from earshot.files import read_jsonl
from earshot.images import ImageFolder, Tolerance, resolve_inside
from earshot.types import Label, Pair, Votes

_PLAIN = re.compile(r"([\w.,+=@ -]+/)*[\w.,+=@ -]+")
MEND = "mend the entry or tolerate it"
WINNER: Mapping[Label, Votes] = {
    "first": Votes(1.0, 0.0),
    "second": Votes(0.0, 1.0),
    "tie": Votes(1.0, 1.0),
    "both_bad": Votes(1.0, 1.0),
}
"""The votes of one person who was asked once. Who prefers neither gives a share of one half and no majority."""


class Row(NamedTuple):
    """One entry of a published set."""

    place: str
    """How a message names it."""
    key: str
    """What the ids of its pairs begin with: the same in every import, and telling nothing."""
    values: Any
    split: str | None = None


def pairs_of_rows(rows: Iterable[Row], tolerance: Tolerance, make: Callable[[Row], Iterable[Pair]]) -> Iterator[Pair]:
    """The pairs of each row in turn; a row that is refused gives none of them."""
    for row in rows:
        with tolerance.item():
            yield from list(make(row))


def find_file(source: Path, pattern: str, *, by_split: bool = False) -> Path:
    """The one annotation file in a folder, or the file itself where that was given.

    Args:
        source: The folder or the file.
        pattern: What its name is like.
        by_split: Whether a split chooses among several.

    Raises:
        InputError: There is no such folder or file.
        DataError: The folder holds none, or more than one.
    """
    if source.is_file():
        return source
    if not source.is_dir():
        raise InputError(f"{source}: is no file or folder; expected a published set, check the path")
    found = sorted(source.glob(pattern))
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:12])
        there = ", ".join(sorted(file.name for file in source.iterdir())[:8])
        what = names or (f"none beside {there}" if there else "none")
        choose = f"choose with --split {found[0].stem}, or give" if by_split and found else "give"
        raise DataError(f"{source}: expected one {pattern}, found {what}; {choose} the folder or file of one set")
    return found[0]


def no_split(split: str | None, what: str) -> None:
    """Refuses a split where a set has none to choose from.

    Raises:
        InputError: One was asked for.
    """
    if split is not None:
        raise InputError(f"{what} has no splits to choose from; leave --split {split} out")


def read_list(file: Path) -> Iterator[Any]:
    """The entries of a file that holds a JSON list, in a stream.

    Raises:
        InputError: It cannot be read.
        DataError: It does not, or the list is empty.
    """
    entries = iter_json_list(file)
    first = list(islice(entries, 1))
    return chain(first or check_list([], file), entries)


def check_list(entries: Any, file: Path, what: str = "a list of entries") -> list[Any]:
    """Lets a list pass that holds something.

    Raises:
        DataError: It is empty, or no list.
    """
    if not isinstance(entries, list) or not entries:
        found = "an empty list" if entries == [] else f"a JSON {type(entries).__name__}"
        raise DataError(f"{file}: holds {found}, expected {what}; get the file again")
    return entries


def read_entries(file: Path) -> Iterator[Row]:
    """The entries of a JSON list or of a JSONL file, in a stream.

    Raises:
        DataError: The file is neither, or a list that holds nothing.
    """
    return rows_of(file, read_jsonl(file, allow_cut=False) if file.suffix == ".jsonl" else read_list(file))


def rows_of(file: Path, entries: Iterable[Any]) -> Iterator[Row]:
    """The entries of a JSON list or of a JSONL file, with their places and keys.

    The key of an entry is the file's stem and its position, counted from 0 in either format.
    """
    for number, entry in enumerate(entries):
        place = f"{file.name}:{number + 1}" if file.suffix == ".jsonl" else f"{file.name}: entry {number}"
        yield Row(place, f"{file.stem}-{number}", entry, split_in(file.stem))


def split_in(name: str) -> str | None:
    """The split that a file's name gives, if it gives one."""
    return next((split for split in ("train", "validation", "test") if split in name), None)


def absent(names: Sequence[str], found: Iterable[str], place: str, hints: Mapping[str, str] | None = None) -> DataError:
    """The error for fields or columns that are not there: what was found, and what may be meant by it.

    Args:
        names: What is missing.
        found: What is there.
        place: The file and the row.
        hints: What it means that one of these is there, such as that it is another set.
    """
    present = sorted(found)
    near = [(name, match) for name in names for match in difflib.get_close_matches(name, present, n=1)]
    hint = next((hint for column, hint in (hints or {}).items() if column in present), None)
    if near:
        hint = " and ".join(f"{match!r} is nearest to {name!r}" for name, match in near) + (f"; {hint}" if hint else "")
    listed = ", ".join(present[:24]) + (", ..." if len(present) > 24 else "")
    return DataError(
        f"{place}: has no {', '.join(names)}, found {listed or 'nothing'}; "
        f"{hint or 'get the published file, or give the name of the set it is of'}"
    )


def fields(row: Row, *names: str, hints: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """An entry that is an object and has these fields.

    Raises:
        DataError: It is not, or lacks some.
    """
    if not isinstance(row.values, Mapping):
        raise DataError(f"{row.place}: is a JSON {type(row.values).__name__}, expected an object; {MEND}")
    if missing := [name for name in names if name not in row.values]:
        raise absent(missing, row.values, row.place, hints)
    return row.values


def text_field(entry: Any, name: str, place: str) -> str:
    """A text that an entry must have.

    Raises:
        DataError: The entry is no object, or the field is missing, blank or no text.
    """
    value = entry.get(name) if isinstance(entry, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        found = short(value) if isinstance(entry, Mapping) else f"a JSON {type(entry).__name__} for an entry"
        raise DataError(f"{place}: {name} is {found}, expected text; {MEND}")
    return value


def optional_text(entry: Mapping[str, Any], name: str, place: str) -> str | None:
    """A text that an entry may have; None where it is missing, null or blank.

    Raises:
        DataError: It is something else.
    """
    value = entry.get(name)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{place}: {name} is {short(value)}, expected text or nothing; {MEND}")
    return value if value is not None and value.strip() else None


def number_field(value: Any, name: str, place: str) -> float:
    """A finite number of at least 0, as votes and ranks are. A number written as text is none.

    Raises:
        DataError: It is text, true, negative, NaN or infinite.
    """
    if not is_count(value):
        raise DataError(f"{place}: {name} is {short(value)}, expected a finite number of at least 0; {MEND}")
    return float(value)


def list_field(entry: Mapping[str, Any], name: str, place: str, length: int | None = None) -> list[Any]:
    """A list that an entry must have, of that length, or of at least two.

    Raises:
        DataError: It is no list, or of another length.
    """
    value = entry.get(name)
    expected = f"a list of {'at least 2' if length is None else length}"
    if not isinstance(value, list):
        raise DataError(f"{place}: {name} is {short(value)}, expected {expected}; {MEND}")
    if (len(value) < 2) if length is None else (len(value) != length):
        raise DataError(f"{place}: {name} has {len(value)} items, expected {expected}; {MEND}")
    return value


def locate(images: ImageFolder, name: Any, place: str) -> Path:
    """The path of an image that an entry names, in the folder; it need not exist.

    Raises:
        DataError: The name is no text.
        ImageError: The name leaves the folder.
    """
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{place}: an image is {short(name)}, expected a path; {MEND}")
    folder, _, last = name.rpartition("/")
    # Following every link costs a dozen system calls, and all images of a set may be elsewhere.
    plain = _PLAIN.fullmatch(name) and last not in (".", "..") and _is_inside(images.root, folder)
    if plain and not os.path.lexists(images.root / name):
        return images.root / name
    try:
        return images.find(name, where=place)
    except ImageError:
        return resolve_inside(images.root, name, where=place)


@lru_cache(4096)
def _is_inside(root: Path, folder: str) -> bool:
    try:
        return not folder or bool(resolve_inside(root, folder))
    except ImageError:
        return False


def image_root(folder: Path, names: Iterable[Any], *below: str) -> ImageFolder:
    """Where the images are that annotations name: the folder, or one below it, in which any of the first few lies."""
    known = [name for name, _ in zip(names, range(20), strict=False) if isinstance(name, str) and ".." not in name]
    places = [folder, *(folder / name for name in below)]
    return ImageFolder(next((at for at in places if any((at / name).is_file() for name in known)), folder))
