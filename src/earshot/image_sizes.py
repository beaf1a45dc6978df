"""Whether the data of an image file fills the size its header promises; decoders fill up with black or grey instead."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def png_fault(data: bytes) -> str | None:
    """What is wrong with the amount of data in a PNG file, or None.

    The compressed stream is unpacked piece by piece, and counted only, against what width, height, depth and
    interlacing ask for. Source: PNG specification (W3C, third edition), sections 7 and 8.
    """
    expected, found = 0, 0
    inflate, ended = zlib.decompressobj(), False
    for kind, body in _png_chunks(data):
        if kind == b"IHDR":
            expected = _png_raw_bytes(body)
        elif kind == b"IDAT":
            while body and found <= expected:
                found += len(inflate.decompress(body, 1 << 20))
                body = inflate.unconsumed_tail
        elif kind == b"IEND":
            ended = True
    if not ended:
        return "is truncated"
    if found != expected or not inflate.eof:
        more = "more than " if found > expected else ""
        return f"holds {more}{found} bytes of picture where its header promises {expected}"
    return None


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if position + 12 + length > len(data):
            return
        kind = data[position + 4 : position + 8]
        yield kind, data[position + 8 : position + 8 + length]
        if kind == b"IEND":
            return
        position += 12 + length


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


def jpeg_fault(data: bytes, decoded: Image, decode: Callable[[bytes], Image]) -> str | None:
    """What is wrong with the amount of data in a JPEG file that has been decoded, or None.

    Where the data ends early, libjpeg leaves the remaining blocks at zero, which is mid-grey. A picture may well end
    in grey by itself, so a grey corner is only the reason to look closer: bytes put behind the data of the first scan
    are ignored where it was complete, and change the picture where the decoder was still waiting for some.

    Args:
        data: The file.
        decoded: What `decode` made of it.
        decode: Decodes the bytes of a JPEG file.
    """
    last = decoded.crop((decoded.width - 1, decoded.height - 1, decoded.width, decoded.height))
    # Brightness alone: the colour of a corner is smoothed with that of the data above it.
    if any(not 126 <= sample <= 129 for sample in (last.convert("L") if last.mode == "RGB" else last).tobytes()):
        return None
    end, interval, needed = _jpeg_first_scan(data)
    fault = "ends before the size its header promises is filled"
    if interval:
        # The decoder skips to the next restart marker, over bytes put in; but the markers can be counted.
        start = data.rfind(b"\xff\xda", 0, end)
        return fault if len(_JPEG_RESTART.findall(data, start, end)) < -(-needed // interval) - 1 else None
    probe = decode(data[:end] + b"\xa5\x3c\x96\x5a" * 16 + data[end:])
    return fault if probe.tobytes() != decoded.tobytes() else None


def _jpeg_first_scan(data: bytes) -> tuple[int, int, int]:
    """Where the data of the first scan ends, the restart interval (0: none), and the number of units in the scan."""
    position, interval, units = 2, 0, 0
    while position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        if marker == 0xDD:
            interval = int.from_bytes(body[:2], "big")
        elif marker in _JPEG_FRAMES:
            units = _jpeg_units(body)
        position += 2 + length
        if marker == 0xDA:
            following = _JPEG_MARKER.search(data, position)
            return (following.start() if following else len(data)), interval, units
    return len(data), interval, units


def _jpeg_units(frame: bytes) -> int:
    """Number of minimum coded units in an interleaved scan of this frame."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    factors = frame[7::3][: frame[5]]
    across = 8 * max(factor >> 4 for factor in factors)
    down = 8 * max(factor & 15 for factor in factors)
    if len(factors) == 1:  # one component is never interleaved: its units are single blocks
        across = down = 8
    return -(-width // across) * -(-height // down)
