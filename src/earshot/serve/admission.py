"""How much work is let in: places for requests, and what they may hold between them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Container, Hashable
from dataclasses import dataclass
from typing import NamedTuple

from earshot.images import ImageLimits
from earshot.serve.refusals import Refusal


class Load(NamedTuple):
    """An amount of work."""

    requests: int = 0
    """With their bodies, which may be answered."""
    uploads: int = 0
    """Requests whose bodies are on the way."""
    images: int = 0
    tokens: int = 0
    """To be read and written at most: a byte of text counts as a token, for no tokenizer makes more of it."""
    bytes: int = 0
    """Of bodies."""
    pixels: int = 0
    """Of decoded images."""

    def plus(self, more: Load) -> Load:
        return Load(*(a + b for a, b in zip(self, more, strict=True)))

    def minus(self, less: Load) -> Load:
        return Load(*(a - b for a, b in zip(self, less, strict=True)))

    def part(self, share: float) -> Load:
        """A share of each quantity, and at least one of it."""
        return Load(*(math.ceil(amount * share) for amount in self))

    def beyond(self, most: Load, more: Load) -> str | None:
        """The first quantity, of those that there are to be more of, that is larger than in `most`."""
        return next(
            (name for name, a, b, c in zip(self._fields, self, most, more, strict=True) if a > b and c > 0), None
        )


_TOGETHER = Load(requests=64, uploads=256, images=512, tokens=2**20, bytes=256 * 2**20, pixels=400_000_000)
_IMAGE = ImageLimits(max_bytes=16 * 2**20, max_pixels=4096 * 4096, max_pixel_scans=24 * 4096 * 4096)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may be, and all together.

    Attributes:
        together: What the requests that are let in hold between them.
        body_bytes: Of one request.
        images: In one request.
        text_bytes: Of a prompt or a trace.
        image: What an image may be.
        timeout_s: How long a request may take that does not say; the most that it can ask for.
        drain_bytes: What is still read of a body that is refused, so that the client gets to read why.
    """

    together: Load = _TOGETHER
    body_bytes: int = 64 * 2**20
    images: int = 32
    text_bytes: int = 16_384
    image: ImageLimits = _IMAGE
    timeout_s: float = 60.0
    drain_bytes: int = 2**18


_LATELY_S = 10.0


class Admission:
    """Keeps count of what is under way, and of who holds it.

    A client may hold all there is while it is alone. While n have asked lately, one whose other requests hold something
    gets no more than an n-th, and at least a quarter; and who holds little finds an eighth that nobody else gets.

    Args:
        most: What there may be at a time.
        retry_after_s: When there may be room again.
        clock: Seconds, from anywhere.

    Attributes:
        room: What there may be with the eighth for those who hold little.
        now: What is under way.
        held: By whom; whoever holds nothing is not in it.
        closed: Whether nobody is let in any more.
    """

    def __init__(
        self,
        most: Load,
        retry_after_s: Callable[[], int] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self.retry_after_s = retry_after_s
        self._clock = clock
        self.room, self._little = most.plus(Load(*(amount // 8 for amount in most))), most.part(1 / 8)
        self._of: dict[str, Load] = {}  # what each client holds
        self._asked: dict[str, float] = {}  # when each asked last
        self.now = Load()
        self.held: dict[Hashable, Load] = {}
        self.closed = False
        self._changed = threading.Condition()

    def take(self, owner: Hashable, load: Load, client: str = "") -> None:
        """Gives an owner more to hold.

        Args:
            owner: A request.
            load: How much more.
            client: Whose request it is.

        Raises:
            Refusal: There is no room now (429), there never is for so much (413), or the server is going away and the
                owner holds nothing yet (503).
        """
        retry_after_s = self.retry_after_s()
        with self._changed:
            held = self.held.get(owner, Load()).plus(load)
            if name := held.beyond(self.most, load):
                text = f"the request needs more {name} than the server ever has; split it"
                raise Refusal(413, f"too_many_{name}", text)
            if self.closed and owner not in self.held:
                text = "the server is going away; ask another"
                raise Refusal(503, "shutting_down", text, headers={"retry-after": "5"})
            now, later = self._clock(), {"retry-after": str(retry_after_s)}
            self._asked = {one: asked for one, asked in self._asked.items() if now - asked < _LATELY_S} | {client: now}
            theirs = self._of.get(client, Load())
            others, theirs = theirs.minus(self.held.get(owner, Load())), theirs.plus(load)
            room = self.most if theirs.beyond(self._little, load) else self.room
            if name := self.now.plus(load).beyond(room, load):
                text = f"the server has all the {name} under way that it takes; try again later"
                raise Refusal(429, f"no_room_for_{name}", text, headers=later)
            n = len(self._asked)
            if n > 1 and others != Load() and theirs.beyond(self.most.part(max(1 / n, 1 / 4)), load):
                text = "others ask too, and this client has its share under way; wait for its answers"
                raise Refusal(429, "no_room_for_client", text, headers=later)
            self.now, self.held[owner], self._of[client] = self.now.plus(load), held, theirs

    def leave(self, owner: Hashable, client: str = "") -> None:
        """Takes back all that an owner holds, whose client it is."""
        with self._changed:
            held = self.held.pop(owner, Load())
            self.now = self.now.minus(held)
            if (left := self._of.pop(client, Load()).minus(held)) != Load():
                self._of[client] = left
            self._changed.notify_all()

    def lost(self, alive: Container[Hashable]) -> int:
        """How many hold something and are not alive, so that it is held for ever."""
        with self._changed:  # whoever ends gives back first, and is no longer alive then
            return sum(owner not in alive for owner in self.held)

    def close(self) -> None:
        """Lets nobody in any more."""
        with self._changed:
            self.closed = True

    def wait_empty(self, timeout_s: float | None = None) -> bool:
        """Waits until nothing is under way; whether that came to be."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.held, timeout_s)
