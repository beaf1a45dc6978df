"""Whether a JPEG file holds the whole picture that its header promises, and what its scans cost to decode.

Decoders make a picture of anything: what is missing becomes grey, or blurred, without a word. Source: ITU-T T.81,
annexes B (markers), F (sequential) and G (progressive).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from earshot.image_sizes import Refused

MAX_SEGMENTS = 10_000
"""Parts of a file; colour profiles and metadata need some hundreds, and each costs Pillow microseconds."""

SCAN = 0xDA
"""The marker that a scan begins with."""

_END, _RESTART_INTERVAL = 0xD9, 0xDD
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE, _IN_BLOCKS = {0xC2, 0xCA}, {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_N_PROBES = {0xC0: 1, 0xC1: 1, 0xC2: 2}
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
# Read as codes by a decoder that still waits for some, one or the other changes the picture. Of cuts in the last eight
# bytes of a progressive file the first leaves 19 of 4,000 unseen, both 3; of a sequential one the first leaves none.
_PROBES = (b"\xc9\x3c\x96\x5a" * 16, b"\x37\x5a\xc9\x8d" * 16)


class Segment(NamedTuple):
    """A marker of a file."""

    marker: int
    body: bytes
    start: int
    """Where what follows its body begins: the data of a scan."""
    end: int
    """Where the next marker begins."""


class _Frame(NamedTuple):
    marker: int
    width: int
    height: int
    factors: dict[int, tuple[int, int]]
    """How densely each component is sampled, across and down."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def units(self, components: Sequence[int]) -> int:
        """The units of a scan, of which a restart interval counts some."""
        most = [max(one[axis] for one in self.factors.values()) for axis in (0, 1)]
        if len(components) > 1:
            own = most
            sides = [self.width, self.height]
        else:  # one component is never interleaved: its units are single blocks
            own = [1, 1]
            factors = self.factors[components[0]]
            sides = [-(-side * f // m) for side, f, m in zip((self.width, self.height), factors, most, strict=True)]
        across, down = (-(-side // (8 * each)) for side, each in zip(sides, own, strict=True))
        return across * down


def jpeg_segments(data: bytes) -> Iterator[Segment]:
    """The segments of a file up to its end marker; what lies behind that is not looked at.

    Raises:
        Refused: There is no end marker, or there are too many segments.
    """
    found = _MARKER.search(data, 2)
    for _ in range(MAX_SEGMENTS):
        if found is None:
            raise Refused("is truncated: it has no end marker; get the file again")
        marker, at = data[found.end() - 1], found.end()
        if marker == _END:
            return
        start = at + max(2, int.from_bytes(data[at : at + 2], "big"))
        found = _MARKER.search(data, start)
        end = found.start() if found is not None else len(data)
        yield Segment(marker, data[at + 2 : start], start, end)
    raise Refused(f"has more than {MAX_SEGMENTS} segments, which is the limit; save the picture again")


def check_scans(data: bytes, *, max_pixel_scans: int) -> list[bytes]:
    """Sees that the scans of a file bring all of its picture, and that there are not too many to decode.

    Of a progressive file each scan has to add to those before it, and together they have to bring every bit of every
    coefficient. The standard lets an encoder leave out the last ones; such a file is one that was cut between scans.

    Args:
        data: The file.
        max_pixel_scans: Pixels times scans, each of which goes over the whole picture.

    Returns:
        The same file with other bytes behind the data of each scan, once or twice. They are passed over where a scan is
        complete, and change the picture where the decoder still waits for data. Nothing where this cannot tell:
        arithmetic coding leaves out zeros at the end.

    Raises:
        Refused: It does not, or there are.
    """
    frame, interval = None, 0
    seen = _Seen()
    ends: list[int] = []
    for segment in jpeg_segments(data):
        if segment.marker in _FRAMES:
            if frame is not None:
                raise Refused("holds two frames, expected one; save the picture again")
            frame = _frame(segment)
        elif segment.marker == _RESTART_INTERVAL:
            interval = int.from_bytes(segment.body[:2], "big")
        elif segment.marker == SCAN:
            if frame is None:
                raise Refused("has a scan before its header; make the file again")
            ends.append(segment.start + len(data[segment.start : segment.end].rstrip(b"\xff")))
            if len(ends) * frame.pixels > max_pixel_scans:
                most = max_pixel_scans // frame.pixels
                raise Refused(f"has more than {most} scans, expected at most that at its size; save the picture again")
            components = seen.add(segment.body, progressive=frame.marker in _PROGRESSIVE)
            _check_restarts(data, segment, frame, components, interval)
    if frame is None or not ends:
        raise Refused("is truncated: it holds no picture; get the file again")
    seen.check_complete(frame)
    parts = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    return [probe.join(parts) for probe in _PROBES[: _N_PROBES.get(frame.marker, 0)]]


def _frame(segment: Segment) -> _Frame:
    body = segment.body
    if len(body) < 6 or len(body) < 6 + 3 * body[5]:
        raise Refused("has a header that is too short; make the file again")
    entries = [body[at : at + 3] for at in range(6, 6 + 3 * body[5], 3)]
    factors = {entry[0]: (entry[1] >> 4, entry[1] & 15) for entry in entries}
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    if 0 in (height, width, *(factor for pair in factors.values() for factor in pair)) or not factors:
        raise Refused("has a header without a size; make the file again")
    return _Frame(segment.marker, width, height, factors)


class _Seen:
    """How many low bits of each coefficient of each component are still to come; 64 coefficients are a block."""

    def __init__(self) -> None:
        self._missing: dict[int, list[int | None]] = {}

    def add(self, header: bytes, *, progressive: bool) -> list[int]:
        """Takes note of a scan; gives its components."""
        n = header[0] if header else 0
        if len(header) < 4 + 2 * n or n == 0:
            raise Refused("is truncated: a scan has no header; get the file again")
        components = list(header[1 : 1 + 2 * n : 2])
        first, last, bits = header[1 + 2 * n : 4 + 2 * n] if progressive else (0, 63, 0)
        for component in components:
            missing = self._missing.setdefault(component, [None] * 64)
            expected = bits >> 4 or None
            if last > 63 or any(one != expected for one in missing[first : last + 1]):
                raise Refused("has a scan that adds nothing to those before it; save the picture again")
            missing[first : last + 1] = [bits & 15] * (last + 1 - first)
        return components

    def check_complete(self, frame: _Frame) -> None:
        """Refuses a file of which a component, or bits of it, never came."""
        if any(any(one != 0 for one in self._missing.get(component, [None])) for component in frame.factors):
            raise Refused("is truncated: its last scans are missing; get the file again")


def _check_restarts(data: bytes, scan: Segment, frame: _Frame, components: list[int], interval: int) -> None:
    if not interval or frame.marker not in _IN_BLOCKS:
        return
    if not all(component in frame.factors for component in components):
        raise Refused("has a scan of a component that its header does not name; make the file again")
    needed = -(-frame.units(components) // interval) - 1
    found = len(_RESTART.findall(data, scan.start, scan.end))
    if found < needed:
        raise Refused(
            f"is truncated: a scan has {found} restart markers where its header promises {needed}; get the file again"
        )
