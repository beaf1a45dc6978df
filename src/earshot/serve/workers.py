"""The model in processes of its own: reading and refusing requests never waits for it, and there may be several."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from earshot.errors import InputError
from earshot.judging.question import Question
from earshot.predictions.judgement import Judgement
from earshot.serve.engine import Engine, asks_about_edits, note_of
from earshot.serve.processes import Pool
from earshot.types import Pair, Wanted

log = logging.getLogger("earshot.serve")
T = TypeVar("T")


DEVICE_LOST = 70
"""The exit code of a process whose device answers nobody any more."""


def _or_end(work: Callable[[], T]) -> T:
    """Does some work of the model. Where a device has broken, every later answer of the process would be an error, too,
    so that it ends, and another takes its place and gets the question.
    """
    try:
        return work()
    except Exception as error:
        if device_lost(error):
            log.error("the device answers no more (%s); the process ends", type(error).__name__)
            os._exit(DEVICE_LOST)
        raise


def device_lost(error: BaseException) -> bool:
    """Whether a failure has taken the CUDA context of this process with it, as far as can be told."""
    torch = sys.modules.get("torch")
    told: BaseException | None = error
    while told is not None:
        if isinstance(told, RuntimeError) and "CUDA error" in str(told):
            return True
        told = told.__cause__ or told.__context__
    try:
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def _compare(questions: Sequence[Question], model: Engine, wanted: Wanted) -> list[Judgement | InputError]:
    return _or_end(lambda: model.try_answer(questions, wanted))


def _hear(
    pairs: Sequence[Pair], traces: Sequence[str | None], model: Engine, wanted: Wanted
) -> Float[np.ndarray, " n"]:
    listener = model.listener
    assert listener is not None
    return _or_end(lambda: listener.p_first(pairs, traces))


class _Told(NamedTuple):
    """What a model says of itself."""

    samples: int
    listener: str | None
    note: str | None
    edits: bool


def _describe(model: Engine) -> _Told:
    listener = None if model.listener is None else model.listener.name
    return _Told(model.samples, listener, note_of(model), asks_about_edits(model))


class Workers:
    """An `Engine` whose model is in `n` other processes; up to `n` threads may ask at a time.

    Args:
        load: Makes the model of the k-th process, in that process; what it is bound to is pickled.
        n: How many processes there are.
    """

    samples: int
    listener: _Listener | None
    note: str | None
    edits: bool

    def __init__(self, load: Callable[[int], Engine], n: int = 1) -> None:
        self._pool = Pool("model", load, n, describe=_describe)

    def __enter__(self) -> Workers:
        """See `Pool`.

        Raises:
            Exception: What loading the model failed with.
        """
        self._pool.__enter__()
        self._tell()
        return self

    def renew(self, load: Callable[[int], Engine]) -> None:
        """See `Pool`.

        Raises:
            Exception: What loading the model failed with; that of before goes on.
        """
        self._pool.renew(load)
        self._tell()

    def _tell(self) -> None:
        self.samples, listener, self.note, self.edits = self._pool.told
        self.listener = None if listener is None else _Listener(listener, self._pool)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.__exit__(kind, error, trace)

    def up(self) -> int:
        """How many batches can be asked about."""
        return self._pool.up()

    def try_answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement | InputError]:
        """See `Engine`, and what `Pool.ask` raises."""
        answers: list[Judgement | InputError] = self._pool.ask(partial(_compare, questions), len(questions), wanted)
        return answers


@dataclass(frozen=True)
class _Listener:
    """The listener of the model in another process."""

    name: str
    pool: Pool

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        heard: Float[np.ndarray, " n"] = self.pool.ask(partial(_hear, pairs, traces), len(pairs), None)
        return heard
