"""Questions that are put to a server before all are there, while something else is computed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from earshot.listener import identity
from earshot.remote import Requests
from earshot.types import Pair

AskNow = Callable[[Sequence[Pair], Sequence[str | None]], Float[np.ndarray, " n"]]


class _Answer(NamedTuple):
    request: Future[list[float]]
    place: int
    """In what the request is answered."""
    pair: Pair
    """Held, for images are told apart by identity, and others could come to be where they were."""


class Begun:
    """What a listener has begun to ask, and has no answer to or has not given it yet."""

    def __init__(self) -> None:
        self._answers: dict[tuple[object, ...], list[_Answer]] = {}

    @contextmanager
    def during(self, requests: Requests) -> Iterator[Requests]:
        """Lets questions be begun; at the end, those that nobody has taken are dropped."""
        with requests:
            try:
                yield requests
            finally:
                self._answers = {}

    def add(self, pair: Pair, traces: Sequence[str | None], request: Future[list[float]]) -> None:
        """A request about some traces of a pair, which is answered in their order."""
        for place, trace in enumerate(traces):
            self._answers.setdefault((identity(pair), trace), []).append(_Answer(request, place, pair))

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None], ask_now: AskNow) -> Float[np.ndarray, " n"]:
        """The answers to what was begun, each taken once, and what is now asked about the rest.

        Raises:
            RemoteError: A request failed; nothing more is asked.
        """
        taken = [self._take(pair, trace) for pair, trace in zip(pairs, traces, strict=True)]
        p = np.array([np.nan if answer is None else answer.request.result()[answer.place] for answer in taken])
        if rest := [row for row, answer in enumerate(taken) if answer is None]:
            p[rest] = ask_now([pairs[row] for row in rest], [traces[row] for row in rest])
        return p

    def _take(self, pair: Pair, trace: str | None) -> _Answer | None:
        answers = self._answers.get((identity(pair), trace))
        return answers.pop(0) if answers else None
