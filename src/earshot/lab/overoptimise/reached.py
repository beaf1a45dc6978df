"""How far a choice went from the generator, and what it gained: by the reward and by the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from earshot.predictions.overoptimised import Point
from earshot.stats import Statistic, bootstrap, difference, ratio_of_totals
from earshot.types import Estimate


class Reached(NamedTuple):
    """What one judge's choice comes to under one pressure, a value for each of p prompts.

    Attributes:
        pressure: The n of best-of-n, or the coefficient of a policy's KL.
        kl: How many nats from the generator.
        reward: The judge's own score of what is chosen; NaN where it has none.
        gold: What it is worth to the raters.
        attainable: What could be had at the same KL by somebody who knows what it is worth.
        start: What the generator's pictures are worth in the mean.
    """

    pressure: float
    kl: Float[np.ndarray, " p"]
    reward: Float[np.ndarray, " p"]
    gold: Float[np.ndarray, " p"]
    attainable: Float[np.ndarray, " p"]
    start: Float[np.ndarray, " p"]

    def statistics(self) -> dict[str, Statistic]:
        """Means over prompts, and `captured`, the ratio of what was gained to what could be, in totals over prompts."""
        known = ~np.isnan(self.reward)
        n = len(self.gold)
        every = np.ones(n, dtype=bool)
        return {
            "kl": _mean(self.kl, every),
            "reward": _mean(np.where(known, self.reward, 0.0), known),
            "gold": _mean(self.gold, every),
            # Where nothing was left, nothing could be had, and rounding is all that is between the two.
            "captured": _ratio(self.gold - self.start, np.where(self.kl > 0, self.attainable - self.start, 0.0), n),
        }


def points(reached: Sequence[Reached], *, resamples: int = 10_000, seed: int = 0) -> list[Point]:
    """One for each pressure, all on the same draws of the prompts."""
    told = [bootstrap(one.statistics(), resamples=resamples, seed=seed) for one in reached]
    return [Point(one.pressure, **made) for one, made in zip(reached, told, strict=True)]


def best(reached: Sequence[Reached]) -> int:
    """The place of the pressure under which the mean gold is highest; of equals the lightest, which comes first."""
    return int(np.argmax([one.gold.mean().round(9) for one in reached]))


def gained(
    one: Reached, other: Reached, what: Literal["gold", "captured"], *, resamples: int = 10_000, seed: int = 0
) -> Estimate:
    """How much more the first of two has of it, on the same prompts."""
    a, b = one.statistics()[what], other.statistics()[what]
    return bootstrap({what: difference(a, b)}, resamples=resamples, seed=seed)[what]


def _mean(values: Float[np.ndarray, " p"], known: Bool[np.ndarray, " p"]) -> Statistic:
    return _ratio(values, known.astype(np.float64), int(known.sum()))


def _ratio(above: Float[np.ndarray, " p"], below: Float[np.ndarray, " p"], n: int) -> Statistic:
    return Statistic(np.stack([above, below], axis=1), ratio_of_totals, n)
