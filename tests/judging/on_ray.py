"""A job on a Ray cluster of two workers on this machine, for tests: `python on_ray.py IN OUT LOG TROUBLE TOLERATE`.

TROUBLE happens at the prompt `grey 30`: `dies` kills the worker's process the first time, `deadly` every time,
`listener` and `bug` are errors that are raised, `none` is none. Workers find this folder by PYTHONPATH.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from earshot.errors import ListenerUnavailable
from earshot.judging.on_ray import open_ray
from earshot.judging.question import Question
from earshot.judging.to_file import judge_file
from earshot.predictions.judgement import Judgement
from earshot.types import Wanted
from tests.judging.constant import SETTINGS, Constant


@dataclass
class Troubled(Constant):
    trouble: str = "none"

    def answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement]:
        answers = super().answer(questions)
        if any(question.pair.prompt == "grey 30" for question in questions):
            self._trouble()
        return answers

    def _trouble(self) -> None:
        assert self.log is not None
        first = self.log.read_text().splitlines().count("grey 30") == 1
        if self.trouble == "deadly" or (self.trouble == "dies" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble == "listener":
            raise ListenerUnavailable("the listener is gone")
        if self.trouble == "bug":
            raise ZeroDivisionError("by zero")


def load(device: str, log: Path, trouble: str) -> tuple[Troubled, dict[str, str]]:
    assert device == "cpu"
    return Troubled(log, trouble=trouble), SETTINGS


if __name__ == "__main__":
    source, out, log = map(Path, sys.argv[1:4])
    here = partial(load, log=log.absolute(), trouble=sys.argv[4])
    try:
        with open_ray(here, device="cpu", workers=2) as engine:
            tally = judge_file(
                source, out, engine, batch=4, part_rows=25, tolerate=int(sys.argv[5]), settings=engine.settings
            )
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(*tally)
