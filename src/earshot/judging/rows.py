"""Rows to judge, from a pair set, a parquet file or JSON Lines: read in a stream, from any row on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL.Image import Image

from earshot.data.rows import COLUMNS as SET_COLUMNS
from earshot.data.rows import ORIGINAL_COLUMN, RESULT_COLUMNS, find_metadata, pair_of, place_of, text_faults
from earshot.errors import DataError, InputError, short
from earshot.images import ImageFolder, printable
from earshot.judging.files import JsonLinesFile, NoRow, ParquetFile, RawRow, find_files, fingerprint_of
from earshot.paths import at_home

IMAGE_COLUMNS = (RESULT_COLUMNS, ("first", "second"), ("images",))
"""How the image columns may be called where the caller does not say; one of them alone holds lists of two."""


class Columns(NamedTuple):
    """The names of the columns; None finds the images' among `IMAGE_COLUMNS`, and an original as a pair set has it."""

    prompt: str = "prompt"
    first: str | None = None
    second: str | None = None
    id: str = "id"
    original: str | None = None


COLUMNS = Columns()
"""The names that are found without saying."""


class Row(NamedTuple):
    """One row of the input."""

    number: int
    """Counted from 0."""
    id: str
    """Its own id, or its number where it has none."""
    prompt: str
    images: tuple[Path | bytes, ...]
    """Two, the first and the second; of a file of groups two or more."""
    original: Path | bytes | None = None
    """Of which all are edits."""

    @property
    def files(self) -> tuple[Path | bytes | None, ...]:
        """As `people.sha256_of` takes them."""
        return *self.images, self.original


class BadRow(NamedTuple):
    """A row that is none, and why."""

    number: int
    id: str
    error: str
    sha256: str
    """Of the row's record, or where its pictures are refused of its prompt and both (`people.sha256_of`)."""

    def fault(self) -> dict[str, str]:
        """What a bad row has in the place of an answer."""
        return {"error": self.error, "sha256": self.sha256}


