"""The rows of anybody's file: JSON Lines, a JSON list, CSV or parquet, told apart by the file's ending."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.errors import DataError, InputError, first_line, short
from earshot.files import read_jsonl

Row = dict[str, Any]

_ROWS, _HEAVY_ROWS = 4096, 2
"""Rows at a time: of texts and numbers, and where a column may hold whole files."""
_MOST_BYTES, _MOST_TIMES = 64 * 2**20, 200
"""What a column of a row group may unpack to, and beyond that how many times its size in the file. Texts and pictures
shrink by tens at most."""


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
def open_parquet(path: Path, mend: str, *, name: Path | None = None) -> Iterator[pq.ParquetFile]:
    """Opens a parquet file, and tells of damage in it, at once or further in, by one kind of error.

    Args:
        path: The file.
        mend: The next step where it is damaged, for the message.
        name: What the message calls it; None is its path.

    Raises:
        DataError: It is no complete parquet file, a column of it stands twice, or what is read within the block is
            damaged.
    """
    found = "is no complete parquet file"
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        twice = [column for column, times in Counter(schema.names).items() if times > 1]
        if twice:
            raise DataError(f"{name or path}: has two columns {short(twice[0])}, expected one; {mend}")
        # A text that stands in many rows is in the file once, and so it is read; buffered, so that the compressed bytes
        # of a row group are not held beside the decoded ones.
        texts = [field.name for field in schema if is_text(field.type)]
        options: dict[str, Any] = {"read_dictionary": texts, "buffer_size": 1 << 20, "pre_buffer": False}
        with pq.ParquetFile(path, metadata=metadata, **options) as file:
            found = "cannot be read on"
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name or path}: {found} ({first_line(error)}); {mend}") from error


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, however it is held itself."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def parquet_rows(
    file: pq.ParquetFile, columns: Sequence[str], *, name: Path, start: int = 0, stop: int | None = None
) -> Iterator[Row]:
    """Yields rows of a file with these columns, in a memory that what the file unpacks to does not change.

    Text that is not UTF-8 stays bytes, so that only its own row is a bad one.

    Args:
        file: As `open_parquet` opens it.
        columns: Of the file.
        name: What a message calls it.
        start: The first row, counted from 0.
        stop: The row behind the last; None is all.

    Raises:
        DataError: A column unpacks to far more than it takes in the file.
    """
    _refuse_bombs(file.metadata, columns, name)
    stop = file.metadata.num_rows if stop is None else stop
    groups, skip = _row_groups(file.metadata, start, stop)
    if not groups:
        return
    left = stop - start
    light = all(is_text(kind) or pa.types.is_primitive(kind) for kind in map(_type_in(file), columns))
    rows = _ROWS if light else _HEAVY_ROWS
    for batch in file.iter_batches(batch_size=rows, row_groups=groups, columns=list(columns), use_threads=False):
        if skip < batch.num_rows:
            wanted = batch.slice(skip, left)
            left -= wanted.num_rows
            values = [_values(wanted.column(column)) for column in columns]
            bare = [()] * wanted.num_rows
            yield from (
                dict(zip(columns, row, strict=True)) for row in (zip(*values, strict=True) if columns else bare)
            )
        skip = max(0, skip - batch.num_rows)


def _type_in(file: pq.ParquetFile) -> Callable[[str], pa.DataType]:
    return lambda column: file.schema_arrow.field(column).type


def _refuse_bombs(metadata: pq.FileMetaData, columns: Collection[str], name: Path) -> None:
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            packed, unpacked = column.total_compressed_size, column.total_uncompressed_size
            wanted = column.path_in_schema.partition(".")[0] in columns
            if wanted and unpacked > max(_MOST_BYTES, _MOST_TIMES * packed):
                raise DataError(
                    f"{name}: its column {column.path_in_schema} unpacks from {packed} bytes to {unpacked}, expected "
                    f"at most {_MOST_TIMES} times as many; make the file again"
                )


def _row_groups(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that hold rows from `start` to `stop`, and how many rows stand before `start` in the first."""
    groups: list[int] = []
    skip = at = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if at < stop and at + rows > start:
            if not groups:
                skip = start - at
            groups.append(group)
        at += rows
    return groups, skip


def _values(array: pa.Array) -> list[Any]:
    """What Python makes of a column; a value that stands in many rows is one object."""
    if pa.types.is_dictionary(array.type):
        used = array.indices.unique().drop_null()
        known = dict(zip(used.to_pylist(), _values(array.dictionary.take(used)), strict=True))
        return [known.get(index) for index in array.indices.to_pylist()]
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        return _values_one_by_one(array)


def _values_one_by_one(array: pa.Array) -> list[Any]:
    """The same, of a column in which some text is not UTF-8: it stays bytes."""
    if is_text(array.type):
        return [_text(value) for value in array.cast(pa.large_binary()).to_pylist()]
    there = array.is_valid().to_pylist()
    if pa.types.is_struct(array.type):
        fields = [_values(field) for field in array.flatten()]
        rows: list[Any] = [dict(zip(array.type.names, row, strict=True)) for row in zip(*fields, strict=True)]
    else:
        values = iter(_values(array.flatten()))
        rows = [list(islice(values, length or 0)) for length in array.value_lengths().to_pylist()]
    return [row if valid else None for row, valid in zip(rows, there, strict=True)]


def _text(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


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
            rows = csv.DictReader(file, strict=True)
            names = rows.fieldnames or []
            if len(set(names)) < len(names):
                raise DataError(f"{path}: names a column twice in its head, expected each once; mend the head")
            for number, row in enumerate(rows, start=1):
                if None in row or None in row.values():
                    raise DataError(f"{path} row {number}: has more or fewer cells than the head; mend the row")
                yield {name: value if value != "" else None for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path}: is no CSV in UTF-8 ({error}); mend the file") from error


def _parquet(path: Path, columns: Collection[str] | None) -> Iterator[Row]:
    with open_parquet(path, "make it again") as file:
        present = file.schema_arrow.names
        yield from parquet_rows(file, [one for one in present if columns is None or one in columns], name=path)


class RowWriter:
    """Writes rows to a parquet file; what is held at a time, so many or so many bytes of pictures, is a row group.

    A context manager; the caller sees to it that half a file does not get its name (`files.whole`).

    Args:
        path: The file.
        schema: Its columns, and the metadata.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer, self._schema = pq.ParquetWriter(path, schema), schema
        self._rows: list[Row] = []
        self._bytes = 0

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._writer:
            if kind is None:
                self._flush()

    def add(self, row: Row, n_bytes: int = 0) -> None:
        """Adds a row.

        Args:
            row: What is in none of the columns is left out.
            n_bytes: Of the pictures in it.
        """
        self._rows.append(row)
        self._bytes += n_bytes
        if len(self._rows) == _ROWS or self._bytes >= _MOST_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows, self._bytes = [], 0


def image_features(**columns: str) -> dict[str | bytes, str | bytes]:
    """Metadata of a parquet file by which `datasets` decodes columns as images.

    Args:
        **columns: `image` or `images`, a list of them, by the name of the column; each image is a struct of its file's
            `bytes` and `path`.
    """
    image = {"_type": "Image"}
    features = {name: image if kind == "image" else [image] for name, kind in columns.items()}
    return {"huggingface": json.dumps({"info": {"features": features}})}
