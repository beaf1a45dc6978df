"""Connections that say nothing, or take nothing, are closed, and there are never more of them than descriptors."""

from __future__ import annotations

import resource
from functools import partial
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""How long a client may take from connecting to the end of its first request's head."""
IDLE_S = 30.0
"""How long it may keep quiet between requests."""
TAKING_S = 15.0
"""How long it may take to take its answer, beyond the time that the answer itself may take."""
_MOST = 1024
_SPARE = 24  # descriptors, for processes that are begun again
_LOOK_S = 1.0


def connections(answered_s: float) -> Any:
    """What uvicorn makes a connection with, its `http`.

    Args:
        answered_s: The most that a request may take, from the end of its head to its answer.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_now = Path("/proc/self/fd")
    used = len([*open_now.iterdir()]) if open_now.is_dir() else 64
    most = max(1, min(_MOST, most - used - _SPARE))
    return partial(Connection, most=most, answered_s=answered_s)


class Connection(H11Protocol):
    """A connection that owes us something at any time: a head, a body, or that it takes its answer.

    Where one is too many, the one that has been quiet for the longest is closed.

    Args:
        most: How many there may be.
        answered_s: See `connections`.
        **uvicorn: What uvicorn makes it with.
    """

    def __init__(self, *, most: int, answered_s: float, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._most = most
        self._answered_s = answered_s
        self.since = self.loop.time()
        """When it began to do what it does, seen at most `_LOOK_S` late."""
        self._seen: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._most:
            quiet = [one for one in self.connections if isinstance(one, Connection) and not one.asks()]
            min(quiet, key=lambda one: one.since).transport.abort()  # this one is quiet, too
        self._look()

    def asks(self) -> bool:
        """Whether a request of it is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _look(self) -> None:
        if self not in self.connections:
            return
        now, does = self.loop.time(), (self.cycle, self.asks())
        if does != self._seen:
            self.since, self._seen = now, does
        # uvicorn closes an idle connection itself, but waits for ever until it has taken its last answer.
        may_s = self._answered_s + TAKING_S if self.asks() else HEAD_S if self.cycle is None else IDLE_S + TAKING_S
        if now - self.since > may_s:
            self.transport.abort()
        self.loop.call_later(_LOOK_S, self._look)
