"""Whose question is next, and what is asked together with it."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from PIL import Image

from earshot.judging.question import Question
from earshot.serve.refusals import late
from earshot.types import Pair

Kind: TypeAlias = Literal["compare", "listen"]

TURN: dict[Kind, int] = {"compare": 1, "listen": 8}
"""Pieces that a request may have in a batch before the next one's turn. A comparison is one conversation; the traces of
a listening are about one pair, whose images and prompt are computed once for those that go together."""
_PIXELS_A_TOKEN = 1024  # as large families have it; a byte of text counts as one
_LATELY_S = 900.0


class Hearing(NamedTuple):
    """A trace that the listener is to read."""

    pair: Pair
    trace: str | None


@dataclass(eq=False)
class Job:
    """What one request asks for, piece by piece.

    Attributes:
        client: Whose request it is.
        asked: How many pieces have gone to the model.
        deaths: How many processes have died over a piece.
    """

    kind: Kind
    items: Sequence[Question | Hearing]
    deadline: float
    client: str = ""
    future: Future[list[Any]] = field(default_factory=Future)
    asked: int = 0
    deaths: Counter[int] = field(default_factory=Counter)
    results: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = max(map(_tokens, self.items), default=1)
        """Of its longest piece, about."""

    def alive(self, now: float) -> bool:
        if self.future.done():
            return False
        if now >= self.deadline:
            self.fail(late())
            return False
        return True

    def fail(self, error: Exception) -> None:
        with suppress(InvalidStateError):  # the client may leave at the same moment
            self.future.set_exception(error)

    def got(self, index: int, result: Any) -> None:
        self.results[index] = result
        if len(self.results) == len(self.items):
            with suppress(InvalidStateError):
                self.future.set_result([self.results[k] for k in range(len(self.items))])


def _tokens(item: Question | Hearing) -> int:
    pair, trace = item.pair, "" if isinstance(item, Question) else item.trace or ""
    pixels = [image.width * image.height for image in (pair.first, pair.second) if isinstance(image, Image.Image)]
    return max(1, len(pair.prompt.encode()) + len(trace.encode()) + sum(pixels) // _PIXELS_A_TOKEN)


class _Line(NamedTuple):
    """Jobs of one client, one kind and about one length: sizes are powers of two."""

    client: str
    kind: Kind
    size: int


class Queue:
    """Jobs that wait. Each client's long ones stand in another line than its short ones. The next batch is begun with
    the client that has had the fewest tokens, and of its lines with the one that has; what is of the same kind and
    about as long may come along.

    Args:
        batch: Pairs that are asked about together: so many comparisons, or `TURN` times as many traces.
        tokens: What a batch of comparisons may come to, its rows as long as its longest; one alone may have more.
    """

    def __init__(self, batch: int, tokens: int) -> None:
        self._batch = batch
        self._tokens = tokens
        self._lines: dict[_Line, deque[Job]] = {}
        self._had: dict[str, float] = {}  # tokens of each client,
        self._line_had: dict[_Line, float] = {}  # and of each line
        # What the client, and of each client the line, had had with which the last batch was begun; a new one is not
        # behind it.
        self._begun = 0.0
        self._line_begun: dict[str, float] = {}
        self._again: deque[tuple[Kind, list[tuple[Job, int]]]] = deque()
        self._shortest = (math.inf, -math.inf)  # the size of the shortest job lately, and when it came

    def add(self, job: Job, now: float) -> None:
        """Puts a job at the end of its line."""
        line = _Line(job.client, job.kind, job.tokens.bit_length())
        self._had.setdefault(job.client, self._begun)
        self._line_had.setdefault(line, self._line_begun.get(job.client, 0.0))
        self._lines.setdefault(line, deque()).append(job)
        size, came = self._shortest
        if line.size <= size or now - came > _LATELY_S:
            self._shortest = line.size, now

    def again(self, kind: Kind, batches: Sequence[Sequence[tuple[Job, int]]]) -> None:
        """Puts pieces before all others, to be asked with one another alone."""
        self._again.extend((kind, [*batch]) for batch in batches)

    def waiting(self, now: float, *, short: bool = False) -> int:
        """How many pieces wait, those of jobs that are alive; the others are dropped.

        Args:
            now: On the clock of the deadlines.
            short: Of short jobs alone.
        """
        living = ((kind, [piece for piece in batch if piece[0].alive(now)]) for kind, batch in self._again)
        self._again = deque((kind, batch) for kind, batch in living if batch)
        self._lines = {line: alive for line, jobs in self._lines.items() if (alive := _alive(jobs, now))}
        self._forget()
        lines = (jobs for line, jobs in self._lines.items() if not (short and self.is_long(line)))
        n_again = sum(len(batch) for _, batch in self._again)
        return n_again + sum(len(job.items) - job.asked for jobs in lines for job in jobs)

    def jobs(self) -> set[Job]:
        """Those that wait."""
        again = {job for _, batch in self._again for job, _ in batch}
        return again.union(*self._lines.values())

    def room(self) -> int:
        """Pieces that the next batch may have, if they are short enough."""
        if self._again:
            return 0
        return self._batch * max((TURN[line.kind] for line in self._lines), default=1)

    def is_long(self, line: _Line) -> bool:
        """Whether jobs are at least four times as long as others have been lately."""
        return line.size > self._shortest[0] + 2

    def take(self, *, short: bool = False) -> tuple[Kind, bool, list[tuple[Job, int]]]:
        """The next batch: its kind, whether it is long, and its pieces, those of one job together.

        Args:
            short: Leave long jobs where they are. There must be others.
        """
        if self._again:
            kind, batch = self._again.popleft()
            return kind, False, batch
        open_lines = [line for line in self._lines if not (short and self.is_long(line))]
        first = min(open_lines, key=self._turn)
        self._begun = self._had[first.client]
        self._line_begun[first.client] = self._line_had[first]
        turn, taken, n, longest = TURN[first.kind], dict[Job, list[int]](), 0, 0
        alike = [line for line in open_lines if line.kind == first.kind and abs(line.size - first.size) <= 1]
        while alike and n < self._batch * turn:
            line = min(alike, key=self._turn)
            jobs = self._lines[line]
            job = jobs[0]
            longest = max(longest, job.tokens)
            if n and (n + 1) * longest > self._tokens * turn:
                break
            more = range(job.asked, min(job.asked + turn, len(job.items)))
            taken.setdefault(job, []).extend(more)
            job.asked, n = more.stop, n + len(more)
            self._had[line.client] += len(more) * job.tokens
            self._line_had[line] += len(more) * job.tokens
            jobs.rotate(-1)
            if job.asked == len(job.items):
                jobs.pop()
            if not jobs:
                alike.remove(line)
                del self._lines[line]
        self._forget()
        return first.kind, self.is_long(first), [(job, index) for job, indices in taken.items() for index in indices]

    def _turn(self, line: _Line) -> tuple[float, float]:
        return self._had[line.client], self._line_had[line]

    def _forget(self) -> None:
        """Whoever has nothing to wait for begins anew next time."""
        self._line_had = {line: self._line_had[line] for line in self._lines}
        self._had = {line.client: self._had[line.client] for line in self._lines}
        self._line_begun = {client: self._line_begun.get(client, 0.0) for client in self._had}


def _alive(jobs: deque[Job], now: float) -> deque[Job]:
    return deque(job for job in jobs if job.alive(now))
