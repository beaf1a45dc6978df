"""What importers of JSON annotations share: finding the file, reading its list, checking an entry's fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earshot.errors import DataError, InputError


def find_file(source: Path, pattern: str) -> Path:
    """The one annotation file in a folder, or the file itself where that was given.

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
        names = ", ".join(file.name for file in found) or "none"
        raise DataError(f"{source}: expected one {pattern}, found {names}; give the folder or file of one set")
    return found[0]


def read_list(file: Path) -> list[Any]:
    """The entries of a file that holds a JSON list.

    Raises:
        DataError: It does not, or the list is empty.
    """
    try:
        entries = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is no JSON ({error}); get the file again") from error
    if not isinstance(entries, list) or not entries:
        found = "an empty list" if entries == [] else f"a JSON {type(entries).__name__}"
        raise DataError(f"{file}: holds {found}, expected a list of entries; get the file again")
    return entries


def text_field(entry: Any, name: str, place: str) -> str:
    """A text that an entry must have.

    Raises:
        DataError: The entry is no object, or the field is missing, blank or no text.
    """
    value = entry.get(name) if isinstance(entry, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        found = repr(value)[:60] if isinstance(entry, Mapping) else f"a JSON {type(entry).__name__} for an entry"
        raise DataError(f"{place}: {name} is {found}, expected text; mend the entry or tolerate it")
    return value
