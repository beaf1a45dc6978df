"""The rows of anybody's file: JSON Lines, a JSON list, CSV or parquet, told apart by the file's ending."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.errors import DataError, InputError, first_line
from earshot.rundir import read_jsonl

Row = dict[str, Any]

_BATCH = 4096


def iter_row_file(path: Path, columns: Collection[str] | None = None) -> Iterator[Row]:
    """Yields the rows in their order; all but a JSON list are streamed.

    In CSV every value is text, and an empty cell is null.

    Args:
        path: The file.
        columns: What is wanted of a row, as far as it has it; None is all.

    Raises:
        InputError: There is no such file, or its ending is none of the four.
        DataError: It does not hold rows; the message names the row.
    """
    readers: dict[str, Callable[[Path], Iterator[Row]]] = {
        ".jsonl": _jsonl,
        ".json": _json,
        ".csv": _csv,
        ".parquet": partial(_parquet, columns=columns),
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: ends in {path.suffix!r}, expected one of {', '.join(readers)}; rename or convert it")
    if not path.is_file():
        raise InputError(f"{path}: is no file, expected scores or choices; check the path")
    rows = reader(path)
    return rows if columns is None else ({name: row[name] for name in columns if name in row} for row in rows)


def first_row(path: Path) -> Row:
    """The first row, by whose fields a file's form is told.

    Raises:
        InputError: There is no such file.
        DataError: It holds no rows.
    """
    row = next(iter(iter_row_file(path)), None)
    if row is None:
        raise DataError(f"{path}: holds no rows, expected at least one; check what wrote it")
    return row


def read_json(path: Path, mend: str) -> Any:
    """What a JSON file holds.

    Args:
        path: The file.
        mend: The next step where it is no JSON, for the message.

    Raises:
        DataError: It is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON ({error}); {mend}") from error


@contextmanager
def open_parquet(path: Path, mend: str, *, name: Path | None = None, **options: Any) -> Iterator[pq.ParquetFile]:
    """Opens a parquet file, and tells of damage in it, at once or further in, by one kind of error.

    Args:
        path: The file.
        mend: The next step where it is damaged, for the message.
        name: What the message calls it; None is its path.
        options: As `pyarrow.parquet.ParquetFile` takes them.

    Raises:
        DataError: It is no complete parquet file, or what is read of it within the block is damaged.
    """
    found = "is no complete parquet file"
    try:
        with pq.ParquetFile(path, **options) as file:
            found = "cannot be read on"
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name or path}: {found} ({first_line(error)}); {mend}") from error


def _jsonl(path: Path) -> Iterator[Row]:
    return read_jsonl(path, allow_cut=False)


def _json(path: Path) -> Iterator[Row]:
    rows = read_json(path, "mend the file")
    if not isinstance(rows, list):
        raise DataError(f"{path}: holds a JSON {type(rows).__name__}, expected a list of objects; mend the file")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise DataError(f"{path} row {number}: is a JSON {type(row).__name__}, expected an object; mend the row")
        yield row


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            for number, row in enumerate(csv.DictReader(file, strict=True), start=1):
                if None in row or None in row.values():
                    raise DataError(f"{path} row {number}: has more or fewer cells than the head; mend the row")
                yield {name: value if value != "" else None for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: is no CSV in UTF-8 ({error}); mend the file") from error


def _parquet(path: Path, columns: Collection[str] | None) -> Iterator[Row]:
    with open_parquet(path, "make it again") as file:
        present = file.schema_arrow.names
        chosen = present if columns is None else [name for name in columns if name in present]
        for batch in file.iter_batches(batch_size=_BATCH, columns=chosen):
            yield from batch.to_pylist()
