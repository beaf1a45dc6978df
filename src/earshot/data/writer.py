"""Writing a pair set: in a stream, images named by their content, the metadata last, so that half a set is noticed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shutil
from array import array
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from earshot import __version__
from earshot.data.rows import INFO, OPTIONAL_COLUMNS, PARQUET, SCHEMA, check_row, is_half_written
from earshot.errors import DataError, InputError
from earshot.images import SUFFIXES, load_image, read_file, read_header
from earshot.rundir import TEMPORARY_PREFIX, whole, write_json
from earshot.types import ImageSource, Pair, hash_of

_ROW_GROUP = 8192


class _Stored(NamedTuple):
    """An image that can go into the set, and is not in it yet."""

    name: str
    data: bytes


class PairSetWriter:
    """Writes a new pair set; a context manager, at whose end the set is there, or nothing is.

    An image file is copied as it is, under a name made of its content (`images/3f/3f9a….jpg`), which tells nothing of
    the side that won, and stores an image once that is in many pairs. Pillow images become PNG files.
    Until the end the metadata has a temporary name, and readers refuse the folder as half-written.

    Example:
        with PairSetWriter(Path("out"), info={"source": "mine", "seed": 0}) as writer:
            writer.add(pair)

    Args:
        folder: A new or an empty folder.
        info: Goes into `dataset.json` beside the counts; may be changed until the end (`writer.info`).
        store_images: Off, the set is made of prompts and votes alone, and the images of its pairs are not looked at.
        verify: Decode every image file once; off, only its header is checked.

    Raises:
        InputError: The folder holds something already. Nothing is written over.
    """

    def __init__(
        self, folder: Path, *, info: Mapping[str, Any] | None = None, store_images: bool = True, verify: bool = True
    ) -> None:
        self.folder = Path(folder)
        self.info = dict(info or {})
        self.counts = Counts()
        """Of what has been added so far."""
        self._leaks = _Leaks()
        self._store_images, self._verify = store_images, verify
        self._rows: list[dict[str, Any]] = []
        self._id_hashes = array("q")
        self._image_folders: set[str] = set()  # at most 256
        self._open = ExitStack()
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{folder}: is a file, expected a folder for the pair set; choose another name")
        if self.folder.is_dir() and any(self.folder.iterdir()):
            what = "a half-written pair set" if is_half_written(self.folder) else "other files"
            raise InputError(f"{folder}: holds {what}, expected a new or an empty folder; remove it or choose another")

    def __enter__(self) -> PairSetWriter:
        made_folder = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._open.push(lambda kind, error, trace: None if kind is None else self._remove_all(made_folder))
        temporary = self._open.enter_context(whole(self.folder / PARQUET))
        self._metadata = self._open.enter_context(pq.ParquetWriter(temporary, SCHEMA, compression="zstd"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._open.__exit__(kind, error, trace)
        else:
            with self._open:  # what fails in finishing is cleaned up in the same way
                self._finish()

    def _remove_all(self, made_folder: bool) -> None:
        shutil.rmtree(self.folder / "images", ignore_errors=True)
        (self.folder / INFO).unlink(missing_ok=True)
        if made_folder:
            with suppress(OSError):  # others may have put something beside the set; the error on its way says more
                self.folder.rmdir()

    def add(self, pair: Pair) -> None:
        """Stores a pair and its images; a refused pair leaves nothing behind.

        Raises:
            DataError: A value is not what its column holds.
            ImageError: An image is missing or refused.
        """
        place = f"pair {pair.id!r}"
        row: dict[str, Any] = {"id": pair.id, "prompt": pair.prompt}
        row |= {"first_file_name": None, "second_file_name": None}
        row |= {"votes_first": float(pair.votes.first), "votes_second": float(pair.votes.second)}
        row |= {name: getattr(pair, name) for name in OPTIONAL_COLUMNS}
        check_row(row, place, require_images=False)
        if self._store_images:
            first = self._prepare(pair.first, f"{place}, first image")
            second = self._prepare(pair.second, f"{place}, second image")
            row["first_file_name"], row["second_file_name"] = self._store(first), self._store(second)
            self._leaks.add(pair, first, second)
        self.counts.add(pair)
        self._rows.append(row)
        # 8 bytes a pair: the ids themselves would take a hundred megabytes of a million pairs.
        self._id_hashes.append(hash_of(pair.id))
        if len(self._rows) == _ROW_GROUP:
            self._flush()

    def _prepare(self, source: ImageSource, where: str) -> _Stored:
        """The bytes of an image that is in order, and the name they will have."""
        if isinstance(source, Image.Image):
            buffer = io.BytesIO()
            load_image(source, where=where).save(buffer, "PNG", compress_level=3)
            data, format, verify = buffer.getvalue(), "PNG", False
        else:
            data = read_file(source, where=where) if isinstance(source, Path) else source
            where = f"{where}, {source}" if isinstance(source, Path) else where
            format, verify = read_header(data, where=where).format, self._verify
        digest = hashlib.sha256(data).hexdigest()[:32]
        name = f"images/{digest[:2]}/{digest}{SUFFIXES[format]}"
        if verify and not (self.folder / name).exists():
            load_image(data, where=where)
        return _Stored(name, data)

    def _store(self, image: _Stored) -> str:
        target = self.folder / image.name
        if not target.exists():
            if target.parent.name not in self._image_folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._image_folders.add(target.parent.name)
            temporary = target.with_name(f"{TEMPORARY_PREFIX}{target.name}")
            temporary.write_bytes(image.data)
            temporary.replace(target)
            self.counts.images += 1
        return image.name

    def _flush(self) -> None:
        if self._rows:
            self._metadata.write_table(pa.Table.from_pylist(self._rows, SCHEMA))
            self._rows = []

    def _finish(self) -> None:
        if self.counts.pairs == 0:
            raise DataError(f"{self.folder}: no pair was written, and a pair set needs at least one; nothing was kept")
        self._refuse_repeated_ids()
        self._flush()
        self._metadata.close()
        if self._store_images:
            os.sync()  # once, where an fsync of each of a million images would take hours
        leaks = self._leaks.shares(self.counts) if self._store_images else None
        counts = dataclasses.asdict(self.counts)
        made = {"format_version": 1, "made_by": f"earshot {__version__}", "images": self._store_images}
        write_json(self.folder / INFO, {**made, **self.info, "counts": counts, "leaks": leaks})

    def _refuse_repeated_ids(self) -> None:
        hashes = np.frombuffer(self._id_hashes, dtype=np.int64)
        order = np.argsort(hashes, kind="stable")
        repeated = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if repeated.size:
            one, two = order[repeated[0]] + 1, order[repeated[0] + 1] + 1
            raise DataError(f"{self.folder}: pairs {one} and {two} written have the same id; nothing was kept")


@dataclasses.dataclass(slots=True)
class Counts:
    """What a pair set holds."""

    pairs: int = 0
    strict: int = 0
    """Pairs in which one side has more votes."""
    tied: int = 0
    first_preferred: int = 0
    images: int = 0
    """Different images; one that is in many pairs counts once."""

    def add(self, pair: Pair) -> None:
        self.pairs += 1
        self.strict += pair.votes.majority is not None
        self.tied += pair.votes.majority is None
        self.first_preferred += pair.votes.majority == "first"


@dataclasses.dataclass(slots=True)
class _Leaks:
    """How much of the outcome can be told without looking at the pictures."""

    sizes_differ: int = 0
    larger_preferred: int = 0
    formats_differ: int = 0

    def add(self, pair: Pair, first: _Stored, second: _Stored) -> None:
        self.formats_differ += Path(first.name).suffix != Path(second.name).suffix
        if pair.votes.majority is not None and len(first.data) != len(second.data):
            self.sizes_differ += 1
            self.larger_preferred += (len(first.data) > len(second.data)) == (pair.votes.majority == "first")

    def shares(self, counts: Counts) -> dict[str, float | int | None]:
        """Shares among the strict pairs, 0.5 being no leak; null where there is none to count."""
        return {
            "first_preferred": counts.first_preferred / counts.strict if counts.strict else None,
            "larger_file_preferred": self.larger_preferred / self.sizes_differ if self.sizes_differ else None,
            "pairs_of_two_formats": self.formats_differ,
        }
