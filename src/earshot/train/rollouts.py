"""What a run keeps of its rollouts, and what it says, once each, of steps that teach nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from earshot.errors import TrainingAborted, short
from earshot.files import read_jsonl
from earshot.predictions.rollout import Rollout, write_rollouts
from earshot.rundir import RunDir
from earshot.train.reward import groups_of, teaches

_ADVICE: Final = {
    "malformed": "raise trl.max_completion_length if they are cut, or see how the model is asked (docs/prompts.md)",
    "without a reward": "see errors of the listener, and votes of the pairs",
    "paid like all others of their pair": "raise trl.temperature or trl.num_generations, or see the rewards",
}


class RolloutLog:
    """Keeps the latest step's rollouts and writes each step's to `rollouts/step-NNNNNN-rankR.parquet`.

    Args:
        run: Where.
        every_steps: Of how many steps one is written.
        rank: Of this process.
        console: Where steps are told of that teach nothing.
        why_missing: What the listener failed of last, if it did.
    """

    def __init__(
        self, run: RunDir, every_steps: int, rank: int, console: Console, why_missing: Callable[[], object] = str
    ) -> None:
        self._run = run
        self._console = console
        self._told: set[str] = set()
        self._every_steps = every_steps
        self._rank = rank
        self._why_missing = why_missing
        self._step = -1
        self._latest: list[Rollout] = []

    def __call__(self, rollouts: list[Rollout]) -> None:
        step = rollouts[0].step
        self._latest = [*self._latest, *rollouts] if step == self._step else rollouts
        self._step = step
        self._tell(rollouts)
        if step % self._every_steps == 0:
            self.write(self._run.rollouts / f"step-{step:06d}-rank{self._rank}.parquet")

    def _tell(self, rollouts: Sequence[Rollout]) -> None:
        """Says of the first step of each kind that it taught nothing, and why."""
        if any(teaches(group) for group in groups_of(rollouts)):
            return
        kinds = Counter(_kind(one) for one in rollouts)
        (kind, _), *_ = kinds.most_common(1)
        if kind in self._told:
            return
        self._told.add(kind)
        counted = ", ".join(f"{many} {name}" for name, many in kinds.most_common())
        self._say(f"nothing is learnt from its {len(rollouts)} completions ({counted}){self._example(kind, rollouts)}")

    def _example(self, kind: str, rollouts: Sequence[Rollout]) -> str:
        why = ""
        if kind == "malformed":
            ((reason, times),) = Counter(one.malformed for one in rollouts if one.malformed).most_common(1)
            example = next(one.completion for one in rollouts if one.malformed == reason)
            why = f", {times} of them for '{reason}', such as {short(example)}"
        elif kind == "without a reward" and (failure := self._why_missing()):
            return f": {failure}"
        return f"{why}; {_ADVICE[kind]}"

    def _say(self, words: str) -> None:
        self._console.print(f"step {self._step + 1}: {words}", highlight=False, soft_wrap=True, markup=False)

    def write(self, path: Path) -> Path:
        write_rollouts(path, self._latest)
        return path


def _kind(rollout: Rollout) -> str:
    if rollout.malformed is not None:
        return "malformed"
    return "without a reward" if rollout.reward is None else "paid like all others of their pair"


def check_taught(run: RunDir) -> None:
    """Sees that a run that has come to its end has learnt from anything.

    Raises:
        TrainingAborted: In none of its steps did the rewards of any pair differ.
    """
    rows = read_jsonl(run.metrics_log) if run.metrics_log.exists() else ()
    shares = [row[name] for row in rows if (name := "groups_without_variance") in row]
    if shares and all(share == 1.0 for share in shares):
        raise TrainingAborted(
            f"{run.path}: in none of {len(shares)} steps did the rewards of any pair's completions differ, so that "
            "nothing was learnt and no model is written; metrics.jsonl and rollouts/ show why"
        )
