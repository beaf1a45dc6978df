"""Many quantities of runs that share their prompts, and what is left of their p-values when so many are looked at.

A quantity is a list of statistics, one a seed: of one method, or of the difference of two methods that share a seed's
data and random numbers (`difference`, `log_ratio`). Its mean over seeds gets the spread of `earshot.stats.seeds`, all
quantities on the same resamples of the prompts.

Axes: c clusters (prompts), s seeds, k columns of totals, r resamples, m quantities.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float
from scipy import stats

from earshot.errors import DataError
from earshot.stats.intervals import LEVEL
from earshot.stats.resampling import multiplicities
from earshot.stats.seeds import Spread, spread_of_runs
from earshot.stats.totals import Statistic
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
    quantities: Mapping[Key, Sequence[Statistic]], *, resamples: int = SPREAD_RESAMPLES, seed: int = 0
) -> dict[Key, Contrast]:
    """Every quantity's mean over its seeds with its spread, all on the same resamples of the same clusters.

    Args:
        quantities: By name, a statistic a seed; all over the same clusters.
        resamples: Draws of the clusters.
        seed: Of the draws.

    Raises:
        DataError: A quantity has no seed, or the clusters differ.
    """
    if empty := [key for key, runs in quantities.items() if not runs]:
        raise DataError(f"{empty[0]}: no seeds, expected at least one run")
    counts = {len(s.totals) for runs in quantities.values() for s in runs}
    if len(counts) > 1:
        raise DataError(f"quantities over {sorted(counts)} clusters, expected the same; number all prompts together")
    found: dict[Key, Contrast] = {}
    part: dict[Key, Sequence[Statistic]] = {}
    width = 0
    for key, runs in quantities.items():
        part[key] = runs
        width += sum(s.totals.shape[1] for s in runs)
        if width >= COLUMNS_AT_ONCE:
            found |= _contrasts(part, resamples, seed)
            part, width = {}, 0
    return found | _contrasts(part, resamples, seed)


def _contrasts(quantities: Mapping[Key, Sequence[Statistic]], resamples: int, seed: int) -> dict[Key, Contrast]:
    rows = {key: [s.rows() for s in runs] for key, runs in quantities.items()}
    several = [key for key, runs in quantities.items() if len(runs) > 1 and _prompts(rows[key]) > 1]
    drawn = _drawn(several, rows, resamples, seed)
    out = {}
    for key, runs in quantities.items():
        n, c = min(s.n for s in runs), _prompts(rows[key])
        values = np.array([s.value() for s in runs])
        known = n > 0 and bool(np.isfinite(values).all())
        spread = None
        if known and key in drawn:
            pairs = zip(runs, drawn[key], strict=True)
            spread = spread_of_runs([runs], [np.stack([s.combine(d) for s, d in pairs], axis=1)], c)
        out[key] = Contrast(float(values.mean()) if known else None, n if known else 0, len(runs), c, spread)
    return out


def _prompts(rows: Sequence[Float[np.ndarray, "c _"]]) -> int:
    return int(np.count_nonzero(rows[0][:, -1]))


def _drawn(
    keys: Sequence[Key], rows: Mapping[Key, Sequence[np.ndarray]], resamples: int, seed: int
) -> dict[Key, list[Float[np.ndarray, "r _"]]]:
    """The resampled totals of each seed of each quantity: one matrix product per chunk of resamples for them all."""
    flat = [one for key in keys for one in rows[key]]
    if not flat:
        return {}
    side_by_side = np.concatenate(flat, axis=1)
    totals = np.concatenate([times @ side_by_side for times in multiplicities(len(side_by_side), resamples, seed)])
    ends = np.cumsum([one.shape[1] for one in flat])[:-1]
    parts = iter(np.split(totals, ends, axis=1))
    return {key: [next(parts) for _ in rows[key]] for key in keys}


def log_ratio(a: Statistic, b: Statistic) -> Statistic:
    """The natural logarithm of `a / b` of two quantities on the same clusters, such as two rates.

    A relative difference of -30 % is log 0.7. NaN where either is not above 0. `n` is that of the one which rests on
    less.

    Raises:
        DataError: They do not cover the same number of clusters.
    """
    rows_a, rows_b = a.rows(), b.rows()
    if len(rows_a) != len(rows_b):
        raise DataError(f"a ratio of statistics over {len(rows_a)} and {len(rows_b)} clusters, expected the same ones")
    k = rows_a.shape[1]

    def combine(totals: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
        above, below = a.combine(totals[:, :k]), b.combine(totals[:, k:-1])
        known = (above > 0) & (below > 0)
        return np.log(np.where(known, above, np.nan)) - np.log(np.where(known, below, np.nan))

    weight = np.minimum(rows_a[:, -1:], rows_b[:, -1:])
    return Statistic(np.concatenate([rows_a, rows_b, weight], axis=1), combine, min(a.n, b.n))


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
