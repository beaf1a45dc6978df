"""A copy of a pair set whose pictures have all been scaled and compressed alike: a control for what scaling leaves."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from PIL import Image

from earshot.data.pairset import read_pairs
from earshot.data.rows import find_metadata, read_info
from earshot.data.writer import OF_THE_WHOLE, Counts, PairSetWriter, Tell, beside_of, copy_beside
from earshot.errors import InputError
from earshot.files import file_hash
from earshot.images import load_image

SIDE_PX: Final = 256
QUALITY: Final = 90
_QUALITIES: Final = range(1, 96)  # beyond 95 JPEG only grows (Pillow's documentation)
_SMALLEST_PX: Final = 8


def equalise_set(
    folder: Path,
    out: Path,
    *,
    side_px: int = SIDE_PX,
    quality: int = QUALITY,
    tell: Tell | None = None,
    on_pair: Callable[[int], None] | None = None,
) -> Counts:
    """Writes the set with both pictures of each pair taken through the same scaling and the same JPEG (`equalised`).

    The original of an edit, which both results are held against, stays as it is.
    Ids, prompts, sides and votes are kept; reference traces and ground truth go along as they are, though what they say
    of noise and blur may no longer be seen. The pairs' `source` says that they are equalised, so that numbers which are
    published for the set are not taken for theirs.

    Args:
        folder: The pair set.
        out: A new or an empty folder, or one with a set that was never finished.
        side_px: The longer side that every picture is shrunk to on its way.
        quality: Of the JPEG, 1 to 95.
        tell: Hears when a set that was never finished is removed.
        on_pair: Told with how many pairs it has been done.

    Raises:
        InputError: A number is out of its range, or `out` holds something else.
        DataError: There is no sound pair set with images.
    """
    if side_px < _SMALLEST_PX:
        raise InputError(f"the side is {side_px} px, expected at least {_SMALLEST_PX}")
    if quality not in _QUALITIES:
        raise InputError(f"the quality is {quality}, expected 1 to 95")
    made = {"of_metadata_sha256": file_hash(find_metadata(folder)), "side_px": side_px, "quality": quality}
    inherited = {name: value for name, value in read_info(folder).items() if name not in OF_THE_WHOLE}
    beside = beside_of(folder)
    info = {**inherited, "equalised": made}
    with PairSetWriter(out, info=info, verify=False, beside=beside, tell=tell) as writer:
        for done, pair in enumerate(read_pairs(folder), start=1):
            first, second = (load_image(image, where=f"pair {pair.id!r}") for image in (pair.first, pair.second))
            one, two = equalised(first, second, side_px=side_px, quality=quality)
            source = None if pair.source is None else f"{pair.source}, equalised"
            writer.add(replace(pair, first=one, second=two, source=source))
            if on_pair is not None:
                on_pair(done)
        copy_beside(folder, beside, lambda identity: writer)
    return writer.counts


def equalised(first: Image.Image, second: Image.Image, *, side_px: int, quality: int) -> tuple[bytes, bytes]:
    """Both as JPEG files whose longer side is the smaller of the two, after a longer side of at most `side_px`."""
    final = min(max(first.size), max(second.size))
    one, two = (_by_way_of(image, (min(side_px, final), final), quality) for image in (first, second))
    return one, two


def _by_way_of(image: Image.Image, sides_px: tuple[int, int], quality: int) -> bytes:
    passed = image
    for side in sides_px:
        scale = side / max(image.size)
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        passed = passed.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    passed.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
