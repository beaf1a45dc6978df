"""A server with a known opinion: `python -m tests.serve.life SECONDS-A-BATCH [WORKERS [ROOT-PATH]]`.

It imports no torch, so that it is there at once.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from earshot.judging.question import Question
from earshot.predictions.judgement import JudgedSample, Judgement, conclude
from earshot.serve import Server, Workers, serve
from earshot.types import Wanted
from earshot.web import listen
from tests.judging.opinions import Hears, Opinionated


@dataclass
class Slow:
    """Goes by brightness, and takes its time for a batch."""

    seconds: float = 0.0
    listener: Hears = field(default_factory=Hears)
    samples: int = 1

    def try_answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement]:
        time.sleep(self.seconds)
        judged = Opinionated().judge([question.pair for question in questions], samples=1, seed=0)
        return [self._told(question, samples) for question, samples in zip(questions, judged, strict=True)]

    def _told(self, question: Question, samples: Sequence[JudgedSample]) -> Judgement:
        p = 0.75 if question.turned else 0.25  # 0.25 for the caller's first
        told = [replace(sample, listener={"hears": p}) for sample in samples]
        mine = [sample.turned() if question.turned else sample for sample in told]
        key = question.pair.id
        return conclude(mine, id=key, question=key, seed=question.seed, readers=["hears"])


def load(number: int, seconds: float) -> Slow:
    return Slow(seconds)


if __name__ == "__main__":
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    listener = listen("127.0.0.1", 0)
    how = partial(load, seconds=float(sys.argv[1]))
    with Workers(how, workers) as engine:
        server = Server(engine, at_once=workers, up=engine.up, root_path="".join(sys.argv[3:4]))
        told = partial(print, flush=True)
        serve(server, listener, "127.0.0.1", told, renew=lambda: engine.renew(how))
