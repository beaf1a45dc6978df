"""The model in processes of its own: reading and refusing requests never waits for it, and there may be several."""

from __future__ import annotations

import gc
import itertools
import logging
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from earshot.judging.question import Question
from earshot.outcomes import pack, unpack
from earshot.predictions.judgement import Judgement
from earshot.serve.engine import Engine, NoWorker, WorkerDied, note_of
from earshot.types import Pair, Wanted

log = logging.getLogger("earshot.serve")

Loader: TypeAlias = Callable[[int], Engine]
"""Makes the model of the k-th process, in that process; what it is bound to is pickled."""
Task: TypeAlias = Callable[[Engine, Wanted], Any]
"""What a process is to do with its model; pickled. A number on the line instead says that nobody waits any more for
the question at that place in the task under way."""

TELL_S = 0.02
"""How often a process is told which of its questions nobody waits for any more."""
PATIENCE_S = 60.0
"""How long a batch waits for a process while there is none."""
_AGAIN_S = (0.0, 1.0, 5.0, 30.0)
"""How long to wait before a process that died, or could not begin, is begun again; the last for ever after."""

# Not forked: neither the threads of the HTTP side nor what a library holds of a GPU would survive it.
_processes = multiprocessing.get_context("spawn")


def _compare(questions: Sequence[Question], model: Engine, wanted: Wanted) -> list[Judgement]:
    return model.answer(questions, wanted)


def _hear(
    pairs: Sequence[Pair], traces: Sequence[str | None], model: Engine, wanted: Wanted
) -> Float[np.ndarray, " n"]:
    assert model.listener is not None
    return model.listener.p_first(pairs, traces)


class _Told(NamedTuple):
    """What a model says of itself."""

    samples: int
    listener: str | None
    note: str | None


