"""Rows to judge, from a pair set, a parquet file or JSON Lines: read in a stream, from any row on."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from PIL.Image import Image

from earshot.data.row_files import open_parquet, parquet_rows
from earshot.data.rows import COLUMNS as SET_COLUMNS
from earshot.data.rows import find_metadata, pair_of, place_of, text_faults
from earshot.errors import DataError, InputError, short
from earshot.images import ImageFolder, printable
from earshot.paths import at_home
from earshot.rundir import parse_jsonl_line

IMAGE_COLUMNS = (("first_file_name", "second_file_name"), ("first", "second"))
"""How the two image columns may be called where the caller does not say."""

_ENDS = 1 << 16
_MARK_LINES = 1024


class Columns(NamedTuple):
    """The names of the columns; None finds the images' among `IMAGE_COLUMNS`."""

    prompt: str = "prompt"
    first: str | None = None
    second: str | None = None
    id: str = "id"


COLUMNS = Columns()
"""The names that are found without saying."""


class Row(NamedTuple):
    """One row of the input."""

    number: int
    """Counted from 0."""
    id: str
    """Its own id, or its number where it has none."""
    prompt: str
    first: Path | bytes
    second: Path | bytes


class BadRow(NamedTuple):
    """A row that is none, and why."""

    number: int
    id: str
    error: str


