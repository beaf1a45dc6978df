"""Several seeds of one run: intervals that hold for another seed and for other prompts, not for these alone.

Seeds and prompts are crossed: every seed's model judges every prompt. The variance of the mean over S seeds is put
together from three that can be seen:

    over prompts   the spread of the mean over seeds when prompts are resampled: prompts, and what is left to chance
    over seeds     the spread between the seeds' values, over S: seeds, and the same chance
    cells          the spread of each seed's gap to the mean when prompts are resampled, over S (S - 1): that chance

as prompts + (seeds - cells), so that chance counts once. Drawing seeds and prompts both (the pigeonhole bootstrap of
Owen and Eckles 2012, Annals of Applied Statistics 6) counts it three times: with three seeds its nominal 95 % covered
99.7 % in the simulation of docs/decisions/intervals.md.

`earshot.stats.comparisons` makes an interval of it, the value ± t standard errors, with Satterthwaite's degrees of
freedom for t, because the spread between three seeds is itself known to within a factor of two only.

Sources: Cameron, Gelbach and Miller 2011 (Journal of Business and Economic Statistics 29) for adding up the two ways of
clustering less their cells; Satterthwaite 1946 (Biometrics Bulletin 2).

Axes: s seeds, r resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from earshot.stats.totals import Statistic


class Spread(NamedTuple):
    """How far a mean over seeds may lie from the truth, put together from variances of that mean."""

    over_prompts: float
    """What resampling the prompts tells: prompts, and chance in the seeds' answers to them."""
    over_seeds: float
    """What the seeds differ by beyond that chance; at least 0."""
    over_seeds_unbounded: float
    """The same before it was kept from falling below 0: what may be averaged over several spreads."""
    chance: float
    """Chance in the seeds' answers to these prompts; a part of `over_prompts`."""
    df: float
    """Satterthwaite's degrees of freedom."""

    @property
    def error(self) -> float:
        """The standard error."""
        return float(np.sqrt(self.over_prompts + self.over_seeds))


def spread_of_runs(groups: Sequence[Sequence[Statistic]], drawn: Sequence[Float[np.ndarray, "r _"]], c: int) -> Spread:
    """The spread of the first group's mean over seeds, or of its difference to the second's.

    Args:
        groups: The statistics of each group's seeds, two or more seeds a group.
        drawn: The value of each group's seeds in each resample of the clusters, which all of them share.
        c: How many clusters hold observations, at least 2.
    """
    mean_drawn = drawn[0].mean(axis=1) - sum(d.mean(axis=1) for d in drawn[1:])
    # A bootstrap's variance is too small by (c - 1) / c.
    over_prompts = float(np.nanvar(mean_drawn)) * c / (c - 1)
    seeds = [_seed_variance(group, d, c) for group, d in zip(groups, drawn, strict=True)]
    over_seeds = sum(part.beyond_chance for part in seeds)
    squares = over_prompts**2 / (c - 1) + sum(part.between**2 / part.df for part in seeds)
    df = (over_prompts + over_seeds) ** 2 / squares if squares > 0 else c - 1
    # Chance is taken off a variance, for which the formula can give less than the smallest of its parts has.
    df = max(df, min(c - 1, *(part.df for part in seeds)))
    chance = sum(part.chance for part in seeds)
    return Spread(over_prompts, over_seeds, sum(part.between for part in seeds) - chance, chance, df)


class _SeedVariance(NamedTuple):
    between: float
    """Variance of the mean over seeds as their values tell it."""
    beyond_chance: float
    """What of it is not explained by chance in the seeds' answers to these prompts; at least 0."""
    chance: float
    df: int


def _seed_variance(group: Sequence[Statistic], drawn: Float[np.ndarray, "r s"], c: int) -> _SeedVariance:
    s = len(group)
    between = float(np.var([statistic.value() for statistic in group], ddof=1)) / s
    gaps = drawn - drawn.mean(axis=1, keepdims=True)
    chance = float(np.nanvar(gaps, axis=0).sum()) / (s - 1) / s * c / (c - 1)
    return _SeedVariance(between, max(0.0, between - chance), chance, s - 1)
