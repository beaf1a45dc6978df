"""Images decoded in processes of their own, with a budget in pixels, scans, bytes and seconds."""

from __future__ import annotations

import math
import resource
import signal
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Final, TypeAlias

from earshot.errors import ImageError
from earshot.image_sizes import Refused
from earshot.images import ImageHeader, ImageLimits
from earshot.judging.pictures import Picture, take_picture
from earshot.serve.engine import WorkerDied
from earshot.serve.processes import Pool
from earshot.types import Wanted

Decode: TypeAlias = Callable[[bytes, ImageHeader, ImageLimits, Wanted], Picture | str]
"""A file, what its header says, what it may be and whether it is still wanted, to its picture, or why it is refused."""

SECONDS: Final = 10
"""Of a processor, for one image. The largest that `Limits.image` lets through takes some two."""
_PATIENCE_S: Final = 0.5  # to end a process and begin another costs about as much
_HEAVY: Final = 12_000_000  # pixels times scans


def decode_here(data: bytes, header: ImageHeader, limits: ImageLimits, wanted: Wanted) -> Picture | str:
    """In this process; what has begun is not given up."""
    return _decode(data, limits)


class Decoders:
    """`n` processes for images that are quickly decoded, and as many for the others, so that no client waits for those.

    One that takes longer than `SECONDS`, or that goes on when nobody waits any more, is ended.

    Args:
        n: How many.
    """

    def __init__(self, n: int) -> None:
        self.light, self.heavy = (
            Pool(f"decoding of {images} images", _load, n, patience_s=_PATIENCE_S) for images in ("small", "large")
        )

    def __enter__(self) -> Decoders:
        """Begins the processes."""
        self.light.__enter__()
        self.heavy.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.light.__exit__(kind, error, trace)
        self.heavy.__exit__(kind, error, trace)

    def up(self) -> bool:
        """Whether images can be decoded."""
        return self.light.up() + self.heavy.up() > 0

    def __call__(self, data: bytes, header: ImageHeader, limits: ImageLimits, wanted: Wanted) -> Picture | str:
        """See `Decode`.

        Raises:
            NoWorker: There is no process, or nobody waits any more.
        """
        lane = self.lane(data, header)
        for _ in range(2):  # again, where a process died that was not ended for the image's sake
            try:
                told: Picture | str = lane.ask(partial(_decoded, data, limits), 1, wanted)
                return told
            except WorkerDied as error:
                if error.code == -signal.SIGXCPU:
                    return f"takes more than {SECONDS} s to decode; save it again"
        return "cannot be decoded; save it again"

    def lane(self, data: bytes, header: ImageHeader) -> Pool:
        """The processes for an image, by what it costs."""
        scans = data.count(b"\xff\xda") if header.format in ("JPEG", "MPO") else 1
        heavy = header.width_px * header.height_px * scans > _HEAVY
        return self.heavy if heavy or not self.light.up() else self.light


def _load(number: int) -> None:
    """There is nothing to load but this module."""


def _decoded(data: bytes, limits: ImageLimits, _: object, wanted: Wanted) -> Picture | str:
    """In a process of `Decoders`, which the kernel ends when it has taken too long."""
    limit(SECONDS)
    return _decode(data, limits)


def limit(seconds: int) -> None:
    """Lets this process live for so many more seconds of a processor, rounded up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    end = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (end, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _decode(data: bytes, limits: ImageLimits) -> Picture | str:
    try:
        return take_picture(data, argument="image", limits=limits)
    except ImageError as error:
        return why_refused(error)


def why_refused(error: ImageError) -> str:
    """In our own words, or in none: what a decoder says may hold addresses."""
    return str(error.__cause__) if isinstance(error.__cause__, Refused) else "cannot be decoded; save it again"
