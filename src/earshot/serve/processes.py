"""Processes of our own that do work for the server: any of them may die, or be ended, and another takes its place."""

from __future__ import annotations

import gc
import itertools
import logging
import math
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, TypeAlias

from earshot.errors import one_line
from earshot.outcomes import pack, unpack
from earshot.serve.engine import NoWorker, WorkerDied
from earshot.types import Wanted

log = logging.getLogger("earshot.serve")

Loader: TypeAlias = Callable[[int], Any]
"""Makes what the k-th process works with, in that process; what it is bound to is pickled."""
Task: TypeAlias = Callable[[Any, Wanted], Any]
"""What a process is to do with it; pickled. A number on the line instead says that nobody waits any more for
the question at that place in the task under way."""

TELL_S = 0.02
"""How often a process is told which of its questions nobody waits for any more."""
PATIENCE_S = 30.0
"""How long a task waits while there is no process."""
_AGAIN_S = (0.0, 1.0, 5.0, 30.0)
"""How long to wait before a process that died, or could not begin, is begun again; the last for ever after."""

# Not forked: neither the threads of the HTTP side nor what a library holds of a GPU would survive it.
_processes = multiprocessing.get_context("spawn")


class Pool:
    """`n` processes, each of which does one task at a time; as many threads may ask.

    A process that dies, idle or not, takes down the task that it had, and nothing else: another takes its place.

    Args:
        what: They are for.
        load: Makes what a process works with, in each of them.
        n: How many processes there are.
        describe: What a process tells of what it has loaded.
        patience_s: How long a process goes on with what nobody wants any more before it is ended; None lets it.
    """

    told: Any
    """By the first of them."""

    def __init__(
        self,
        what: str,
        load: Loader,
        n: int,
        *,
        describe: Callable[[Any], Any] = type,
        patience_s: float | None = None,
    ) -> None:
        self._what = what
        self._load, self._begin = load, partial(_Worker, what, describe)
        self._n = n
        self._patience_s = patience_s
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers: list[_Worker] = []
        self._fresh: list[_Worker] = []  # that load to take the place of all
        self._ended = threading.Event()
        self._beginning = threading.Lock()

    def __enter__(self) -> Pool:
        """Begins the processes and waits until each has loaded.

        Raises:
            Exception: What loading failed with.
        """
        try:
            self._workers = [self._begin(self._load, k) for k in range(self._n)]  # they load side by side
            told = [worker.told() for worker in self._workers]
        except BaseException:
            self._end(0.0)
            raise
        self.told = told[0]
        self._open(self._workers)
        return self

    def renew(self, load: Loader) -> None:
        """Puts other processes in the place of all at once; those of before end what they have in hand, and then end.

        Args:
            load: Makes what the new ones work with. There is room for both, or it fails.

        Raises:
            Exception: What loading failed with; then those of before go on.
        """
        with self._beginning:
            if self._ended.is_set():
                return
            self._fresh = [self._begin(load, k) for k in range(self._n)]
        try:
            told = [worker.told() for worker in self._fresh]
        except BaseException:
            for worker in self._fresh:
                worker.end(0.0)
            raise
        with self._beginning:
            before, self._workers, self._load, self.told = self._workers, self._fresh, load, told[0]
            self._fresh = []
        self._open(self._workers)
        for worker in before:
            worker.retire()
        with suppress(queue.Empty):
            for _ in range(2 * self._n):  # those that are free now
                self._put(self._free.get_nowait())

    def _open(self, workers: list[_Worker]) -> None:
        """Lets processes be asked, and sees to it that another takes the place of each that dies."""
        for worker in workers:
            self._free.put(worker)
            name = f"earshot-serve-keep-{self._what}-{worker.number}"
            threading.Thread(target=self._keep, args=(worker, workers), name=name, daemon=True).start()

    def _put(self, worker: _Worker) -> None:
        """A process has nothing in hand."""
        if worker.retired:
            worker.hang_up()
        else:
            self._free.put(worker)

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(10.0 if error is None else 0.0)

    def up(self) -> int:
        """How many of the processes live and have loaded."""
        return sum(worker.up() for worker in self._workers)

    def ask(self, task: Task, n: int, wanted: Wanted | None) -> Any:
        """What a process that is free makes of a task about `n` questions.

        Raises:
            WorkerDied: It died over it.
            NoWorker: None came to life for `PATIENCE_S`, or none was free until nobody wanted an answer.
            Exception: What the model failed with.
        """
        worker = self._tell(task, n, wanted)
        try:
            result = worker.answer(n, wanted, self._patience_s)
        except WorkerDied:
            raise
        except BaseException:
            self._put(worker)
            raise
        self._put(worker)
        return result

    def _tell(self, task: Task, n: int, wanted: Wanted | None) -> _Worker:
        """A process that has been free, and has the task now."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and (wanted is None or any(map(wanted, range(n)))):
            if self.up():  # it is only busy
                end = time.monotonic() + PATIENCE_S
            with suppress(queue.Empty, OSError):  # of one that has died meanwhile, and not over this task
                worker = self._free.get(timeout=min(PATIENCE_S, 0.1))
                worker.tell(task)
                return worker
        raise NoWorker(f"no process for the {self._what} has come up for {PATIENCE_S:g} s, or nobody waits any more")

    def _keep(self, worker: _Worker, among: list[_Worker]) -> None:
        """Puts another process in the place of one that dies, however often, unless all are replaced."""
        while True:
            worker.wait()
            if self._ended.is_set() or worker.retired:
                return
            # Its line is not closed here: whoever has asked it something may just be listening.
            log.warning("%s has died; another begins", worker.name)
            if (another := self._another(worker.number, among)) is None:
                return
            worker = another
            self._free.put(worker)

    def _another(self, number: int, among: list[_Worker]) -> _Worker | None:
        """A new process that has loaded, however often it takes; None once there is to be none among those."""
        for attempt in itertools.count():
            self._ended.wait(_AGAIN_S[min(attempt, len(_AGAIN_S) - 1)])
            with self._beginning:
                if self._ended.is_set() or among is not self._workers:
                    break
                worker = among[number] = self._begin(self._load, number)
            try:
                worker.told()
            except Exception as error:
                if not self._ended.is_set() and not worker.retired:
                    log.error("%s does not begin: %s", worker.name, one_line(error))
                worker.end(0.0)
            else:
                return worker
        return None

    def _end(self, patience_s: float) -> None:
        with self._beginning:  # none begins after this
            self._ended.set()
        for worker in self._workers:
            worker.hang_up()
        for worker in self._fresh:
            worker.end(0.0)
        for worker in self._workers:
            worker.end(patience_s)


class _Worker:
    """One process and the line to it, on which tasks go there and what came of them comes back."""

    def __init__(self, what: str, describe: Callable[[Any], Any], load: Loader, number: int) -> None:
        self.number = number
        self.retired = False
        """Whether it ends once it has nothing in hand."""
        self.name = f"process {number} for the {what}"
        self._loaded = False
        self._looking = threading.Lock()  # the kernel tells one thread alone how a process ended
        self._line, theirs = _processes.Pipe()
        self._process = _processes.Process(
            target=_work, args=(theirs, load, describe, number), name=f"earshot-serve-{what}-{number}", daemon=True
        )
        self._process.start()
        theirs.close()  # so that the line breaks when the process ends

    def told(self) -> Any:
        """Waits until it has loaded, and gets what it says of that."""
        told = self._result()
        self._loaded = True
        return told

    def up(self) -> bool:
        return self._loaded and self._code() is None

    def wait(self) -> None:
        """Waits until the process ends."""
        wait([self._process.sentinel])
        self._code(1.0)

    def retire(self) -> None:
        """Lets it end what it has in hand, if it has loaded."""
        self.retired = True
        if not self._loaded:
            self._process.kill()

    def tell(self, task: Task) -> None:
        """Sends a task.

        Raises:
            OSError: The process has ended before.
        """
        self._line.send(task)

    def answer(self, n: int, wanted: Wanted | None, patience_s: float | None) -> Any:
        """What came of the task, about `n` questions, that the process has been told."""
        try:
            left, end = list(range(n)), math.inf if patience_s is None else time.monotonic() + patience_s
            while not self._line.poll(TELL_S):
                for k in [k for k in left if wanted is not None and not wanted(k)]:
                    self._line.send(k)
                    left.remove(k)
                if not left and time.monotonic() >= end:
                    self._process.kill()
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
        code = self._code(1.0)
        return WorkerDied(f"{self.name} died (exit code {code})", code)

    def _code(self, timeout_s: float = 0.0) -> int | None:
        """How the process has ended; None while it lives."""
        with self._looking:
            self._process.join(timeout_s)
            return self._process.exitcode

    def hang_up(self) -> None:
        """Lets the process end: nobody will ask it any more."""
        self._line.close()

    def end(self, patience_s: float) -> None:
        """Sees to it that the process has ended."""
        self.hang_up()
        self._process.join(patience_s)
        self._process.kill()
        self._process.join()


def _work(line: Connection, load: Loader, describe: Callable[[Any], Any], number: int) -> None:
    """The whole life of a process."""
    # Whoever stops the server stops it alone: it lets this process end when the last answer is given.
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(stop, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the server has gone
        loaded: list[Any] = []

        def begin() -> Any:
            loaded.append(load(number))
            return describe(loaded[0])

        line.send_bytes(pack(begin))
        # What is there by now stays; a collection that looked through all of it would hold a task up.
        gc.collect()
        gc.freeze()
        while loaded:
            task = line.recv()
            if not isinstance(task, int):  # which came when its answer was on the way
                line.send_bytes(pack(partial(task, loaded[0], _wanted(line))))


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
