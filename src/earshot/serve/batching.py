"""The threads that ask the model, for the requests of all clients together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from earshot.errors import InputError, ListenerUnavailable
from earshot.judging.question import Question
from earshot.listener import ask
from earshot.predictions.judgement import Judgement
from earshot.serve.engine import Engine, NoWorker, WorkerDied
from earshot.serve.queueing import Batch, Hearing, Job, Kind, Queue
from earshot.serve.refusals import Refusal, internal, no_worker
from earshot.types import Wanted

log = logging.getLogger("earshot.serve")

_LOOK_S = 0.2
READING_S = 0.025
"""How long a batch that is not full waits for requests that have been let in and are still read and decoded."""


DEADLY = 2
"""A question is deadly when a process has died over it alone, and so many over it in a row."""
_SUSPECTS = 4
"""How many questions are asked together again over which one process has died; after another, each is asked alone."""


class Batcher:
    """Puts the questions of all clients into batches: see `Queue` for whose turn it is.

    Where there are several batches at a time, one of them is never of long questions while short ones come. A client
    that has left, or whose deadline has passed, is not asked for any more; what the model writes for it is cut at the
    next token. What was asked when a process died is asked again, by a few and then alone; what is `DEADLY` is asked no
    more.

    Args:
        model: Who answers.
        batch: See `Queue`.
        tokens: Likewise.
        at_once: How many batches the model may have at a time,
        up: And how many it bears now, where some of its processes may have died.
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
        tokens: int = 16 * 4096,
        at_once: int = 1,
        up: Callable[[], int] | None = None,
        linger_s: float = 0.004,
        let_in: Callable[[], int] = lambda: 0,
        observe: Callable[[Kind, int, float], None] = lambda kind, n, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._queue = Queue(batch, tokens)
        self._up = up or (lambda: at_once)
        self._linger_s = linger_s
        self._let_in = let_in
        self._observe = observe
        self._clock = clock
        self._changed = threading.Condition()
        self._in_hand: set[Job] = set()
        self._busy = self._long = 0  # batches that the model has, and those of long questions
        self._taken = 0  # batches
        self._stopped = False
        self._rate = 0.0  # pieces a second of one thread, lately
        self._deadly: deque[str] = deque(maxlen=1024)  # fingerprints of questions
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

    def compare(self, questions: Sequence[Question], deadline: float, client: str = "") -> Future[list[Judgement]]:
        """The answers to questions, when they are there; cancel the future to take them back."""
        return self._submit(Job("compare", questions, deadline, client))

    def listen(self, hearings: Sequence[Hearing], deadline: float, client: str = "") -> Future[list[float]]:
        """The listener's probabilities of the first image."""
        return self._submit(Job("listen", hearings, deadline, client))

    def waiting(self) -> int:
        """Questions that are not with the model yet."""
        with self._changed:
            return self._queue.waiting(self._clock())

    def retry_after_s(self) -> int:
        """When what waits now will have been answered, in [1, 60]."""
        rate = self._rate * len(self._threads)
        return min(60, max(1, math.ceil(self.waiting() / rate))) if rate else 1

    def _submit(self, job: Job) -> Future[list[Any]]:
        if self._deadly and any(_fingerprint(item) in self._deadly for item in job.items):
            job.fail(_refused())
            return job.future
        if not job.items:
            job.future.set_result([])
            return job.future
        with self._changed:
            self._queue.add(job, self._clock())
            self._changed.notify_all()
        return job.future

    def _run(self) -> None:
        while batch := self._take():
            start, n = self._clock(), len(batch.pieces)
            self._answer(batch)
            seconds = max(self._clock() - start, 1e-9)
            with self._changed:
                self._busy -= 1
                self._long -= batch.long
                self._in_hand -= {job for job, _ in batch.pieces}
                self._rate = 0.8 * (self._rate or n / seconds) + 0.2 * n / seconds
                self._changed.notify_all()
            self._observe(batch.kind, n, seconds)

    def _take(self) -> Batch | None:
        """The next batch; None when there will be no more for this thread."""
        with self._changed:
            start, taken = self._clock(), self._taken
            while True:
                n = self._open()
                if not n and self._stopped:
                    return None
                if not n:
                    self._changed.wait(_LOOK_S if self._queue.jobs() else None)  # a process may come up meanwhile
                if not n or taken != self._taken:  # what it had waited for went with another thread's batch
                    start, taken = self._clock(), self._taken
                    continue
                most_s = READING_S if self._let_in() > len(self._in_hand | self._queue.jobs()) else self._linger_s
                left = start + most_s - self._clock()
                if self._stopped or left <= 0 or n >= self._queue.room():
                    break
                self._changed.wait(min(left, self._linger_s))
            batch = self._queue.take(short=self._short())
            self._busy += 1
            self._long += batch.long
            self._in_hand |= {job for job, _ in batch.pieces}
            self._taken += 1
            return batch

    def _short(self) -> bool:
        """Whether a further batch is to be of short questions: as many as may be have long ones."""
        return 0 < len(self._threads) - 1 <= self._long

    def _open(self) -> int:
        """How many questions wait that a further batch may have."""
        if self._busy >= max(1, self._up()):
            return 0
        return self._queue.waiting(self._clock(), short=self._short())

    def _answer(self, batch: Batch) -> None:
        """Asks together; where that fails, all but one that fails alone are to be asked again."""
        now = self._clock()
        pieces = [(job, index) for job, index in batch.pieces if job.alive(now)]
        if not pieces:
            return
        items = [job.items[index] for job, index in pieces]
        try:
            results = self._ask(batch.kind, items, lambda k: pieces[k][0].alive(self._clock()))
        except Exception as error:  # whatever a model may raise: the thread must live on
            self._failed(batch._replace(pieces=pieces), error)
            return
        for (job, index), result in zip(pieces, results, strict=True):
            if isinstance(result, InputError):  # such as a prompt that is longer than the model's context
                job.fail(Refusal(422, "invalid_request", str(result)))
            else:
                job.got(index, result)

    def _failed(self, batch: Batch, error: Exception) -> None:
        """One client's question fails no other's."""
        pieces, together, alone = batch.pieces, 1, len(batch.pieces) == 1
        if isinstance(error, WorkerDied):
            for job, index in pieces:
                job.deaths[index] += 1
            deaths = max(job.deaths[index] for job, index in pieces)
            together, alone = _SUSPECTS if deaths == 1 else 1, alone and deaths >= DEADLY
        if alone or isinstance(error, NoWorker):
            for job, index in pieces:
                if job.alive(self._clock()):
                    job.fail(self._told(error, job.items[index]))
            return
        with self._changed:
            starts = range(0, len(pieces), together)
            self._queue.again(batch._replace(pieces=pieces[k : k + together]) for k in starts)

    def _ask(self, kind: Kind, items: Sequence[Any], wanted: Wanted) -> Sequence[Any]:
        if kind == "compare":
            return self._model.try_answer(items, wanted)
        assert self._model.listener is not None
        p = ask(self._model.listener, [hearing.pair for hearing in items], [hearing.trace for hearing in items])
        return list(p.tolist())

    def _told(self, error: Exception, item: Question | Hearing) -> Refusal:
        """What the client is told of a question's failure."""
        if isinstance(error, WorkerDied):
            log.error("a question is deadly", exc_info=error)
            self._deadly.append(_fingerprint(item))
            return _refused()
        if isinstance(error, NoWorker):
            log.error("nobody answers: %s", error)
            return no_worker()
        if isinstance(error, ListenerUnavailable):
            log.warning("the listener broke", exc_info=error)
            return Refusal(503, "listener_unavailable", "the listener gave no answer", headers={"retry-after": "5"})
        log.error("the model failed", exc_info=error)
        return internal()


def _fingerprint(item: Question | Hearing) -> str:
    """Of prompt, pixels and seed, or trace."""
    return item.pair.id if isinstance(item, Question) else f"{item.pair.id} {item.trace}"


def _refused() -> Refusal:
    text = "processes with the model have died over this question alone, so that it is asked no more; ask another"
    return Refusal(422, "deadly_question", text)
