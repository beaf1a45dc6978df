"""A request under way: the one owner of its place, which is given back exactly once, whatever ends first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from earshot.serve.admission import Admission, Load
from earshot.serve.refusals import ClientGone, late

T = TypeVar("T")


class Call:
    """One request: what it holds of the server, its deadline, and what of it is with the batches.

    Two sides work at it, the one that speaks HTTP and a thread that answers, and either may end first. What is held is
    given back when both have: a thread that still decodes for a client that has gone holds what it holds.

    Args:
        admission: Of what it takes.
        deadline: On the monotonic clock.
        client: Whose request it is.

    Attributes:
        deadline: It may be brought forward.
        key: The name of the key that was shown with it.
    """

    def __init__(self, admission: Admission, deadline: float, client: str = "") -> None:
        self.deadline = deadline
        self.client = client
        self.key = ""
        self._admission = admission
        self._sides = 1
        self._over = False
        self._futures: list[Future[Any]] = []
        self._lock = threading.Lock()

    def take(self, **more: int) -> None:
        """Holds more.

        Raises:
            Refusal: See `Admission.take`.
            ClientGone: Nobody wants it any more.
        """
        with self._lock:  # what is taken here cannot come after what gives all of it back
            if self._over:
                raise ClientGone
            self._admission.take(self, Load(**more), self.client)

    def wanted(self, _: int = 0) -> bool:
        """Whether somebody waits for it still."""
        return not self._over and time.monotonic() < self.deadline

    def check(self) -> None:
        """Goes on only while somebody waits.

        Raises:
            Refusal: It is late.
            ClientGone: Nobody wants it any more.
        """
        if self._over:
            raise ClientGone
        if not self.wanted():
            raise late()

    def wait(self, submit: Callable[[], Future[T]]) -> T:
        """The result of what is submitted.

        Raises:
            Refusal: It was not there in time, or failed.
            ClientGone: Nobody wants it any more.
        """
        with self._lock:
            if self._over:
                raise ClientGone
            future = submit()
            self._futures.append(future)
        try:
            return future.result(max(0.0, self.deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise late() from None
        except CancelledError:
            raise ClientGone from None

    def over(self) -> None:
        """Takes back what is not answered yet, and takes on nothing more."""
        with self._lock:
            self._over = True
            futures = [*self._futures]
        for future in futures:
            future.cancel()

    def join(self) -> None:
        """A further side works at it, until it lets go."""
        with self._lock:
            self._sides += 1

    def let_go(self) -> None:
        """One side has ended; with the last one all that is held is given back."""
        with self._lock:
            self._sides -= 1
            if self._sides:
                return
            self._over = True
        self._admission.leave(self, self.client)
