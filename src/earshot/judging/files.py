"""The files that rows to judge come from, one or several: parquet or JSON Lines, read from any row on."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from earshot.data.public.parquet import find_shards, shards_absent
from earshot.data.row_files import open_parquet, parquet_rows
from earshot.data.rows import find_metadata, has_metadata
from earshot.errors import DataError, InputError
from earshot.files import parse_jsonl_line


class NoRow(NamedTuple):
    """A line that is no row."""

    found: str
    sha256: str


RawRow = Mapping[str, Any] | NoRow
"""A row as it stands, or what is there instead of one."""

_ENDS = 1 << 16
_MARK_LINES = 1024
_SUFFIXES = (".parquet", ".jsonl")


def find_files(source: Path, split: str | None = None) -> list[Path]:
    """The file given; of a folder its metadata as a pair set, or else the shards of one split in their order.

    Raises:
        InputError: There is no such file, folder or split, or it is of another kind.
        DataError: The folder holds neither, several splits and none was chosen, or not all shards of one.
    """
    if source.is_dir() and (has_metadata(source) or not any(source.rglob("*-of-*"))):
        source = find_metadata(source)
    if source.is_dir():
        shards = find_shards(source, split, suffixes=_SUFFIXES)
        if missing := shards_absent(shards):
            raise DataError(
                f"{source}: lacks {missing} of the {len(shards) + missing} shards of its split; get them too"
            )
        return [shard.file for shard in shards]
    if not source.is_file():
        raise InputError(f"{source}: is no file, expected a pair set's folder, .parquet or .jsonl; check the path")
    if source.suffix not in _SUFFIXES:
        raise InputError(f"{source}: ends in {source.suffix!r}, expected a folder, .parquet or .jsonl")
    if split is not None:
        raise InputError(f"{source}: is one file, and --split {split} chooses among those of a folder; leave it out")
    return [source]


class ParquetFile:
    """The rows of one parquet file.

    Args:
        path: Where it is.
        name: What messages call it.

    Raises:
        DataError: It is damaged.
    """

    def __init__(self, path: Path, name: Path) -> None:
        self._path, self._name = path, name
        with open_parquet(path, "make it again", name=name) as file:
            self.n_rows = int(file.metadata.num_rows)
            self.columns: list[str] = list(file.schema_arrow.names)

    def read(self, start: int, stop: int, wanted: Sequence[str]) -> Iterator[RawRow]:
        columns = [name for name in self.columns if name in wanted]
        with open_parquet(self._path, "make it again", name=self._name) as file:
            yield from parquet_rows(file, columns, name=self._name, start=start, stop=stop)


class JsonLinesFile:
    """The same of a JSON Lines file; its columns are those of the first row."""

    def __init__(self, path: Path, name: Path) -> None:
        self._path = path
        self.n_rows, first, at = 0, None, 0
        self._marks = array("Q")
        """Where every `_MARK_LINES`-th line begins: a part in the middle is not looked for from the top."""
        with path.open("rb") as lines:
            for line in lines:
                begins, at = at, at + len(line)
                if not line.strip():
                    continue
                if self.n_rows % _MARK_LINES == 0:
                    self._marks.append(begins)
                self.n_rows += 1
                if first is None and isinstance(found := parse_jsonl_line(line), dict):
                    first = found
        if first is None:
            raise DataError(f"{name}: holds no JSON object on any line, expected one row a line")
        self.columns = list(first)

    def read(self, start: int, stop: int, wanted: Sequence[str]) -> Iterator[RawRow]:
        mark, skip = divmod(start, _MARK_LINES)
        with self._path.open("rb") as lines:
            lines.seek(self._marks[mark])
            for line in islice(filter(bytes.strip, lines), skip, skip + stop - start):
                row = parse_jsonl_line(line)
                yield row if isinstance(row, dict) else NoRow(row, hashlib.sha256(line.strip()).hexdigest())


def fingerprint_of(paths: Sequence[Path]) -> str:
    """SHA-256 of the size and both ends of each file, to see that they are still the same ones."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            digest.update(file.read(_ENDS))
    return digest.hexdigest()
