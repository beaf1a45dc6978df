"""Many quantities of runs that share their prompts, and what is left of their p-values when so many are looked at.

A quantity is a list of statistics, one a seed: of one method, or of the difference of two methods that share a seed's
data and random numbers (`difference`, `log_ratio`); where they share none, it is held against another list. Its mean
over seeds gets the spread of `earshot.stats.seeds`, all quantities on the same resamples of the prompts.

Axes: c clusters (prompts), s seeds, k columns of totals, r resamples, m quantities.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float
from scipy import stats

from earshot.errors import DataError
from earshot.stats.intervals import LEVEL
from earshot.stats.resampling import resampled_together
from earshot.stats.seeds import Spread, spread_of_runs
from earshot.stats.totals import Statistic, difference
from earshot.types import Estimate

# Only the draws' variance is used: 2,000 of them tell a standard error to within 1.6 %.
SPREAD_RESAMPLES = 2_000
# A resample's totals of this many columns are held at once: with 2,000 resamples, 130 MB.
COLUMNS_AT_ONCE = 8192

Key = TypeVar("Key", bound=Hashable)


class Contrast(NamedTuple):
    """A mean over seeds, and how sure it is."""

    value: float | None
    """None without observations."""
    n: int
    """Observations of the seed that has the fewest."""
    seeds: int
    """Of the method itself."""
    prompts: int
    """Clusters with observations."""
    spread: Spread | None
    """None with one seed or one prompt, which say nothing of others."""

    def estimate(self, level: float = LEVEL) -> Estimate:
        """With the interval value ± t standard errors."""
        if self.value is None or self.spread is None:
            return Estimate(self.value, None, None, self.n)
        half = self.spread.error * float(stats.t.ppf((1 + level) / 2, self.spread.df))
        return Estimate(self.value, self.value - half, self.value + half, self.n)

    @property
    def p_value(self) -> float | None:
        """Two-sided, that the truth is 0; None where the spread is not known."""
        if self.value is None or self.spread is None:
            return None
        if self.spread.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.value) / self.spread.error, self.spread.df))


def contrasts(
    quantities: Mapping[Key, Sequence[Statistic]],
    against: Mapping[Key, Sequence[Statistic]] | None = None,
    *,
    resamples: int = SPREAD_RESAMPLES,
    seed: int = 0,
) -> dict[Key, Contrast]:
    """Every quantity's mean over its seeds with its spread, all on the same resamples of the same clusters.

    Args:
        quantities: By name, a statistic a seed; all over the same clusters.
        against: By the same names, what each is minus: the statistics of another method's seeds. The prompts are
            paired; the seeds are not.
        resamples: Draws of the clusters.
        seed: Of the draws.

    Raises:
        DataError: A quantity has no seed, or the clusters differ.
    """
    groups = {key: [runs] if against is None else [runs, against[key]] for key, runs in quantities.items()}
    if empty := [key for key, sides in groups.items() if not all(sides)]:
        raise DataError(f"{empty[0]}: no seeds, expected at least one run")
    counts = {len(s.totals) for sides in groups.values() for runs in sides for s in runs}
    if len(counts) > 1:
        raise DataError(f"quantities over {sorted(counts)} clusters, expected the same; number all prompts together")
    found: dict[Key, Contrast] = {}
    part: dict[Key, Sequence[Sequence[Statistic]]] = {}
    width = 0
    for key, sides in groups.items():
        part[key] = sides
        width += sum(s.totals.shape[1] for runs in sides for s in runs)
        if width >= COLUMNS_AT_ONCE:
            found |= _contrasts(part, resamples, seed)
            part, width = {}, 0
    return found | _contrasts(part, resamples, seed)


def _contrasts(groups: Mapping[Key, Sequence[Sequence[Statistic]]], resamples: int, seed: int) -> dict[Key, Contrast]:
    rows = {
        (key, side, i): s.rows()
        for key, sides in groups.items()
        for side, runs in enumerate(sides)
        for i, s in enumerate(runs)
    }
    prompts = {key: int(np.count_nonzero(rows[key, 0, 0][:, -1])) for key in groups}
    several = {key for key, sides in groups.items() if prompts[key] > 1 and all(len(runs) > 1 for runs in sides)}
    drawn = resampled_together({at: r for at, r in rows.items() if at[0] in several}, resamples=resamples, seed=seed)
    out = {}
    for key, sides in groups.items():
        n, c = min(s.n for runs in sides for s in runs), prompts[key]
        means = [float(np.mean([s.value() for s in runs])) for runs in sides]
        value = means[0] - sum(means[1:])
        known = n > 0 and math.isfinite(value)
        spread = None
        if known and key in several:
            values = [
                np.stack([s.combine(drawn[key, side, i]) for i, s in enumerate(runs)], axis=1)
                for side, runs in enumerate(sides)
            ]
            spread = spread_of_runs(sides, values, c)
        out[key] = Contrast(value if known else None, n if known else 0, len(sides[0]), c, spread)
    return out


def logarithm(a: Statistic) -> Statistic:
    """The natural logarithm of a quantity, such as a rate; NaN where it is not above 0."""

    def combine(totals: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
        value = a.combine(totals)
        return np.log(np.where(value > 0, value, np.nan))

    return Statistic(a.rows(), combine, a.n)


def log_ratio(a: Statistic, b: Statistic) -> Statistic:
    """The natural logarithm of `a / b` of two quantities on the same clusters, such as two rates.

    A relative difference of -30 % is log 0.7. NaN where either is not above 0. `n` is that of the one which rests on
    less.

    Raises:
        DataError: They do not cover the same number of clusters.
    """
    return difference(logarithm(a), logarithm(b))


def holm(p_values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """p-values adjusted for their number: below α, none of them is a chance finding but with probability α.

    It holds whatever the dependence between the comparisons, such as arms that share a reference.

    Source: Holm 1979 (Scandinavian Journal of Statistics 6).
    """
    m, order = len(p_values), np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(m, 0, -1)
    adjusted = np.empty(m)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def simultaneous_level(m: int, level: float = LEVEL) -> float:
    """The level of each of m intervals that all hold together with probability `level`: Bonferroni's 1 - (1 - level)/m.

    Raises:
        DataError: There is no interval.
    """
    if m < 1:
        raise DataError(f"simultaneous intervals of {m} quantities, expected at least one")
    return 1 - (1 - level) / m
