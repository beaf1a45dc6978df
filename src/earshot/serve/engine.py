"""Who is asked: the model here, or the processes that have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from earshot.errors import EarshotError, InputError
from earshot.judging.question import Question
from earshot.listener import Listener
from earshot.predictions.judgement import Judgement
from earshot.types import Wanted


@runtime_checkable
class Engine(Protocol):
    """Who is asked; `judge.RewardModel` is one. Named here so that a server around another needs no torch."""

    @property
    def listener(self) -> Listener | None: ...

    @property
    def samples(self) -> int: ...

    def try_answer(self, questions: Sequence[Question], wanted: Wanted | None) -> list[Judgement | InputError]: ...


def note_of(model: Engine) -> str | None:
    """What to know of a model before its first verdict, if it says so (`RewardModel.note`)."""
    note: str | None = getattr(model, "note", None)
    return note


def asks_about_edits(model: Engine) -> bool:
    """Whether it is asked about two edits of an image, if it says so (`RewardModel.edits`)."""
    return bool(getattr(model, "edits", False))


class WorkerDied(EarshotError):
    """A process ended before it had answered what it had been asked.

    Attributes:
        code: Its exit code; -n where signal n ended it.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class NoWorker(EarshotError):
    """There is no process to ask."""
