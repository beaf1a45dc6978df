"""The pair sets that rows are of: prompts, and pictures as small files that we encode ourselves."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from earshot.data.pairset import PairSet
from earshot.errors import DataError, EarshotError
from earshot.images import ImageFolder, load_image
from earshot.types import hash_of

Size = Literal["small", "large"]
SIDES_PX: dict[Size, int] = {"small": 160, "large": 1024}
"""Longest side of a picture that is sent."""

LOSSLESS_BELOW_PX = 300
"""Pictures smaller than this are sent as they are, pixel for pixel: a world's shapes, not a photograph."""


class PairSets:
    """Pair sets, each opened once, when something of it is first wanted. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Path, threading.Lock] = {}
        self._opened: dict[Path, PairSet | str] = {}

    def open(self, folder: Path) -> PairSet:
        """The pair set, waiting until it is read.

        Raises:
            DataError: It cannot be read.
        """
        with self._lock:
            lock = self._locks.setdefault(folder, threading.Lock())
        with lock:
            if folder not in self._opened:
                try:
                    self._opened[folder] = PairSet(folder, tolerate=sys.maxsize, require_images=False)
                except EarshotError as error:
                    self._opened[folder] = str(error)
            opened = self._opened[folder]
        if isinstance(opened, str):
            raise DataError(opened)
        return opened

    def fault(self, folder: Path | None) -> str | None:
        """Why there are no pictures of a set; None where there are, or where it has not been opened yet."""
        if folder is None:
            return "the run does not say which pair set this is"
        opened = self._opened.get(folder)
        return f"the pair set cannot be read: {opened}" if isinstance(opened, str) else None

    def prompts(self, folder: Path | None, ids: Sequence[str]) -> list[str | None]:
        """The prompts of pairs; None where the pair is not in the set, or the set not opened yet."""
        opened = self._opened.get(folder) if folder is not None else None
        if not isinstance(opened, PairSet):
            return [None] * len(ids)
        where = pc.index_in(_texts(ids), value_set=opened.column("id").combine_chunks())
        found = opened.column("prompt").take(where).to_pylist()
        return [None if value is None else str(value) for value in found]

    def matching(self, folder: Path | None, text: str) -> np.ndarray:
        """Hashes of the ids of the pairs whose prompt holds the text; of none where the set is not opened."""
        opened = self._opened.get(folder) if folder is not None else None
        if not isinstance(opened, PairSet):
            return np.zeros(0, np.int64)
        ids = opened.column("id").filter(pc.match_substring(opened.column("prompt"), text, ignore_case=True))
        return np.array([hash_of(str(name)) for name in ids.to_pylist()], np.int64)

    def image(self, folder: Path, pair_id: str, side: Literal["first", "second"]) -> Path:
        """The file of one image of a pair, by the pair's id alone.

        Raises:
            DataError: The set cannot be read, or does not have the pair, or not its images.
            ImageError: The image is missing or outside the set's folder.
        """
        opened = self.open(folder)
        position = pc.index(opened.column("id"), _texts([pair_id])[0]).as_py()
        if position < 0:
            raise DataError(f"pair {pair_id[:60]!r} is not in the pair set; it is not the one that was judged")
        name = opened.column(f"{side}_file_name")[position].as_py()
        if name is None:
            raise DataError(f"pair {pair_id[:60]!r} has no images; import the set without --no-images")
        return ImageFolder(folder).find(name, where=pair_id)


def _texts(values: Sequence[str]) -> pa.Array:
    """Arrow's text cannot hold half an emoji, and no pair of a set has one in its id."""
    return pa.array([value.encode("utf-8", "replace").decode() for value in values], pa.string())


def picture(file: Path, size: Size) -> bytes:
    """An image as a WebP file: what a browser gets was decoded and encoded by us, whatever lies on the disk.

    Raises:
        ImageError: The image is refused (`images.load_image`).
    """
    image = load_image(file)
    image.thumbnail((SIDES_PX[size], SIDES_PX[size]))
    out = io.BytesIO()
    image.save(out, format="WEBP", quality=85, method=2, lossless=max(image.size) < LOSSLESS_BELOW_PX)
    return out.getvalue()
