"""Reading a pair set: as a stream of any length, or row by row for training. `writer` is how one comes to be."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from earshot.data.rows import (
    COLUMNS,
    JSONL,
    OPTIONAL_COLUMNS,
    SCHEMA,
    check_row,
    find_metadata,
    iter_rows,
    open_parquet,
    pair_of,
    place_of,
    read_info,
)
from earshot.data.writer import PairSetWriter
from earshot.errors import DataError
from earshot.images import ImageFolder, Tolerance
from earshot.types import Pair

__all__ = ["PairSet", "PairSetWriter", "count_pairs", "iter_rows", "read_info", "read_pairs"]

OnError: TypeAlias = Callable[[DataError], None]

_BATCH = 8192


def read_pairs(
    folder: Path,
    *,
    where: Mapping[str, str] | None = None,
    require_images: bool = True,
    tolerate: int = 0,
    on_error: OnError | None = None,
) -> Iterator[Pair]:
    """Yields the pairs of a set in their order, with the paths of their images; `images.load_image` opens those.

    Args:
        folder: The pair set.
        where: Only rows with these values, such as `{"split": "test"}`.
        require_images: Refuse rows without images; otherwise such a pair has `images.NO_IMAGE` on both sides.
        tolerate: How many bad rows to skip before one is raised.
        on_error: Told of every bad row.

    Raises:
        InputError: There is no such folder.
        DataError: There is no finished pair set in it, no row, or one more bad row than tolerated.
    """
    metadata, tolerance = find_metadata(folder), Tolerance(tolerate, on_error)
    rows, images = _chosen_rows(metadata, where or {}), ImageFolder(metadata.parent)

    def stream() -> Iterator[Pair]:
        for number, row in rows:
            try:
                pair = pair_of(row, images, place_of(metadata, number), require_images=require_images)
            except DataError as error:
                tolerance.refuse(error)
                continue
            yield pair

    return stream()


def _chosen_rows(metadata: Path, where: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows that have the wanted values, and their numbers in the file."""
    if unknown := [name for name in where if name not in OPTIONAL_COLUMNS]:
        raise DataError(f"pairs cannot be chosen by {', '.join(unknown)}; choose by {', '.join(OPTIONAL_COLUMNS)}")
    rows = enumerate(iter_rows(metadata.parent, COLUMNS), start=1)
    return ((n, row) for n, row in rows if all(row.get(name) == value for name, value in where.items()))


def count_pairs(folder: Path) -> int:
    """The number of rows, from the file's own index or its newlines; no row is looked at.

    Raises:
        InputError: There is no such folder.
        DataError: There is no finished pair set in it.
    """
    metadata = find_metadata(folder)
    if metadata.name != JSONL:
        with open_parquet(metadata) as file:
            return int(file.metadata.num_rows)
    lines, last = 0, b"\n"
    with metadata.open("rb") as jsonl:
        while block := jsonl.read(1 << 20):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")


class PairSet:
    """A pair set with random access, for training: columns in Arrow's memory, a `Pair` made when it is asked for.

    A million pairs take a few hundred megabytes. Images are looked for when their pair is asked for, and not opened.

    Args:
        folder: The pair set.
        where: Only rows with these values, such as `{"split": "train"}`.
        require_images: Refuse rows without images.
        tolerate: How many bad rows to leave out before one is raised.
        on_error: Told of every bad row.

    Raises:
        InputError: There is no such folder.
        DataError: There is no finished pair set in it, no row is left, or there is one more bad row than tolerated.
    """

    def __init__(
        self,
        folder: Path,
        *,
        where: Mapping[str, str] | None = None,
        require_images: bool = True,
        tolerate: int = 0,
        on_error: OnError | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._metadata = find_metadata(self.folder)
        self._images = ImageFolder(self.folder)
        self._require_images = require_images
        self._numbers = array("q")
        """The row in the file of each pair, for messages."""
        batches = list(self._batches(where or {}, Tolerance(tolerate, on_error)))
        self._table = pa.Table.from_batches(batches, SCHEMA)
        if len(self) == 0:
            chosen = f" with {dict(where)}" if where else ""
            raise DataError(f"{self._metadata}: holds no pairs{chosen}; expected at least one")

    def _batches(self, where: Mapping[str, str], tolerance: Tolerance) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        for number, row in _chosen_rows(self._metadata, where):
            try:
                check_row(row, place_of(self._metadata, number), require_images=self._require_images)
            except DataError as error:
                tolerance.refuse(error)
                continue
            rows.append(row)
            self._numbers.append(number)
            if len(rows) == _BATCH:
                yield pa.RecordBatch.from_pylist(rows, SCHEMA)
                rows.clear()
        yield pa.RecordBatch.from_pylist(rows, SCHEMA)

    def __len__(self) -> int:
        return self._table.num_rows

    def __getitem__(self, index: int) -> Pair:
        """The pair at a position, counted from the end where it is negative.

        Raises:
            IndexError: There is no such position.
            ImageError: An image is missing or outside the folder.
        """
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"pair {index} of {size}")
        position = index % size
        row = {name: self._table[name][position].as_py() for name in COLUMNS}
        place = place_of(self._metadata, self._numbers[position])
        return pair_of(row, self._images, place, require_images=self._require_images)

    def column(self, name: str) -> pa.ChunkedArray:
        """A whole column of the metadata, such as `votes_first` or `prompt`, in the order of the pairs."""
        return self._table[name]
