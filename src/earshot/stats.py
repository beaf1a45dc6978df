"""Estimates with intervals: a bootstrap that resamples prompts, because pairs of one prompt are not independent.

A quantity is told as one row per cluster (a cluster is a prompt) of totals: for a mean, the sum of its values and how
many there are. A resample draws as many clusters as there are, with replacement; its totals are the drawn rows added
up, so that a hundred thousand pairs cost one matrix product per chunk of resamples, and any number of quantities
share the same draws. Intervals are percentile intervals (Efron and Tibshirani 1993, chapter 13).

Axes: n observations, c clusters, k columns of totals, r resamples.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.errors import DataError
from earshot.types import Estimate

RESAMPLES = 10_000
LEVEL = 0.95
# Draws held at once: 2**20 indices and their counts are about 25 MB, whatever the number of clusters.
CHUNK_CELLS = 2**20


class Statistic(NamedTuple):
    """A quantity that a resample of clusters gives another value of.

    Attributes:
        totals: One row per cluster, additive over clusters. The last column is the weight: a cluster without
            observations of this quantity has 0 there.
        combine: The quantity from added-up totals, one value per row.
        n: How many observations the quantity rests on.
    """

    totals: Float[np.ndarray, "c k"]
    combine: Callable[[Float[np.ndarray, "r k"]], Float[np.ndarray, " r"]]
    n: int


def ratio_of_totals(totals: Float[np.ndarray, "r 2"]) -> Float[np.ndarray, " r"]:
    """First column over second; NaN where the second is 0."""
    out = np.full(len(totals), np.nan)
    return np.divide(totals[:, 0], totals[:, 1], out=out, where=totals[:, 1] > 0)


def cluster_codes(names: Iterable[str]) -> Int[np.ndarray, " n"]:
    """A number per name, the same for equal names, counted up from 0 in order of first sight."""
    seen: dict[str, int] = {}
    return np.fromiter((seen.setdefault(name, len(seen)) for name in names), dtype=np.int64)


def cluster_totals(
    columns: Float[np.ndarray, "n k"], clusters: Int[np.ndarray, " n"], n_clusters: int
) -> Float[np.ndarray, "c k"]:
    """Columns added up within each cluster.

    Raises:
        DataError: A value is not finite, or a cluster's number is outside 0 .. n_clusters - 1.
    """
    if not np.isfinite(columns).all():
        raise DataError("a statistic was given NaN or infinity, expected finite values; leave out what is missing")
    if clusters.size and (clusters.min() < 0 or clusters.max() >= n_clusters):
        raise DataError(
            f"cluster numbers run from {clusters.min()} to {clusters.max()}, expected 0 to {n_clusters - 1}"
        )
    sums = [np.bincount(clusters, weights=column, minlength=n_clusters) for column in columns.T]
    return np.stack(sums, axis=1).astype(np.float64)  # bincount of nothing counts in integers


def mean_statistic(values: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], n_clusters: int) -> Statistic:
    """The micro mean, in which every observation weighs the same: a ratio of sums."""
    columns = np.stack([values, np.ones_like(values)], axis=1)
    return Statistic(cluster_totals(columns, clusters, n_clusters), ratio_of_totals, len(values))


def macro_statistic(values: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], n_clusters: int) -> Statistic:
    """The mean of the clusters' means, in which every prompt weighs the same; its `n` counts prompts."""
    sums, counts = mean_statistic(values, clusters, n_clusters).totals.T
    observed = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=observed)
    return Statistic(np.stack([means, observed.astype(np.float64)], axis=1), ratio_of_totals, int(observed.sum()))


def resampled_totals(
    totals: Float[np.ndarray, "c k"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "r k"]:
    """Totals of `resamples` draws of c clusters with replacement; the same seed gives the same draws."""
    c = len(totals)
    if c == 0 or resamples < 1:
        raise DataError(f"a bootstrap needs a cluster and a resample; got {c} clusters and {resamples} resamples")
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // c)
    out = np.empty((resamples, totals.shape[1]))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, c, size=(rows, c))
        drawn += np.arange(rows)[:, None] * c
        times = np.bincount(drawn.ravel(), minlength=rows * c).reshape(rows, c)
        out[start : start + rows] = times.astype(np.float64) @ totals
    return out


def percentile_interval(draws: Float[np.ndarray, " r"], level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of the draws; NaN draws, in which nothing was observed, are left out."""
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(
    statistics: Mapping[str, Statistic], *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, Estimate]:
    """Every statistic with its interval, all on the same resamples of the same clusters.

    A statistic without observations is missing. One that was observed in a single cluster has a value and no
    interval: one prompt says nothing of how prompts differ.

    Args:
        statistics: By name; all tell their totals over the same clusters.
        resamples: Draws of the clusters.
        seed: Of the draws.
        level: Nominal coverage of the interval, in (0, 1).

    Raises:
        DataError: The statistics do not cover the same clusters.
    """
    if len({len(s.totals) for s in statistics.values()}) > 1:
        raise DataError("statistics of different numbers of clusters cannot share a bootstrap; pass the same clusters")
    drawable = [name for name, s in statistics.items() if np.count_nonzero(s.totals[:, -1]) > 1]
    draws: dict[str, np.ndarray] = {}
    if drawable:
        stacked = np.concatenate([statistics[name].totals for name in drawable], axis=1)
        ends = np.cumsum([statistics[name].totals.shape[1] for name in drawable])
        parts = np.split(resampled_totals(stacked, resamples=resamples, seed=seed), ends[:-1], axis=1)
        draws = {name: statistics[name].combine(part) for name, part in zip(drawable, parts, strict=True)}
    return {name: _estimate(s, draws.get(name), level) for name, s in statistics.items()}


def _estimate(statistic: Statistic, draws: Float[np.ndarray, " r"] | None, level: float) -> Estimate:
    if statistic.n == 0:
        return Estimate.missing()
    value = float(statistic.combine(statistic.totals.sum(axis=0, keepdims=True))[0])
    low, high = (None, None) if draws is None else percentile_interval(draws, level)
    return Estimate(value, low, high, statistic.n)


def bootstrap_mean(
    values: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    *,
    macro: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """A mean and its interval from a bootstrap that resamples clusters.

    Args:
        values: One per observation, finite.
        clusters: The number of each observation's prompt (`cluster_codes`).
        macro: Average the clusters' means instead of the observations; `n` then counts clusters.
        resamples: Draws of the clusters.
        seed: Of the draws.
        level: Nominal coverage, in (0, 1).

    Returns:
        `Estimate.missing()` without observations; `low` and `high` are None where there is one cluster only.
    """
    if values.size == 0:
        return Estimate.missing()
    build = macro_statistic if macro else mean_statistic
    statistic = build(values, clusters, int(clusters.max()) + 1)
    return bootstrap({"mean": statistic}, resamples=resamples, seed=seed, level=level)["mean"]


def paired_difference(
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    *,
    macro: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Estimate:
    """Mean of `a - b` over the same pairs; what the pairs share cancels, so the interval is narrower than two apart."""
    return bootstrap_mean(a - b, clusters, macro=macro, resamples=resamples, seed=seed, level=level)
