"""Connections that say nothing, or take nothing, are closed, and there are never more of them than descriptors."""

from __future__ import annotations

import json
import resource
import secrets
from functools import partial
from pathlib import Path
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from earshot.serve.refusals import POLICY, Refusal
from earshot.web import kept_to_itself

HEAD_S = 10.0
"""How long a client may take from connecting to the end of its first request's head."""
IDLE_S = 30.0
"""How long it may keep quiet between requests."""
TAKING_S = 15.0
"""How long it may take to take its answer, beyond the time that the answer itself may take."""
HEAD_BYTES = 64 * 1024
"""What a request's head may have."""
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
        # Of several that come at once each must find another: one that is closed is among them for another moment.
        there = [one for one in self.connections if isinstance(one, Connection) and not one.transport.is_closing()]
        if len(there) > self._most:
            quiet = [one for one in there if not one.asks()]
            min(quiet, key=lambda one: one.since).transport.abort()  # this one is quiet, too
        self._look()

    def send_400_response(self, msg: str) -> None:
        """In the form that all refusals have, in place of uvicorn's text."""
        if self.cycle is not None:  # what it may still answer goes nowhere
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is on its way, and ends here
            self.transport.close()
            return
        text = f"this is no HTTP/1.1, or its head has more than {HEAD_BYTES // 1024} KiB; any HTTP library speaks it"
        told = Refusal(400, "broken_http", text).told(secrets.token_hex(8))
        body = json.dumps(told.model_dump()).encode()
        headers = [
            *{**kept_to_itself(POLICY), b"x-request-id": told.request_id.encode()}.items(),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

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
