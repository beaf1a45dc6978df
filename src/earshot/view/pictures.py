"""The pair sets that rows are of: prompts, and pictures as small files that we encode ourselves."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from earshot.data.pairset import PairSet
from earshot.data.rows import ORIGINAL_COLUMN
from earshot.errors import DataError
from earshot.images import ImageFolder, load_image

Shown = Literal["first", "second", "original"]
"""An image of a pair."""
Size = Literal["small", "large"]
SIDES_PX: dict[Size, int] = {"small": 160, "large": 1024}
"""Longest side of a picture that is sent."""

LOSSLESS_BELOW_PX = 300
"""Pictures smaller than this are sent as they are, pixel for pixel: a world's shapes, not a photograph."""


class Pairs:
    """A pair set, of which nothing is known before it is opened.

    Attributes:
        folder: Of the set; None where the run does not say which it is.
        fault: Why there are no pictures.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.fault = "the run does not say which pair set this is" if folder is None else None
        self._opened: PairSet | None = None

    def open(self) -> None:
        """Reads the set, once; whatever is wrong with it costs only prompts and pictures."""
        if self.folder is None or self.fault or self._opened is not None:
            return
        try:
            self._opened = PairSet(self.folder, tolerate=sys.maxsize, require_images=False)
        except Exception as error:
            self.fault = f"the pair set cannot be read: {error}"

    @cached_property
    def prompts(self) -> Mapping[str, str]:
        """By the ids of the pairs."""
        if self._opened is None:
            return {}
        ids, prompts = (self._opened.column(name).to_pylist() for name in ("id", "prompt"))
        return dict(zip(ids, prompts, strict=True))

    def has_original(self, pair_id: str) -> bool:
        """Whether the images of a pair are edits of another, which is shown with them."""
        try:
            return self._row(pair_id, ORIGINAL_COLUMN) is not None
        except DataError:  # told where the images are asked for
            return False

    def image(self, pair_id: str, shown: Shown) -> Path:
        """The file of one image of a pair, by the pair's id alone.

        Raises:
            DataError: The set cannot be read, or does not have the pair, or not its images.
            ImageError: The image is missing or outside the set's folder.
        """
        name = self._row(pair_id, f"{shown}_file_name")
        if name is None or self._opened is None:
            raise DataError(f"pair {pair_id[:60]!r} has no such image; import the set without --no-images")
        return ImageFolder(self._opened.folder).find(name, where=pair_id)

    def _row(self, pair_id: str, column: str) -> str | None:
        """What stands in a column of a pair.

        Raises:
            DataError: The set cannot be read, or does not have the pair.
        """
        if self._opened is None:
            raise DataError(self.fault or "the pair set has not been opened yet")
        position = pc.index(self._opened.column("id"), pa.scalar(pair_id)).as_py()
        if position < 0:
            raise DataError(f"pair {pair_id[:60]!r} is not in the pair set; it is not the one that was judged")
        value: str | None = self._opened.column(column)[position].as_py()
        return value


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
