"""Writing a pair set: in a stream, images named by their content, the metadata last, so that half a set is noticed."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from earshot import __version__
from earshot.data.rows import (
    IMAGE_COLUMNS,
    INFO,
    JSONL,
    OPTIONAL_COLUMNS,
    PARQUET,
    SCHEMA,
    TRACES_FILE,
    TRUTH_FILE,
    check_row,
    is_half_written,
    read_info,
)
from earshot.errors import DataError, InputError
from earshot.files import TEMPORARY_PREFIX, check_folder, plain, read_jsonl, whole, write_json, writing
from earshot.images import SUFFIXES, load_image, read_file, read_header
from earshot.locks import LOCK_FILE, sole_writer
from earshot.types import ImageSource, Pair, hash_of

_ROW_GROUP = 8192
_MADE_BY = f"earshot {__version__}"


_IMAGE_FOLDER, _IMAGE = re.compile("[0-9a-f]{2}"), re.compile(rf"({re.escape(TEMPORARY_PREFIX)})?[0-9a-f]{{32}}\.\w+")

OF_THE_WHOLE = ("format_version", "made_by", "images", "counts", "leaks")
"""What `dataset.json` says of a set that is not so of one made from it."""

Tell: TypeAlias = Callable[[str], None]
"""Hears one line of what is done besides."""


class _Stored(NamedTuple):
    """An image that can go into the set, and is not in it yet."""

    name: str
    data: bytes
    source: ImageSource


class PairSetWriter:
    """Writes a new pair set; a context manager, at whose end the set is there, or nothing is.

    An image file is copied as it is, under a name made of its content (`images/3f/3f9a….jpg`), which tells nothing of
    the side that won, and stores an image once that is in many pairs. Pillow images become PNG files.
    Until the end the metadata has a temporary name, and readers refuse the folder as half-written. A folder has one
    writer; what one that was killed has left in it is removed.

    Example:
        with PairSetWriter(Path("out"), info={"source": "mine", "seed": 0}) as writer:
            writer.add(pair)

    Args:
        folder: A new or an empty folder, or one with a set that was never finished.
        info: Goes into `dataset.json` beside the counts; may be changed until the end (`writer.info`).
        store_images: Off, the set is made of prompts and votes alone, and the images of its pairs are not looked at.
        verify: Decode every image file once; off, only its header is checked.
        link: Image files become hard links where the disk can do that, and no bytes are doubled.
        beside: Names of JSON Lines files beside the metadata, such as traces (`write_beside`).
        tell: Hears when a set that was never finished is removed.

    Raises:
        InputError: The folder holds something else, or another process writes there. Nothing is written over.
    """

    def __init__(
        self,
        folder: Path,
        *,
        info: Mapping[str, Any] | None = None,
        store_images: bool = True,
        verify: bool = True,
        link: bool = False,
        beside: Sequence[str] = (),
        tell: Tell | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.info = dict(info or {})
        self.counts = Counts()
        """Of what has been added so far."""
        self._store_images, self._verify, self._link = store_images, verify, link
        self._names_beside, self._tell = beside, tell
        self._beside: dict[str, TextIO] = {}
        self._rows: list[dict[str, Any]] = []
        self._id_hashes = array("q")
        self._image_folders: set[str] = set()  # at most 256
        self._open = ExitStack()
        _refuse_held(self.folder)
        self._unfinished()

    def __enter__(self) -> PairSetWriter:
        with ExitStack() as opened:
            made_folder = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            opened.push(lambda kind, error, trace: self._remove_folder() if kind is not None and made_folder else None)
            opened.enter_context(sole_writer(self.folder))
            if left := self._unfinished():
                if self._tell is not None:
                    self._tell(f"{self.folder}: a pair set that was never finished is removed and begun anew")
                for path in left:
                    _remove(path)
            temporary = opened.enter_context(whole(self.folder / PARQUET))
            self._metadata = opened.enter_context(pq.ParquetWriter(temporary, SCHEMA, compression="zstd"))
            # Undone before the metadata: what is left of a set lies beside its mark at any moment.
            opened.push(lambda kind, error, trace: self._remove_all() if kind is not None else None)
            for name in self._names_beside:
                file = opened.enter_context(whole(self.folder / name)).open("w", encoding="utf-8", newline="\n")
                self._beside[name] = opened.enter_context(file)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._open.__exit__(kind, error, trace)
        else:
            with self._open:  # what fails in finishing is cleaned up in the same way
                self._finish()

    def _remove_all(self) -> None:
        shutil.rmtree(self.folder / "images", ignore_errors=True)
        for name in (INFO, *self._names_beside):
            (self.folder / name).unlink(missing_ok=True)

    def _remove_folder(self) -> None:
        with suppress(OSError):  # others may have put something beside the set; the error on its way says more
            self.folder.rmdir()

    def _unfinished(self) -> list[Path]:
        """What is in the folder of a set that was never finished, its mark last; nothing where it is new or empty.

        Raises:
            InputError: It holds a finished set, or anything that no writer of ours has put there.
        """
        check_folder(self.folder, "a folder for the pair set")
        if not self.folder.exists():
            return []
        found = sorted(path for path in self.folder.iterdir() if path.name != LOCK_FILE)
        expected = "expected a new or an empty folder"
        if any(path.name in (PARQUET, JSONL) for path in found):
            raise InputError(f"{self.folder}: holds a finished pair set, {expected}; remove it or choose another")
        names = "|".join(re.escape(name) for name in (PARQUET, INFO, *self._names_beside))
        ours = re.compile(rf"(?:{re.escape(TEMPORARY_PREFIX)}[0-9a-f]{{12}}-)?(?:{names})")
        foreign = [path for path in found if _is_foreign(path, ours)]
        if foreign or (found and not is_half_written(self.folder)):
            one = (foreign or found)[0].relative_to(self.folder)
            raise InputError(f"{self.folder}: holds other files ({one}), {expected}; choose another")
        return sorted(found, key=lambda path: path.name.endswith(PARQUET))

    def add(self, pair: Pair) -> None:
        """Stores a pair and its images; a refused pair leaves nothing behind.

        Raises:
            DataError: A value is not what its column holds.
            ImageError: An image is missing or refused.
        """
        place = f"pair {pair.id!r}"
        row: dict[str, Any] = {"id": pair.id, "prompt": pair.prompt}
        row |= dict.fromkeys(IMAGE_COLUMNS)
        row |= {"votes_first": float(pair.votes.first), "votes_second": float(pair.votes.second)}
        row |= {name: getattr(pair, name) for name in OPTIONAL_COLUMNS}
        check_row(row, place, require_images=False)
        if self._store_images:
            sources = zip(IMAGE_COLUMNS, (pair.first, pair.second, pair.original), strict=True)
            prepared = {
                column: self._prepare(source, f"{place}, {column.removesuffix('_file_name')} image")
                for column, source in sources
                if source is not None
            }
            with writing(self.folder):
                row |= {column: self._store(image) for column, image in prepared.items()}
        self.counts.add(pair)
        self._rows.append(row)
        # 8 bytes a pair: the ids themselves would take a hundred megabytes of a million pairs.
        self._id_hashes.append(hash_of(pair.id))
        if len(self._rows) == _ROW_GROUP:
            self._flush()

    def write_beside(self, name: str, row: Mapping[str, Any]) -> None:
        """Adds a row to one of the files `beside`."""
        with writing(self.folder):
            self._beside[name].write(f"{json.dumps(row)}\n")

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
        return _Stored(name, data, source)

    def _store(self, image: _Stored) -> str:
        target = self.folder / image.name
        if not target.exists():
            if target.parent.name not in self._image_folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._image_folders.add(target.parent.name)
            temporary = target.with_name(f"{TEMPORARY_PREFIX}{target.name}")
            if not (self._link and isinstance(image.source, Path) and _linked(image.source, temporary)):
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
        counts = dataclasses.asdict(self.counts)
        made = {"format_version": 1, "made_by": _MADE_BY, "images": self._store_images}
        write_json(self.folder / INFO, {**made, **self.info, "counts": counts})

    def _refuse_repeated_ids(self) -> None:
        hashes = np.frombuffer(self._id_hashes, dtype=np.int64)
        order = np.argsort(hashes, kind="stable")
        repeated = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if repeated.size:
            one, two = order[repeated[0]] + 1, order[repeated[0] + 1] + 1
            raise DataError(f"{self.folder}: pairs {one} and {two} written have the same id; nothing was kept")


def beside_of(folder: Path) -> list[str]:
    """The files beside a set's metadata that have a row for a pair: reference traces and ground truth."""
    return [name for name in (TRACES_FILE, TRUTH_FILE) if (Path(folder) / name).is_file()]


