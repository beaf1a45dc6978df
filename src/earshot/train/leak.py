"""The leak alarm: does a listener that sees no image know the label from the trace?

An honest trace says what the images show, and a reader who believes it concludes rightly without looking; so the
share of labels that a blind listener names is above one half from the start. What tells of a leak is that it *rises*:
a policy that has found words that tell the side, whatever else it says, tells the blind listener just as well. The
alarm is therefore a cumulative sum for a rise over the level of the run's first checks.

The traces of one pair say much the same, so that a check is a sample of pairs: each counts with the mean of its traces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from earshot.errors import ConfigError, ListenerUnavailable
from earshot.listener import Listener, ask
from earshot.types import Pair

SHIFT = 0.1  # the rise that the sum is tuned to: larger ones are heard sooner, smaller ones later
FALSE_ALARM_CHECKS = 1000  # at the known level, checks between two false alarms on average, at least
REFERENCE_CHECKS = 10  # whose mean and standard error are the level
# A share of 0.6 where 0.5 is expected is heard after a median of 5 such samples (docs/experiments/attacks.md) [C].
ROLLOUTS = 64  # of a step that are asked about; they are of different pairs as far as these reach
_MARGIN = 0.01  # a level nearer to 0 or 1 has no likelihood to speak of


@dataclass
class BinomialCusum:
    """A one-sided cumulative sum for a rise in a share.

    The sum of the log-likelihood ratios of `level + shift` against `level`, never below 0; an alarm where it exceeds
    log(FALSE_ALARM_CHECKS). The mean time between false alarms is then at least FALSE_ALARM_CHECKS, whatever the size
    of the samples, if `level` is the true one. It holds for means of several hits as for single ones: the likelihood
    ratio is convex in the hit, so that its mean is at most that of a hit which is 0 or 1 with the same mean.

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

    def add(self, hits: float, n: int) -> bool:
        """Takes in a sample of `n`, each a number in [0, 1], whose sum is `hits`; whether there is alarm."""
        ratio = hits * math.log(self._risen / self.level) + (n - hits) * math.log((1 - self._risen) / (1 - self.level))
        self.total = max(0.0, self.total + ratio)
        return self.total > math.log(FALSE_ALARM_CHECKS)


@dataclass
class LeakAlarm:
    """Asks a blind listener about some of a step's traces, every so many steps.

    The share of labels that it names when nothing leaks is that of the first `REFERENCE_CHECKS` checks of the run and a
    standard error, without which one run in five that does not leak would be called leaking within two hundred checks.

    Attributes:
        blind: A listener that sees grey images.
        every_steps: How often.
    """

    blind: Listener
    every_steps: int
    _cusum: BinomialCusum | None = None
    _seen: list[tuple[float, int]] = field(default_factory=list)
    _last_step: int | None = None

    def watch(self, step: int, pairs: Sequence[Pair], traces: Sequence[str | None]) -> dict[str, float]:
        """What to log at this step: nothing where it is not asked, or the listener failed.

        Args:
            step: Of the optimiser; a step that comes in several calls is asked about once.
            pairs: One for each trace.
            traces: As the listener reads them; None for a malformed completion.

        Returns:
            `leak/blind_accuracy`, the mean over the `leak/pairs` that were asked about; once there is a level,
            `leak/cusum` and `leak/alarm` (1 while the sum is above its threshold).
        """
        if step % self.every_steps or step == self._last_step:
            return {}
        rows = _spread([r for r, t in enumerate(traces) if t is not None and pairs[r].votes.majority], pairs)
        rows = rows[:ROLLOUTS]
        if not rows:
            return {}
        self._last_step = step
        try:
            p_first = ask(self.blind, [pairs[row] for row in rows], [traces[row] for row in rows])
        except ListenerUnavailable:
            return {}
        label_first = np.array([pairs[row].votes.majority == "first" for row in rows])
        # A listener that cannot tell is right half of the time.
        right = np.where(p_first == 0.5, 0.5, (p_first > 0.5) == label_first)
        of_pair: dict[str, list[float]] = {}
        for row, hit in zip(rows, right.tolist(), strict=True):
            of_pair.setdefault(pairs[row].id, []).append(hit)
        return self.take_in(fmean(map(fmean, of_pair.values())), len(of_pair))

    def recall(self, log: Iterable[Mapping[str, Any]]) -> None:
        """Takes in again what a run that goes on had logged: a leak by then must not become the level.

        Args:
            log: The rows of `metrics.jsonl`.
        """
        for row in log:
            if "leak/pairs" in row:
                self.take_in(row["leak/blind_accuracy"], round(row["leak/pairs"]))

    def take_in(self, share: float, n: int) -> dict[str, float]:
        """What to log of a check that named the label of a share of `n` pairs."""
        logged = {"leak/blind_accuracy": share, "leak/pairs": float(n)}
        if self._cusum is None:
            if len(self._seen) < REFERENCE_CHECKS:
                self._seen.append((share * n, n))
                return logged
            self._cusum = BinomialCusum(_level(self._seen))
        alarm = self._cusum.add(share * n, n)
        return logged | {"leak/cusum": self._cusum.total, "leak/alarm": float(alarm)}


def _level(seen: Sequence[tuple[float, int]]) -> float:
    """The share of hits, and a standard error more."""
    n = sum(k for _, k in seen)
    share = sum(hits for hits, _ in seen) / n
    return min(1.0, share + math.sqrt(share * (1 - share) / n))


def _spread(rows: Sequence[int], pairs: Sequence[Pair]) -> list[int]:
    """The rows with those of different pairs first: the first trace of every pair, then the second of every pair, …"""
    count: dict[str, int] = {}
    turn = []
    for row in rows:
        turn.append(count.get(pairs[row].id, 0))
        count[pairs[row].id] = turn[-1] + 1
    return [row for _, row in sorted(zip(turn, rows, strict=True), key=lambda entry: entry[0])]
