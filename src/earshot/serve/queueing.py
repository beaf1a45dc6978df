"""Whose question is next, and what is asked together with it."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
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
    pixels = [image.width * image.height for image in pair.images if isinstance(image, Image.Image)]
    return max(1, len(pair.prompt.encode()) + len(trace.encode()) + sum(pixels) // _PIXELS_A_TOKEN)


class Batch(NamedTuple):
    """Pieces of jobs, by their places in these, that are asked together; whether they are long."""

    kind: Kind
    long: bool
    pieces: list[tuple[Job, int]]


class _Line(NamedTuple):
    """Jobs of one client, one kind and about one length: sizes are powers of two."""

    client: str
    kind: Kind
    size: int


class Queue:
    """Jobs that wait: each client's long ones in another line than its short ones. The next batch is begun with the
    line that has had the fewest tokens, those of a client with several lines counting several times; what is of the
    same kind and about as long may come along.

    Args:
        batch: Pairs that are asked about together: so many comparisons, or `TURN` times as many traces.
        tokens: What a batch of comparisons may come to, its rows as long as its longest; one alone may have more.
    """

    def __init__(self, batch: int, tokens: int) -> None:
        self._batch = batch
        self._tokens = tokens
        self._lines: dict[_Line, deque[Job]] = {}
        self._again: deque[Batch] = deque()
        self._had: dict[_Line, float] = {}
        self._begun = 0.0  # what the line had had with which the last batch was begun: who comes anew is not behind it
        self._shortest = (math.inf, -math.inf)  # the size of the shortest job lately, and when it came

    def add(self, job: Job, now: float) -> None:
        """Puts a job at the end of its line."""
        line = _Line(job.client, job.kind, job.tokens.bit_length())
        if line not in self._lines:
            self._lines[line] = deque()
            self._had[line] = max(self._had.get(line, 0.0), self._begun)
        self._lines[line].append(job)
        size, came = self._shortest
        if line.size <= size or now - came > _LATELY_S:
            self._shortest = line.size, now

    def again(self, batches: Iterable[Batch]) -> None:
        """Puts batches before all others."""
        self._again.extend(batches)

    def waiting(self, now: float, *, short: bool = False) -> int:
        """How many pieces wait, those of jobs that are alive; the others are dropped.

        Args:
            now: On the clock of the deadlines.
            short: Of short jobs alone.
        """
        living = (one._replace(pieces=[piece for piece in one.pieces if piece[0].alive(now)]) for one in self._again)
        self._again = deque(one for one in living if one.pieces)
        alive = {line: deque(job for job in jobs if job.alive(now)) for line, jobs in self._lines.items()}
        self._lines = {line: jobs for line, jobs in alive.items() if jobs}
        n_again = sum(len(one.pieces) for one in self._again)
        return n_again + sum(len(job.items) - job.asked for line in self._open(short) for job in self._lines[line])

    def jobs(self) -> set[Job]:
        """Those that wait."""
        return {job for one in self._again for job, _ in one.pieces}.union(*self._lines.values())

    def room(self) -> int:
        """Pieces that the next batch may have, if they are short enough."""
        return 0 if self._again else self._batch * max((TURN[line.kind] for line in self._lines), default=1)

    def take(self, *, short: bool = False) -> Batch:
        """The next batch, the pieces of one job together.

        Args:
            short: Leave long jobs where they are. There must be others.
        """
        if self._again:
            return self._again.popleft()
        lines = self._open(short)
        first = min(lines, key=self._had.__getitem__)
        self._begun = self._had[first]
        self._had = {line: had for line, had in self._had.items() if line in self._lines or had > self._begun}
        counts = Counter(line.client for line in self._lines)
        turn, taken, n, longest = TURN[first.kind], dict[Job, list[int]](), 0, 0
        alike = [line for line in lines if line.kind == first.kind and abs(line.size - first.size) <= 1]
        while alike and n < self._batch * turn:
            line = min(alike, key=self._had.__getitem__)
            jobs = self._lines[line]
            job = jobs[0]
            longest = max(longest, job.tokens)
            if n and (n + 1) * longest > self._tokens * turn:
                break
            more = range(job.asked, min(job.asked + turn, len(job.items)))
            taken.setdefault(job, []).extend(more)
            job.asked, n = more.stop, n + len(more)
            self._had[line] += len(more) * job.tokens * counts[line.client]
            jobs.rotate(-1)
            if job.asked == len(job.items):
                jobs.pop()
            if not jobs:
                alike.remove(line)
                del self._lines[line]
        pieces = [(job, index) for job, indices in taken.items() for index in indices]
        return Batch(first.kind, self._is_long(first), pieces)

    def _open(self, short: bool) -> list[_Line]:
        return [line for line in self._lines if not (short and self._is_long(line))]

    def _is_long(self, line: _Line) -> bool:
        """Whether jobs are at least four times as long as others have been lately."""
        return line.size > self._shortest[0] + 2
