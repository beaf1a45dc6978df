"""A model that costs nothing and answers by the prompt, for tests of all that happens around it.

Run as a program it is a job that can be killed: `python constant.py IN OUT LOG SECONDS`.
"""

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.errors import ImageError, InputError
from earshot.judging.parts import Local
from earshot.judging.question import Question
from earshot.judging.to_file import judge_file
from earshot.predictions.judgement import JudgedSample, Judgement, conclude
from earshot.types import Pair, Votes, Wanted

SETTINGS = {"model": "constant"}


@dataclass
class Constant:
    """Answers by a hash of the prompt.

    Attributes:
        log: Gets the prompts it was asked, a line each.
        seconds: What a batch takes.
        refused: Prompts whose images it refuses.
    """

    log: Path | None = None
    seconds: float = 0.0
    refused: frozenset[str] = frozenset()

    def question(self, *, prompt: str, first: Any, second: Any, original: Any = None, seed: int = 0) -> Question:
        if prompt in self.refused:
            raise ImageError("first: is damaged")
        return Question(Pair(f"{prompt} {seed}", prompt, first, second, Votes(0.0, 0.0)), False, seed)

    def answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement]:
        if self.seconds:  # even a sleep of 0 gives the processor away
            time.sleep(self.seconds)
        if self.log is not None:
            with self.log.open("a") as log:
                log.writelines(f"{question.pair.prompt}\n" for question in questions)
        return [self._answer(question) for question in questions]

    def try_answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement | InputError]:
        return [*self.answer(questions, wanted)]

    def _answer(self, question: Question) -> Judgement:
        p = hashlib.sha256(question.pair.id.encode()).digest()[0] / 255
        side = "first" if p > 0.5 else "second"
        samples = [
            JudgedSample(order, "the first is brighter . " * 8, side, None, p) for order in ("forward", "swapped")
        ]
        return conclude(samples, id=question.pair.id, question=question.pair.id, seed=question.seed)


if __name__ == "__main__":
    source, out, log = map(Path, sys.argv[1:4])
    print("ready", flush=True)
    judge_file(source, out, Local(Constant(log, float(sys.argv[4]))), batch=4, part_rows=25, settings=SETTINGS)
