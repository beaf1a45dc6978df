"""Whether the data of an image file fill the size its header promises; decoders fill up with black or zeros instead."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

MAX_CHUNKS = 100_000
"""Parts of a PNG file; each costs Pillow microseconds."""

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTE = 3
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_ZEROS, _FEWER = 16, 8


class Refused(Exception):
    """Why an image is refused; `images` names the image."""


def check_png(data: bytes) -> None:
    """Sees that a PNG file holds as much as its header promises.

    The compressed stream is unpacked piece by piece, and counted only, against what width, height, depth and
    interlacing ask for. Source: PNG specification (W3C, third edition), sections 7, 8 and 11.

    Raises:
        Refused: It does not, or it has colours by number and no table of them.
    """
    expected, found, colours = 0, 0, True
    inflate, ended = zlib.decompressobj(), False
    for kind, body in png_chunks(data):
        if kind == b"IHDR":
            expected, colours = _png_raw_bytes(body), body[9] != _PALETTE
        elif kind == b"PLTE":
            colours = colours or len(body) >= 3
        elif kind == b"IDAT":
            if not colours:
                raise Refused("has no palette, which its pixels are numbers in; save the picture again")
            while body and found <= expected:
                found += len(inflate.decompress(body, 1 << 20))
                body = inflate.unconsumed_tail
        elif kind == b"IEND":
            ended = True
    if not ended:
        raise Refused("is truncated; get the file again")
    if found != expected or not inflate.eof:
        more = "more than " if found > expected else ""
        raise Refused(f"holds {more}{found} bytes of picture where its header promises {expected}; make the file again")


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and body of each part of a PNG file, up to its end or to where it is cut.

    Raises:
        Refused: There are too many.
    """
    position = 8
    for _ in range(MAX_CHUNKS):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if position + 12 + length > len(data) or not kind.isalpha():
            return
        yield kind, data[position + 8 : position + 8 + length]
        if kind == b"IEND":
            return
        position += 12 + length
    raise Refused(f"has more than {MAX_CHUNKS} chunks, which is the limit; save the picture again")


def _png_raw_bytes(header: bytes) -> int:
    """Bytes of picture behind an IHDR chunk: each row of each pass is a filter byte and its packed samples."""
    width, height = int.from_bytes(header[0:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _PNG_CHANNELS[header[9]]
    passes = _ADAM7 if header[12] else ((0, 0, 1, 1),)
    total = 0
    for x, y, dx, dy in passes:
        columns, rows = -(-(width - x) // dx), -(-(height - y) // dy)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def webp_without_end(data: bytes) -> bytes | None:
    """The picture of a WebP file without its last bytes, where it ends in zeros: it does not decode.

    Zeros are codes like any other, and a flat picture may end in many; but an encoder writes no more of them than a
    decoder reads, and a file system that had room set aside for a file does.

    Returns:
        None where the picture does not end in zeros.
    """
    position = 12
    while position + 8 <= len(data):
        kind, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        body = data[position + 8 : position + 8 + size]
        if kind in (b"VP8 ", b"VP8L"):
            if len(body) - len(body.rstrip(b"\0")) < _ZEROS:
                return None
            short = len(body) - _FEWER - len(body) % 2
            head = b"RIFF" + (short + 12).to_bytes(4, "little") + b"WEBP" + kind + short.to_bytes(4, "little")
            return head + body[:short]
        position += 8 + size + size % 2
    return None
