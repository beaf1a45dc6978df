"""The leak alarm: does a listener that sees no image know the label from the trace?

An honest trace says what the images show, and a reader who believes it concludes rightly without looking; so the
share of labels that a blind listener names is above one half from the start. What tells of a leak is that it *rises*:
a policy that has found words that tell the side, whatever else it says, tells the blind listener just as well. The
alarm is therefore a cumulative sum for a rise over the level of the run's first checks, or over a level that is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from earshot.errors import ConfigError, ListenerUnavailable
from earshot.listener import Listener, ask
from earshot.types import Pair

SHIFT = 0.1  # the rise that the sum is tuned to: larger ones are heard sooner, smaller ones later
FALSE_ALARM_CHECKS = 1000  # at the known level, checks between two false alarms on average, at least
REFERENCE_CHECKS = 5  # whose mean is the level, where none is given
_MARGIN = 0.01  # a level nearer to 0 or 1 has no likelihood to speak of


@dataclass
class BinomialCusum:
    """A one-sided cumulative sum for a rise in a share.

    The sum of the log-likelihood ratios of `level + shift` against `level`, never below 0; an alarm where it exceeds
    log(FALSE_ALARM_CHECKS). The mean time between false alarms is then at least FALSE_ALARM_CHECKS, whatever the size
    of the samples.

    Source: Page 1954 (Biometrika 41); the bound is Lorden 1971 (Annals of Mathematical Statistics 42), e^threshold.

    Raises:
        ConfigError: The level or the risen level is no share.
    """

    level: float
    shift: float = SHIFT
    total: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.level <= 1 and self.shift > 0):
            raise ConfigError(f"leak alarm: level {self.level} and shift {self.shift}, expected a share and a rise")
        self.level = min(max(self.level, _MARGIN), 1 - 2 * _MARGIN)
        self._risen = min(self.level + self.shift, 1 - _MARGIN)

    def add(self, hits: int, n: int) -> bool:
        """Takes in a sample of `n` with `hits`; whether there is alarm."""
        ratio = hits * math.log(self._risen / self.level) + (n - hits) * math.log((1 - self._risen) / (1 - self.level))
        self.total = max(0.0, self.total + ratio)
        return self.total > math.log(FALSE_ALARM_CHECKS)


@dataclass
class LeakAlarm:
    """Asks a blind listener about some of a step's traces, every so many steps.

    Attributes:
        blind: A listener that sees grey images.
        every_steps: How often.
        rollouts: How many traces are asked about; they are of different pairs as far as these reach.
        expected: The share of labels that a blind listener names when nothing leaks; None takes it from the first
            `REFERENCE_CHECKS` checks of the run.
    """

    blind: Listener
    every_steps: int
    rollouts: int = 64
    expected: float | None = None
    first_step: int | None = None
    """The step of the first alarm; None while there was none."""
    outages: int = 0
    _cusum: BinomialCusum | None = None
    _seen: list[tuple[int, int]] = field(default_factory=list)
    _last_step: int | None = None

    def watch(self, step: int, pairs: Sequence[Pair], traces: Sequence[str | None]) -> dict[str, float]:
        """What to log at this step: nothing where it is not asked, or the listener failed.

        Args:
            step: Of the optimiser; a step that comes in several calls is asked about once.
            pairs: One for each trace.
            traces: As the listener reads them; None for a malformed completion.

        Returns:
            `leak/blind_accuracy`, `leak/cusum` and `leak/alarm` (1 while the sum is above its threshold).
        """
        if step % self.every_steps or step == self._last_step:
            return {}
        rows = _spread([r for r, t in enumerate(traces) if t is not None and pairs[r].votes.majority], pairs)
        rows = rows[: self.rollouts]
        if not rows:
            return {}
        self._last_step = step
        try:
            p_first = ask(self.blind, [pairs[row] for row in rows], [traces[row] for row in rows])
        except ListenerUnavailable:
            self.outages += 1
            return {}
        label_first = np.array([pairs[row].votes.majority == "first" for row in rows])
        # A listener that cannot tell is right half of the time.
        share = float(np.mean(np.where(p_first == 0.5, 0.5, (p_first > 0.5) == label_first)))
        return {"leak/blind_accuracy": share, **self._judge(step, round(share * len(rows)), len(rows))}

    def _judge(self, step: int, hits: int, n: int) -> dict[str, float]:
        if self._cusum is None:
            if self.expected is None and len(self._seen) < REFERENCE_CHECKS:
                self._seen.append((hits, n))
                return {}
            level = self.expected
            if level is None:
                level = sum(h for h, _ in self._seen) / sum(k for _, k in self._seen)
            self._cusum = BinomialCusum(level)
        alarm = self._cusum.add(hits, n)
        if alarm and self.first_step is None:
            self.first_step = step
        return {"leak/cusum": self._cusum.total, "leak/alarm": float(alarm)}


def _spread(rows: Sequence[int], pairs: Sequence[Pair]) -> list[int]:
    """The rows with those of different pairs first: the first trace of every pair, then the second of every pair, …"""
    count: dict[str, int] = {}
    turn = []
    for row in rows:
        turn.append(count.get(pairs[row].id, 0))
        count[pairs[row].id] = turn[-1] + 1
    return [row for _, row in sorted(zip(turn, rows, strict=True), key=lambda entry: entry[0])]
