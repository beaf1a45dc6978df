"""Models that a process of their own can load, without what the tests themselves import."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earshot.errors import ListenerUnavailable, ModelError
from earshot.judging.question import Question
from earshot.predictions.judgement import Judgement
from earshot.serve.decoding import limit
from earshot.types import Wanted
from tests.judging.constant import Constant
from tests.judging.opinions import Hears, Opinionated

if TYPE_CHECKING:
    from earshot.judging.model import RewardModel


def opinionated(number: int) -> "RewardModel":
    from earshot.judging.model import RewardModel  # which needs torch

    return RewardModel(Opinionated(noise=0.2, bias=0.05), {"hears": Hears()})


def nowhere(number: int) -> "RewardModel":
    raise ModelError(f"there is no model for process {number}")


@dataclass
class Odd:
    """Does what a prompt says."""

    folder: Path
    listener: Any = None
    samples: int = 1
    broken: bool = False

    def try_answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement]:
        prompts = [question.pair.prompt for question in questions]
        if "die" in prompts:
            os._exit(3)
        if "once" in prompts and not (self.folder / "once").exists():
            (self.folder / "once").touch()
            time.sleep(30)
        if "break" in prompts:
            self.broken = True
        if self.broken:
            try:
                raise RuntimeError("CUDA error: device-side assert triggered")
            except RuntimeError as error:
                raise ListenerUnavailable("it broke") from error
        if "fail" in prompts:
            raise ListenerUnavailable("it broke")
        if "wait" in prompts:
            assert wanted is not None
            (self.folder / "begun").touch()
            end = time.monotonic() + 20
            while wanted(prompts.index("wait")) and time.monotonic() < end:
                time.sleep(0.005)
            (self.folder / "seen").write_text(" ".join(str(wanted(k)) for k in range(len(prompts))))
        return Constant().try_answer(questions)


def odd(number: int, folder: Path, samples: int = 1) -> Odd:
    if (folder / "broken").exists():
        raise ModelError("the files are gone")
    (folder / "pids").open("a").write(f"{os.getpid()}\n")
    return Odd(folder, samples=samples)


def burns(*_: Any) -> None:
    while True:
        pass


def over_budget(*_: Any) -> None:
    limit(0)
    burns()


def dies(*_: Any) -> None:
    os._exit(1)