class RowFile:
    """The rows of one file.

    Images are paths relative to the file, which may not leave its folder, or embedded: bytes, or the hub's
    `{bytes, path}`. They are not opened here.

    Args:
        source: A pair set's folder, a `.parquet` or a `.jsonl` file.
        columns: What its columns are called.
        whole_pairs: Whether it is a pair set, of which a row without proper votes is a bad one too.
        roots: Further folders in which images may lie, behind links or by absolute paths.

    Raises:
        InputError: There is no such file, or it is of another kind.
        DataError: It is damaged, or has no such columns.
    """

    def __init__(
        self,
        source: Path,
        columns: Columns = COLUMNS,
        *,
        whole_pairs: bool = False,
        roots: Sequence[str | Path] = (),
    ) -> None:
        self.path = find_metadata(source) if source.is_dir() else source
        if not self.path.is_file():
            raise InputError(f"{source}: is no file, expected a pair set's folder, .parquet or .jsonl; check the path")
        if self.path.suffix not in (".parquet", ".jsonl"):
            raise InputError(f"{source}: ends in {self.path.suffix!r}, expected a folder, .parquet or .jsonl")
        self._columns = columns
        self._whole_pairs = whole_pairs
        # Messages name the file as the caller did; it is opened from whatever folder a process works in.
        self._file = self.path.absolute()
        self._images = ImageFolder(self._file.parent, [at_home(Path(root)).absolute() for root in roots])
        self._parquet = self.path.suffix == ".parquet"
        if self._parquet:
            self._open_parquet()
        else:
            self._open_jsonl()

    def fingerprint(self) -> str:
        """SHA-256 of the file's size and both its ends, to see that it is still the same one."""
        size = self._file.stat().st_size
        digest = hashlib.sha256(f"{size}\0".encode())
        with self._file.open("rb") as file:
            digest.update(file.read(_ENDS))
            file.seek(max(0, size - _ENDS))
            digest.update(file.read(_ENDS))
        return digest.hexdigest()

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        """Yields the rows from `start` up to `stop`, counted from 0.

        Raises:
            DataError: The file is damaged.
        """
        raw = self._parquet_rows(start, stop) if self._parquet else self._jsonl_rows(start, stop)
        for number, row in zip(range(start, stop), raw, strict=False):
            yield self._row(number, row)

    def placeless(self, message: str) -> str:
        """A message about an image without the folder of the file, so that a bad row reads alike wherever it lies."""
        folder = re.escape(printable(str(self._images.root)))
        return re.sub(rf"(?<!\S){folder}\b", "the file's folder", re.sub(rf"(?<!\S){folder}/", "", message))

    def _row(self, number: int, row: Mapping[str, Any] | str) -> Row | BadRow:
        if isinstance(row, str):
            return BadRow(number, str(number), f"is {row}, expected one JSON object")
        if self._whole_pairs:
            return self._pair(number, row)
        given = row.get(self._columns.id)
        name = given if isinstance(given, str) else str(number if given is None else given)
        prompt = row.get(self._columns.prompt)
        fault = next(text_faults(self._columns.prompt, prompt, may_be_blank=True), None)
        if fault is not None or not isinstance(prompt, str):
            return BadRow(number, name, str(fault))
        try:
            first, second = (self._image(row.get(column), column) for column in self._image_columns)
        except DataError as error:
            return BadRow(number, name, self.placeless(str(error)))
        return Row(number, name, prompt, first, second)

    def _pair(self, number: int, row: Mapping[str, Any]) -> Row | BadRow:
        try:
            pair = pair_of(row, self._images, place_of(self.path, number + 1))
        except DataError as error:
            return BadRow(number, str(row.get("id", number)), self.placeless(str(error)))
        assert not isinstance(pair.first, Image) and not isinstance(pair.second, Image)
        return Row(number, pair.id, pair.prompt, pair.first, pair.second)

    def _image(self, value: Any, column: str) -> Path | bytes:
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, Mapping):  # the hub's embedded images
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return self._images.find(value, where=column)
        raise DataError(f"{column} is {short(value)}, expected a path relative to {self.path.name}, or bytes")

    def _open_parquet(self) -> None:
        with open_parquet(self._file, "make it again", name=self.path) as file:
            self.n_rows = int(file.metadata.num_rows)
            schema = file.schema_arrow
        self._image_columns = self._find_columns(schema.names)
        wanted = {
            self._columns.id,
            self._columns.prompt,
            *self._image_columns,
            *(SET_COLUMNS if self._whole_pairs else ()),
        }
        self._read_columns = [name for name in schema.names if name in wanted]

    def _open_jsonl(self) -> None:
        self.n_rows, first, at = 0, None, 0
        self._marks = array("Q")
        """Where every `_MARK_LINES`-th line begins: a part in the middle is not looked for from the top."""
        with self._file.open("rb") as lines:
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
            raise DataError(f"{self.path}: holds no JSON object on any line, expected one row a line")
        self._image_columns = self._find_columns(list(first))

    def _find_columns(self, names: list[str]) -> tuple[str, str]:
        """The image columns, where they and the prompt's are there."""
        given = (self._columns.first, self._columns.second)
        if (given[0] is None) != (given[1] is None):
            raise InputError(f"{self.path}: one image column is named and the other is not; name both")
        pairs = [given] if given[0] is not None else list(IMAGE_COLUMNS)
        found = next(((a, b) for a, b in pairs if a in names and b in names), None)
        if found is None or self._columns.prompt not in names:
            expected = " or ".join(f"{a} and {b}" for a, b in pairs)
            raise DataError(
                f"{self.path}: has columns {', '.join(names)}; expected {self._columns.prompt} and {expected}, so name "
                "the columns (--prompt-column, --first-column, --second-column)"
            )
        assert found[0] is not None and found[1] is not None
        return found[0], found[1]

    def _parquet_rows(self, start: int, stop: int) -> Iterator[Mapping[str, Any]]:
        with open_parquet(self._file, "make it again", name=self.path) as file:
            yield from parquet_rows(file, self._read_columns, name=self.path, start=start, stop=stop)

    def _jsonl_rows(self, start: int, stop: int) -> Iterator[Mapping[str, Any] | str]:
        mark, skip = divmod(start, _MARK_LINES)
        with self._file.open("rb") as lines:
            lines.seek(self._marks[mark])
            for line in islice(filter(bytes.strip, lines), skip, skip + stop - start):
                yield parse_jsonl_line(line)
