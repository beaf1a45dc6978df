"""The bootstrap over clusters: as many as there are, drawn with replacement, their totals added up.

A hundred thousand pairs cost one matrix product per chunk of resamples, and any number of quantities share the same
draws. `scipy.stats.bootstrap` draws observations, not clusters, and holds all of them; on independent observations
the intervals here agree with its.

Axes: n observations, c clusters, k columns of totals, r resamples, b resamples at a time.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Int

from earshot.errors import DataError
from earshot.stats.intervals import NO_INTERVAL, expanded_interval
from earshot.stats.totals import Statistic, mean_statistic
from earshot.types import Estimate

RESAMPLES = 10_000
# Draws held at once: 2**20 indices and their counts are about 25 MB, whatever the number of clusters.
CHUNK_CELLS = 2**20

Key = TypeVar("Key", bound=Hashable)


def multiplicities(c: int, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "b c"]]:
    """How often each of c clusters was drawn, for some resamples at a time; the same seed gives the same draws.

    Raises:
        DataError: There is no cluster, or no resample was asked for.
    """
    if c == 0 or resamples < 1:
        raise DataError(f"a bootstrap needs a cluster and a resample; got {c} clusters and {resamples} resamples")
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // c)
    for start in range(0, resamples, chunk):
        b = min(chunk, resamples - start)
        drawn = rng.integers(0, c, size=(b, c))
        drawn += np.arange(b)[:, None] * c
        yield np.bincount(drawn.ravel(), minlength=b * c).reshape(b, c).astype(np.float64)


def resampled_totals(
    rows: Float[np.ndarray, "c k"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "r k"]:
    """Totals of `resamples` draws of c clusters with replacement; the same seed gives the same draws."""
    return np.concatenate([times @ rows for times in multiplicities(len(rows), resamples, seed)])


def resampled_together(
    rows: Mapping[Key, Float[np.ndarray, "c _"]], *, resamples: int, seed: int
) -> dict[Key, Float[np.ndarray, "r _"]]:
    """The totals of all rows in the same draws, by one matrix product per chunk of resamples."""
    if not rows:
        return {}
    ends = np.cumsum([r.shape[1] for r in rows.values()])
    drawn = resampled_totals(np.concatenate(list(rows.values()), axis=1), resamples=resamples, seed=seed)
    return dict(zip(rows, np.split(drawn, ends[:-1], axis=1), strict=True))


def bootstrap(
    statistics: Mapping[str, Statistic],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Every statistic with its 95 % interval, all on the same resamples of the same clusters.

    A statistic without observations is missing. One that was observed in a single cluster has a value and no
    interval: one prompt says nothing of how prompts differ.

    Args:
        statistics: By name; all tell their totals over the same clusters.
        resamples: Draws of the clusters.
        seed: Of the draws.

    Raises:
        DataError: The statistics do not cover the same clusters.
    """
    if len({len(s.totals) for s in statistics.values()}) > 1:
        raise DataError("statistics of different numbers of clusters cannot share a bootstrap; pass the same clusters")
    rows = {name: s.rows() for name, s in statistics.items()}
    seen = {name: int(np.count_nonzero(r[:, -1])) for name, r in rows.items()}
    rows = {name: r for name, r in rows.items() if seen[name] > 1}
    # By the identity of the rows: they are drawn once however many statistics are made of them.
    drawn = resampled_together({id(r): r for r in rows.values()}, resamples=resamples, seed=seed)
    intervals = {
        name: expanded_interval(statistics[name].combine(drawn[id(r)]), seen[name]) for name, r in rows.items()
    }
    return {name: _estimate(s, *intervals.get(name, NO_INTERVAL)) for name, s in statistics.items()}


def _estimate(statistic: Statistic, low: float | None, high: float | None) -> Estimate:
    # NaN is a quantity that needs more than there is, such as a correlation within prompts of one pair each.
    if statistic.n == 0 or np.isnan(value := statistic.value()):
        return Estimate.missing()
    return Estimate(value, low, high, statistic.n)


def bootstrap_mean(
    values: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """A mean over observations and its interval from a bootstrap that resamples clusters.

    Args:
        values: One per observation, finite.
        clusters: The number of each observation's prompt (`cluster_codes`).
        resamples: Draws of the clusters.
        seed: Of the draws.

    Returns:
        `Estimate.missing()` without observations; `low` and `high` are None where there is one cluster only.
    """
    if values.size == 0:
        return Estimate.missing()
    statistic = mean_statistic(values, clusters, int(clusters.max()) + 1)
    return bootstrap({"mean": statistic}, resamples=resamples, seed=seed)["mean"]
