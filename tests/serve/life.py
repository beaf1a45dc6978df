"""A server with a known opinion as processes of its own: `python -m tests.serve.life SECONDS-A-BATCH [WORKERS]`.

It imports no torch, so that it is there at once.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from earshot.judge.comparison import Comparison, Question, conclude
from earshot.serve import Server, Workers, serve
from earshot.types import Wanted
from tests.judge.opinions import Hears, Opinionated


@dataclass
class Slow:
    """Goes by brightness, and takes its time for a batch."""

    seconds: float = 0.0
    listener: Hears = field(default_factory=Hears)
    samples: int = 1

    def answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Comparison]:
        time.sleep(self.seconds)
        judged = Opinionated().judge([question.pair for question in questions], samples=1, seed=0)
        heard = [[0.75 if question.turned else 0.25] * 2 for question in questions]  # 0.25 for the caller's first
        return [conclude(*one) for one in zip(questions, judged, heard, strict=True)]


def load(number: int, seconds: float) -> Slow:
    return Slow(seconds)


if __name__ == "__main__":
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with Workers(partial(load, seconds=float(sys.argv[1])), workers) as engine:
        server = Server(engine, at_once=workers, up=engine.up)
        serve(server, "127.0.0.1", 0, lambda address: print(address, flush=True))
