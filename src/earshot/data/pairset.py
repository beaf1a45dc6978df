"""Reading a pair set: as a stream of any length, or row by row for training. `writer` is how one comes to be."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from earshot.data.rows import COLUMNS, SCHEMA, check_row, find_metadata, iter_rows, pair_of, place_of
from earshot.errors import DataError
from earshot.images import ImageFolder, Tolerance
from earshot.paths import at_home
from earshot.types import Pair

OnError: TypeAlias = Callable[[DataError], None]
Roots: TypeAlias = Sequence[str | Path]

_BATCH = 8192


def read_pairs(
    folder: str | Path, *, require_images: bool = True, tolerate: int = 0, roots: Roots = ()
) -> Iterator[Pair]:
    """Yields the pairs of a set in their order, with the paths of their images; `images.load_image` opens those.

    Args:
        folder: The pair set.
        require_images: Refuse rows without images; otherwise such a pair has `images.NO_IMAGE` on both sides.
        tolerate: How many bad rows to skip before one is raised.
        roots: Further folders in which images may lie, behind links or by absolute paths.

    Raises:
        InputError: There is no such folder.
        DataError: There is no finished pair set in it, no row, or one more bad row than tolerated.
    """
    folder = at_home(Path(folder))
    metadata, tolerance = find_metadata(folder), Tolerance(tolerate)
    images = ImageFolder(metadata.parent, roots)

    def stream() -> Iterator[Pair]:
        for number, row in enumerate(iter_rows(folder), start=1):
            with tolerance.item():
                yield pair_of(row, images, place_of(metadata, number), require_images=require_images)

    return stream()


class PairSet:
    """A pair set with random access, for training: columns in Arrow's memory, a `Pair` made when it is asked for.

    A million pairs take a few hundred megabytes. Images are looked for when their pair is asked for, and not opened.

    Args:
        folder: The pair set.
        require_images: Refuse rows without images.
        tolerate: How many bad rows to leave out before one is raised.
        on_error: Told of every bad row.
        roots: Further folders in which images may lie, behind links or by absolute paths.

    Raises:
        InputError: There is no such folder.
        DataError: There is no finished pair set in it, no row is left, or there is one more bad row than tolerated.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        require_images: bool = True,
        tolerate: int = 0,
        on_error: OnError | None = None,
        roots: Roots = (),
    ) -> None:
        self.folder = at_home(Path(folder))
        self._metadata = find_metadata(self.folder)
        self._images = ImageFolder(self.folder, roots)
        self._require_images = require_images
        self._numbers = array("q")
        """The row in the file of each pair, for messages."""
        self._table = pa.Table.from_batches(self._batches(Tolerance(tolerate, on_error)), SCHEMA)
        if len(self) == 0:
            raise DataError(f"{self._metadata}: holds no pairs; expected at least one")

    def _batches(self, tolerance: Tolerance) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        for number, row in enumerate(iter_rows(self.folder), start=1):
            with tolerance.item():
                check_row(row, place_of(self._metadata, number), require_images=self._require_images)
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
