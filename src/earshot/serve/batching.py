"""The threads that ask the model, for the requests of all clients together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias

from earshot.errors import InputError, ListenerUnavailable
from earshot.judging.question import Question
from earshot.listener import ask
from earshot.predictions.judgement import Judgement
from earshot.serve.engine import Engine, NoWorker, WorkerDied
from earshot.serve.refusals import Refusal, internal, late, no_worker
from earshot.types import Pair, Wanted

log = logging.getLogger("earshot.serve")

Kind: TypeAlias = Literal["compare", "listen"]

TURN: dict[Kind, int] = {"compare": 1, "listen": 8}
"""Pieces that a client may have in a batch before the next one's turn. A comparison is one conversation; the traces of
a listening are about one pair, whose images and prompt are computed once for those that go together."""
READING_S = 0.025
"""How long a batch that is not full waits for requests that have been let in and are still read and decoded."""


DEADLY = 2
"""How many processes may die over a question, asked alone, before it is refused."""
_REMEMBERED = 1024  # such questions


class Hearing(NamedTuple):
    """A trace that the listener is to read."""

    pair: Pair
    trace: str | None


@dataclass
class _Job:
    """What one client asked for, piece by piece."""

    kind: Kind
    items: Sequence[Any]
    deadline: float
    future: Future[list[Any]] = field(default_factory=Future)
    asked: int = 0
    """How many pieces have gone to the model."""
    results: dict[int, Any] = field(default_factory=dict)

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


class Batcher:
    """Puts the questions of all clients into batches, one turn of each client before the second of any.

    A client that has left, or whose deadline has passed, is not asked for any more; what the model writes for it is cut
    at the next token. What was asked together when a process died is asked again, each alone; a question over which
    `DEADLY` died alone is asked no more.

    Args:
        model: Who answers.
        batch: Pairs that are asked about together: so many comparisons, or `TURN` times as many traces.
        at_once: How many batches the model may have at a time.
        linger_s: How long a batch that is not full waits for more, so that clients that were answered together and
            ask again together meet again.
        let_in: How many requests are under way, those among them that have not asked yet; a batch waits for these
            longer (`READING_S`), for a batch of one costs nearly as much as a full one.
        observe: Told the kind, the size and the seconds of every batch.
        clock: Seconds, from anywhere.
    """

    def __init__(
        self,
        model: Engine,
        *,
        batch: int = 16,
        at_once: int = 1,
        linger_s: float = 0.004,
        let_in: Callable[[], int] = lambda: 0,
        observe: Callable[[Kind, int, float], None] = lambda kind, n, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._size = batch
        self._linger_s = linger_s
        self._let_in = let_in
        self._observe = observe
        self._clock = clock
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._in_hand: set[int] = set()
        self._taken = 0  # batches
        self._stopped = False
        self._rate = 0.0  # pieces a second of one thread, lately
        self._deaths: dict[str, int] = {}  # of processes, by the fingerprint of a question that was asked alone
        self._threads = [
            threading.Thread(target=self._run, name=f"earshot-serve-batch-{k}", daemon=True) for k in range(at_once)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def lives(self) -> bool:
        """Whether what is submitted will be asked: no thread has ended that was begun."""
        return all(thread.is_alive() or thread.ident is None for thread in self._threads)

    def stop(self) -> None:
        """Ends the threads once what was submitted is answered."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def compare(self, questions: Sequence[Question], deadline: float) -> Future[list[Judgement]]:
        """The answers to questions, when they are there; cancel the future to take them back."""
        return self._submit(_Job("compare", questions, deadline))

    def listen(self, hearings: Sequence[Hearing], deadline: float) -> Future[list[float]]:
        """The listener's probabilities of the first image."""
        return self._submit(_Job("listen", hearings, deadline))

    def waiting(self) -> int:
        """Questions that are not with the model yet."""
        with self._changed:
            return sum(len(job.items) - job.asked for job in self._jobs if not job.future.done())

    def retry_after_s(self) -> int:
        """When what waits now will have been answered, in [1, 60]."""
        rate = self._rate * len(self._threads)
        return min(60, max(1, math.ceil(self.waiting() / rate))) if rate else 1

    def _submit(self, job: _Job) -> Future[list[Any]]:
        if any(self._deaths.get(_fingerprint(item), 0) >= DEADLY for item in job.items):
            job.fail(_deadly())
            return job.future
        if not job.items:
            job.future.set_result([])
            return job.future
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()
        return job.future

    def _run(self) -> None:
        while taken := self._take():
            kind, pieces = taken
            if not pieces:
                continue
            start = self._clock()
            self._answer(kind, pieces)
            seconds = max(self._clock() - start, 1e-9)
            with self._changed:
                self._in_hand -= {id(job) for job, _ in pieces}
                self._rate = 0.8 * (self._rate or len(pieces) / seconds) + 0.2 * len(pieces) / seconds
            self._observe(kind, len(pieces), seconds)

    def _take(self) -> tuple[Kind, list[tuple[_Job, int]]] | None:
        """The next batch, all of one kind; None when there will be no more."""
        with self._changed:
            while not self._living():
                if self._stopped:
                    return None
                self._changed.wait()
            start, most = self._clock(), self._size * TURN[self._jobs[0].kind]
            taken = self._taken
            while 0 < self._living() < most and not self._stopped:
                if taken != self._taken:  # what it had waited for went with another thread's batch
                    start, taken = self._clock(), self._taken
                heard_of = self._in_hand.union(map(id, self._jobs))
                most_s = READING_S if self._let_in() > len(heard_of) else self._linger_s
                if (left := start + most_s - self._clock()) <= 0:
                    break
                self._changed.wait(min(left, self._linger_s))
            if not self._living():  # all of them left meanwhile, or another thread has them
                return "compare", []
            kind = self._jobs[0].kind
            others = [job for job in self._jobs if job.kind != kind]
            mine = deque(enumerate(job for job in self._jobs if job.kind == kind))
            pieces: list[tuple[int, _Job, int]] = []
            while mine and len(pieces) < self._size * TURN[kind]:
                place, job = mine.popleft()
                turn = range(job.asked, min(job.asked + TURN[kind], len(job.items)))
                pieces += [(place, job, index) for index in turn]
                job.asked = turn.stop
                if job.asked < len(job.items):
                    mine.append((place, job))
            self._jobs = deque([*others, *(job for _, job in mine)])
            self._in_hand |= {id(job) for _, job, _ in pieces}
            self._taken += 1
            pieces.sort(key=itemgetter(0))  # what is about one pair stands together
            return kind, [(job, index) for _, job, index in pieces]

    def _living(self) -> int:
        """Drops the jobs that nobody waits for, and counts the questions of the others."""
        now = self._clock()
        self._jobs = deque(job for job in self._jobs if job.alive(now))
        return sum(len(job.items) - job.asked for job in self._jobs)

    def _answer(self, kind: Kind, pieces: Sequence[tuple[_Job, int]]) -> None:
        """Asks together, and where that fails each alone, so that one client's question fails no other's."""
        now = self._clock()
        pieces = [(job, index) for job, index in pieces if job.alive(now)]
        if not pieces:
            return
        try:
            results = self._ask(
                kind, [job.items[index] for job, index in pieces], lambda k: pieces[k][0].alive(self._clock())
            )
        except NoWorker as error:
            log.error("nobody answers", exc_info=error)
            for job, _ in pieces:
                job.fail(_told(error))
            return
        except Exception as error:  # whatever a model may raise: the thread must live on
            if len(pieces) > 1:
                for piece in pieces:
                    self._answer(kind, [piece])
            elif isinstance(error, WorkerDied) and not self._died_over(pieces[0]):
                self._answer(kind, pieces)
            else:
                pieces[0][0].fail(_told(error))
            return
        for (job, index), result in zip(pieces, results, strict=True):
            job.got(index, result)

    def _died_over(self, piece: tuple[_Job, int]) -> bool:
        """Notes that a process died over a question alone; whether that is once too often."""
        job, index = piece
        key = _fingerprint(job.items[index])
        with self._changed:
            self._deaths[key] = n = self._deaths.pop(key, 0) + 1
            while len(self._deaths) > _REMEMBERED:
                del self._deaths[next(iter(self._deaths))]
        return n >= DEADLY

    def _ask(self, kind: Kind, items: Sequence[Any], wanted: Wanted) -> Sequence[Any]:
        if kind == "compare":
            return self._model.answer(items, wanted)
        assert self._model.listener is not None
        p = ask(self._model.listener, [hearing.pair for hearing in items], [hearing.trace for hearing in items])
        return list(p.tolist())


def _fingerprint(item: Question | Hearing) -> str:
    """Of prompt, pixels and seed, or trace."""
    return item.pair.id if isinstance(item, Question) else f"{item.pair.id} {item.trace}"


def _deadly() -> Refusal:
    text = f"{DEADLY} processes with the model died over this question, so that it is asked no more; ask another"
    return Refusal(422, "deadly_question", text)


def _told(error: Exception) -> Refusal:
    if isinstance(error, WorkerDied):
        log.error("a question is deadly", exc_info=error)
        return _deadly()
    if isinstance(error, NoWorker):
        return no_worker()
    if isinstance(error, ListenerUnavailable):
        log.warning("the listener broke", exc_info=error)
        return Refusal(503, "listener_unavailable", "the listener gave no answer", headers={"retry-after": "5"})
    if isinstance(error, InputError):  # such as a prompt that is longer than the model's context
        return Refusal(422, "invalid_request", str(error))
    log.error("the model failed", exc_info=error)
    return internal()
