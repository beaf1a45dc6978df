"""What a caller may hand over as an image, made one decoded picture with the hash of its pixels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from earshot.errors import ImageError
from earshot.images import DEFAULT_LIMITS, ImageLimits, load_image, printable
from earshot.paths import at_home

PictureLike: TypeAlias = Any
"""A path (text or `Path`), the bytes of an image file, a Pillow image, or a NumPy array (height, width, 3) of uint8.
Anything else is an ImageError that names the argument."""

_EXPECTED = "a path, the bytes of an image file, a Pillow image or a uint8 array of shape (height, width, 3)"
_LINKS = ("http:", "https:", "data:", "file:", "ftp:", "s3:", "gs:")


class Picture(NamedTuple):
    """A decoded image."""

    image: Image.Image
    """Upright RGB, a copy of the caller's own."""
    digest: str
    """SHA-256 of size and pixels: the same picture has the same digest as a path, as bytes, or decoded."""


def take_picture(source: PictureLike, *, argument: str, limits: ImageLimits = DEFAULT_LIMITS) -> Picture:
    """Decodes what a caller handed over.

    Args:
        source: The image, in one of the forms of `PictureLike`.
        argument: What the caller called it, for messages.
        limits: What an image may be.

    Raises:
        ImageError: It is none of these, or an image that is refused.
    """
    if isinstance(source, str):
        if source.lower().startswith(_LINKS):
            raise ImageError(
                f"{argument}: {printable(source[:60])!r} is a link, and none is opened; expected {_EXPECTED}"
            )
        source = Path(at_home(source))
    elif isinstance(source, bytearray | memoryview):
        source = bytes(source)
    elif isinstance(source, np.ndarray):
        source = _from_array(source, argument)
    elif not isinstance(source, Path | bytes | Image.Image):
        raise ImageError(f"{argument}: is of type {type(source).__name__}, expected {_EXPECTED}")
    if isinstance(source, Path) and not os.path.lexists(source):
        raise ImageError(f"{argument}: {printable(str(source))}: is missing, expected an image file")
    image = load_image(source, limits=limits, where=argument)
    digest = hashlib.sha256(f"{image.width} {image.height}\0".encode())
    digest.update(image.tobytes())
    return Picture(image, digest.hexdigest())


def _from_array(array: np.ndarray, argument: str) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(
            f"{argument}: is an array of {array.dtype} and shape {array.shape}, expected uint8 and (height, width, 3); "
            "scale and transpose it first, for nothing is guessed here"
        )
    return Image.fromarray(np.ascontiguousarray(array))