class RowFile:
    """The rows of one file, or of the shards of one split.

    Images are paths relative to the folder, which may not leave it, or embedded: bytes, or the hub's `{bytes, path}`,
    of which the path is but a name where there are bytes; each by itself, in a list of one, or both in a list of two.
    They are not opened here.

    Args:
        source: A pair set's folder, a `.parquet` or a `.jsonl` file, or a folder of shards as the hub names them
            (`data/train-00000-of-00003.parquet`).
        columns: What its columns are called.
        whole_pairs: Whether it is a pair set, of which a row without proper votes is a bad one too.
        groups: The column of lists of two or more images, where a row is a prompt with all of its pictures and no pair.
        split: Which split, where a folder holds the shards of several.
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
        groups: str | None = None,
        split: str | None = None,
        roots: Sequence[str | Path] = (),
    ) -> None:
        self.groups = groups
        paths = [find_metadata(source)] if whole_pairs and source.is_dir() else find_files(source, split)
        self.path = paths[0] if len(paths) == 1 else source
        self._columns = columns
        self._whole_pairs = whole_pairs
        # Messages name a file as the caller did; it is opened from whatever folder a process works in.
        self._paths = [path.absolute() for path in paths]
        folder = source if source.is_dir() else source.parent
        self._images = ImageFolder(folder.absolute(), [at_home(Path(root)).absolute() for root in roots])
        self._files: list[ParquetFile | JsonLinesFile] = []
        for path, name in zip(self._paths, paths, strict=True):
            file = (ParquetFile if path.suffix == ".parquet" else JsonLinesFile)(path, name)
            self._files.append(file)
            self._image_columns = self._find_columns(file.columns, name)
            self._original_column = self._find_original(file.columns, name)
        self._refuse_ranked_edits()
        self.n_rows = sum(file.n_rows for file in self._files)
        self._wanted = (
            columns.id,
            columns.prompt,
            *self._image_columns,
            *self._original_column,
            *(SET_COLUMNS if whole_pairs else ()),
        )

    def fingerprint(self) -> str:
        """To see that the files are still the same ones."""
        return fingerprint_of(self._paths)

    def check_first(self) -> None:
        """Looks at the first row and for its pictures; asked before a model is loaded.

        Raises:
            DataError: It is a bad one.
        """
        for row in self.read(0, 1):
            if isinstance(row, BadRow):
                raise DataError(f"{self.path}: row 0 '{row.id}': {row.error}")

    def read(self, start: int, stop: int) -> Iterator[Row | BadRow]:
        """Yields the rows from `start` up to `stop`, counted from 0.

        Raises:
            DataError: A file is damaged.
        """
        at = 0
        for file in self._files:
            first, last = max(start - at, 0), min(stop - at, file.n_rows)
            if first < last:
                raw = file.read(first, last, self._wanted)
                for number, row in zip(range(at + first, at + last), raw, strict=False):
                    yield self._row(number, row)
            at += file.n_rows

    def placeless(self, message: str) -> str:
        """A message about an image without the folder of the file, so that a bad row reads alike wherever it lies."""
        folder = re.escape(printable(str(self._images.root)))
        return re.sub(rf"(?<!\S){folder}\b", "the file's folder", re.sub(rf"(?<!\S){folder}/", "", message))

    def _row(self, number: int, row: RawRow) -> Row | BadRow:
        if isinstance(row, NoRow):
            return BadRow(number, str(number), f"is {row.found}, expected one JSON object", row.sha256)
        if self._whole_pairs:
            return self._pair(number, row)
        given = row.get(self._columns.id)
        name = given if isinstance(given, str) else str(number if given is None else given)
        prompt = row.get(self._columns.prompt)
        fault = next(text_faults(self._columns.prompt, prompt, may_be_blank=True), None)
        if fault is not None or not isinstance(prompt, str):
            return BadRow(number, name, str(fault), _sha256_of(row))
        try:
            images = tuple(self._image(value, column) for value, column in self._image_values(row))
            original = self._original(row)
        except DataError as error:
            return BadRow(number, name, self.placeless(str(error)), _sha256_of(row))
        return Row(number, name, prompt, images, original)

    def _pair(self, number: int, row: Mapping[str, Any]) -> Row | BadRow:
        try:
            pair = pair_of(row, self._images, place_of(self.path, number + 1))
        except DataError as error:
            return BadRow(number, str(row.get("id", number)), self.placeless(str(error)), _sha256_of(row))
        assert not isinstance(pair.first, Image) and not isinstance(pair.second, Image)
        assert not isinstance(pair.original, Image)
        return Row(number, pair.id, pair.prompt, (pair.first, pair.second), pair.original)

    def _original(self, row: Mapping[str, Any]) -> Path | bytes | None:
        """The original of a row: in a pair set's own column it may be missing, and in one that was named it may not."""
        named = self._columns.original
        given = [(row.get(column), column) for column in self._original_column]
        return next((self._image(value, column) for value, column in given if value is not None or named), None)

    def _image_values(self, row: Mapping[str, Any]) -> list[tuple[Any, str]]:
        if len(self._image_columns) == 2:
            return [(row.get(column), column) for column in self._image_columns]
        (column,) = self._image_columns
        all_of_it = row.get(column)
        n = len(all_of_it) if isinstance(all_of_it, list) else 0
        if not isinstance(all_of_it, list) or n < 2 or (n > 2 and self.groups is None):
            held = f"a list of {n}" if isinstance(all_of_it, list) else short(all_of_it)
            expected = "two images" if self.groups is None else "two or more images: a rank is a place among others"
            raise DataError(f"{column} is {held}, expected a list of {expected}")
        return [(value, f"{column}[{k}]") for k, value in enumerate(all_of_it)]

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

    def _find_columns(self, names: list[str], place: Path) -> tuple[str, ...]:
        """The image columns, or the one that holds all, where they and the prompt's are there."""
        if self.groups is not None:
            if self.groups in names and self._columns.prompt in names:
                return (self.groups,)
            raise DataError(
                f"{place}: has columns {', '.join(names)}; expected {self._columns.prompt} and {self.groups}, a list "
                "of images, so name the columns (--prompt-column, --rank)"
            )
        given = (self._columns.first, self._columns.second)
        if (given[0] is None) != (given[1] is None):
            raise InputError(f"{place}: one image column is named and the other is not; name both")
        known: list[tuple[str | None, ...]] = [given] if given[0] is not None else list(IMAGE_COLUMNS)
        found = next((one for one in known if all(name in names for name in one)), None)
        if found is None or self._columns.prompt not in names:
            expected = " or ".join(" and ".join(map(str, one)) for one in known)
            raise DataError(
                f"{place}: has columns {', '.join(names)}; expected {self._columns.prompt} and {expected}, so name "
                "the columns (--prompt-column, --first-column, --second-column)"
            )
        return tuple(map(str, found))

    def _find_original(self, names: list[str], place: Path) -> tuple[str, ...]:
        """The column with the originals of edits: the one that is named, or a pair set's own where it is there."""
        if self._columns.original is None:
            return (ORIGINAL_COLUMN,) if ORIGINAL_COLUMN in names else ()
        if self._columns.original not in names:
            raise DataError(
                f"{place}: has columns {', '.join(names)}; expected {self._columns.original} (--original-column)"
            )
        return (self._columns.original,)

    def _refuse_ranked_edits(self) -> None:
        """A ranking is written with its pictures, and has no place for what they are edits of."""
        if self.groups is not None and self._original_column:
            raise InputError(
                f"{self.path}: has originals ({', '.join(self._original_column)}), and rankings of edits cannot be "
                "written to a file; rank them one prompt at a time ('earshot rank --original'), or take the column out"
            )


def _sha256_of(row: Mapping[str, Any]) -> str:
    """Of a record as JSON, its keys in order, in which bytes are their own SHA-256."""

    def plain(value: Any) -> str:
        return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)

    return hashlib.sha256(json.dumps(row, sort_keys=True, default=plain).encode()).hexdigest()