class Workers:
    """An `Engine` whose model is in `n` other processes; up to `n` threads may ask at a time.

    A process that dies, idle or not, takes down the batch that it had, and nothing else: another takes its place.

    Args:
        load: Makes the model, in each process.
        n: How many processes there are.
    """

    samples: int
    listener: _Listener | None
    note: str | None

    def __init__(self, load: Loader, n: int = 1) -> None:
        self._load = load
        self._n = n
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._ended = threading.Event()
        self._beginning = threading.Lock()

    def __enter__(self) -> Workers:
        """Begins the processes and waits until each has its model.

        Raises:
            Exception: What loading the model failed with.
        """
        try:
            self._workers = [_Worker(self._load, k) for k in range(self._n)]  # they load side by side
            told = [worker.told() for worker in self._workers]
        except BaseException:
            self._end(0.0)
            raise
        self.samples, listener, self.note = told[0]
        self.listener = None if listener is None else _Listener(listener, self)
        for worker in self._workers:
            self._free.put(worker)
            name = f"earshot-serve-keep-{worker.number}"
            threading.Thread(target=self._keep, args=(worker,), name=name, daemon=True).start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(10.0 if error is None else 0.0)

    def up(self) -> bool:
        """Whether any of the processes lives and has its model."""
        return any(worker.up() for worker in self._workers)

    def answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement]:
        answers: list[Judgement] = self.ask(partial(_compare, questions), len(questions), wanted)
        return answers

    def ask(self, task: Task, n: int, wanted: Wanted | None) -> Any:
        """What a process that is free makes of a task about `n` questions.

        Raises:
            WorkerDied: It died over it.
            NoWorker: None came to life for a minute, or until nobody wanted an answer.
            Exception: What the model failed with.
        """
        worker = self._tell(task, n, wanted)
        try:
            result = worker.answer(n, wanted)
        except WorkerDied:
            raise
        except BaseException:
            self._free.put(worker)
            raise
        self._free.put(worker)
        return result

    def _tell(self, task: Task, n: int, wanted: Wanted | None) -> _Worker:
        """A process that has been free, and has the task now."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and (wanted is None or any(map(wanted, range(n)))):
            with suppress(queue.Empty, OSError):  # of one that has died meanwhile, and not over this task
                worker = self._free.get(timeout=min(PATIENCE_S, 0.1))
                worker.tell(task)
                return worker
        raise NoWorker(f"no process with the model has come up for {PATIENCE_S:g} s, or nobody waits any more")

    def _keep(self, worker: _Worker) -> None:
        """Puts another process in the place of one that dies, however often."""
        while True:
            worker.wait()
            if self._ended.is_set():
                return
            # Its line is not closed here: whoever has asked it something may just be listening.
            log.warning("process %d with the model has died; another begins", worker.number)
            if (another := self._another(worker.number)) is None:
                return
            worker = another
            self._free.put(worker)

    def _another(self, number: int) -> _Worker | None:
        """A new process with its model, however often it takes; None once there is to be none."""
        for attempt in itertools.count():
            self._ended.wait(_AGAIN_S[min(attempt, len(_AGAIN_S) - 1)])
            with self._beginning:
                if self._ended.is_set():
                    break
                worker = self._workers[number] = _Worker(self._load, number)
            try:
                worker.told()
            except Exception:
                log.exception("process %d with the model does not begin", number)
                worker.end(0.0)
            else:
                return worker
        return None

    def _end(self, patience_s: float) -> None:
        with self._beginning:  # none begins after this
            self._ended.set()
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.end(patience_s)


@dataclass(frozen=True)
class _Listener:
    """The listener of the model in another process."""

    name: str
    workers: Workers

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        heard: Float[np.ndarray, " n"] = self.workers.ask(partial(_hear, pairs, traces), len(pairs), None)
        return heard


class _Worker:
    """One process and the line to it, on which tasks go there and what came of them comes back."""

    def __init__(self, load: Loader, number: int) -> None:
        self.number = number
        self._loaded = False
        self._line, theirs = _processes.Pipe()
        self._process = _processes.Process(
            target=_work, args=(theirs, load, number), name=f"earshot-serve-model-{number}", daemon=True
        )
        self._process.start()
        theirs.close()  # so that the line breaks when the process ends

    def told(self) -> _Told:
        """Waits until the model is loaded, and gets what it says of itself."""
        told: _Told = self._result()
        self._loaded = True
        return told

    def up(self) -> bool:
        return self._loaded and self._process.is_alive()

    def wait(self) -> None:
        """Waits until the process ends."""
        wait([self._process.sentinel])

    def tell(self, task: Task) -> None:
        """Sends a task.

        Raises:
            OSError: The process has ended before.
        """
        self._line.send(task)

    def answer(self, n: int, wanted: Wanted | None) -> Any:
        """What came of the task, about `n` questions, that the process has been told."""
        try:
            left = list(range(n))
            while not self._line.poll(TELL_S):
                for k in [k for k in left if wanted is not None and not wanted(k)]:
                    self._line.send(k)
                    left.remove(k)
        except OSError as error:
            raise self._died() from error
        return self._result()

    def _result(self) -> Any:
        try:
            data = self._line.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._died() from error
        return unpack(data)

    def _died(self) -> WorkerDied:
        self._process.join(1.0)
        return WorkerDied(f"process {self.number} with the model died (exit code {self._process.exitcode})")

    def hang_up(self) -> None:
        """Lets the process end: nobody will ask it any more."""
        self._line.close()

    def end(self, patience_s: float) -> None:
        """Sees to it that the process has ended."""
        self.hang_up()
        self._process.join(patience_s)
        self._process.kill()
        self._process.join()


def _work(line: Connection, load: Loader, number: int) -> None:
    """The whole life of a process with the model."""
    # Whoever stops the server stops it alone: it lets this process end when the last answer is given.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the server has gone
        models: list[Engine] = []

        def begin() -> _Told:
            models.append(model := load(number))
            return _Told(model.samples, None if model.listener is None else model.listener.name, note_of(model))

        line.send_bytes(pack(begin))
        # What is there by now stays; a collection that looked through all of it would hold a batch up.
        gc.collect()
        gc.freeze()
        while models:
            task = line.recv()
            if not isinstance(task, int):  # which came when its answer was on the way
                line.send_bytes(pack(partial(task, models[0], _wanted(line))))


def _wanted(line: Connection) -> Wanted:
    """Whether a question of the task in hand is still waited for, as far as the server has told; none is without it."""
    dropped: set[int] = set()

    def wanted(k: int) -> bool:
        try:
            while line.poll():
                dropped.add(line.recv())
        except (EOFError, OSError):
            return False
        return k not in dropped

    return wanted