def copy_beside(folder: Path, names: Sequence[str], writer_of: Callable[[str], PairSetWriter | None]) -> None:
    """Copies the rows of such files to the set that their pair went to; None where it went to none."""
    for name in names:
        for row in read_jsonl(Path(folder) / name, allow_cut=False):
            identity = row.get("id")
            if isinstance(identity, str) and (writer := writer_of(identity)) is not None:
                writer.write_beside(name, row)


def is_made(folder: Path, info: Mapping[str, Any], n_pairs: int) -> bool:
    """Whether a folder holds the finished set that a writer with this `info` would write, by what `dataset.json` says.

    Raises:
        InputError: Another process writes there.
        DataError: `dataset.json` is no JSON object.
    """
    if not (Path(folder) / PARQUET).is_file():
        return False
    found, expected = read_info(folder), {"made_by": _MADE_BY, **info}
    _refuse_held(folder)
    return found.get("counts", {}).get("pairs") == n_pairs and found.items() >= plain(expected).items()


def _refuse_held(folder: Path) -> None:
    """Lets a folder pass that nobody writes; a lock that a killed writer held is taken away."""
    if (Path(folder) / LOCK_FILE).exists():
        with sole_writer(Path(folder)):
            pass


def _is_foreign(path: Path, ours: re.Pattern[str]) -> bool:
    """Whether a file in the folder of a set was put there by others; of a folder it is asked what it holds."""
    if path.is_symlink() or path.is_dir() != (path.name == "images"):
        return True
    return any(map(_is_foreign_folder, path.iterdir())) if path.is_dir() else not ours.fullmatch(path.name)


def _is_foreign_folder(path: Path) -> bool:
    if path.is_symlink() or not path.is_dir() or not _IMAGE_FOLDER.fullmatch(path.name):
        return True
    return not all(_IMAGE.fullmatch(file.name) for file in path.iterdir())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _linked(source: Path, target: Path) -> bool:
    """Makes a second name for a file, where the disk can do that."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        return False
    return True


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
