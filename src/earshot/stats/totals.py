"""Quantities told as totals per cluster, which add up over resamples of the clusters.

Axes: n observations, c clusters, k columns of totals, r rows of added-up totals (resamples).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.errors import DataError


class Statistic(NamedTuple):
    """A quantity that a resample of clusters gives another value of.

    Attributes:
        totals: One row per cluster, additive over the observations of a cluster. The last column is the weight: a
            cluster without observations of this quantity has 0 there.
        combine: The quantity from added-up rows, one value per row.
        n: How many observations the quantity rests on; the sum of the weights.
        per_cluster: What to make of every cluster's own totals before they are added up over clusters, such as their
            means; the result's last column is the weight. None where the totals themselves are added up.
    """

    totals: Float[np.ndarray, "c k"]
    combine: Callable[[Float[np.ndarray, "r k"]], Float[np.ndarray, " r"]]
    n: int
    per_cluster: Callable[[Float[np.ndarray, "c k"]], Float[np.ndarray, "c j"]] | None = None

    def rows(self) -> Float[np.ndarray, "c j"]:
        """What is added up over clusters, and so what a bootstrap resamples."""
        return self.totals if self.per_cluster is None else self.per_cluster(self.totals)

    def value(self) -> float:
        """The quantity over all clusters; NaN without observations."""
        return float(self.combine(self.rows().sum(axis=0, keepdims=True))[0])


def ratio_of_totals(totals: Float[np.ndarray, "r 2"]) -> Float[np.ndarray, " r"]:
    """First column over second; NaN where the second is 0."""
    return divided(totals[:, 0], totals[:, 1])


def divided(above: Float[np.ndarray, " r"], below: Float[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
    """A quotient that is NaN where nothing was observed."""
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def cluster_codes(names: Iterable[str]) -> Int[np.ndarray, " n"]:
    """A number per name, the same for equal names, counted up from 0 in order of first sight."""
    seen: dict[str, int] = {}
    return np.fromiter((seen.setdefault(name, len(seen)) for name in names), dtype=np.int64)


def cluster_totals(
    columns: Float[np.ndarray, "n k"], clusters: Int[np.ndarray, " n"], n_clusters: int
) -> Float[np.ndarray, "c k"]:
    """Columns added up within each cluster; refused as `cell_totals` does."""
    whole = np.zeros_like(clusters)
    return np.concatenate([cell_totals(column, clusters, whole, n_clusters, 1) for column in columns.T], axis=1)


def cell_totals(
    values: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    cells: Int[np.ndarray, " n"],
    n_clusters: int,
    n_cells: int,
) -> Float[np.ndarray, "c k"]:
    """Values added up within each cluster and cell (a bin), one column per cell.

    Raises:
        DataError: A value is not finite, or a cluster's number is outside 0 .. n_clusters - 1.
    """
    if not np.isfinite(values).all():
        raise DataError("a statistic was given NaN or infinity, expected finite values; leave out what is missing")
    if clusters.size and (clusters.min() < 0 or clusters.max() >= n_clusters):
        raise DataError(
            f"cluster numbers run from {clusters.min()} to {clusters.max()}, expected 0 to {n_clusters - 1}"
        )
    sums = np.bincount(clusters * n_cells + cells, weights=values, minlength=n_clusters * n_cells)
    return sums.reshape(n_clusters, n_cells).astype(np.float64)  # bincount of nothing counts in integers


def mean_statistic(values: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], n_clusters: int) -> Statistic:
    """The micro mean, in which every observation weighs the same: a ratio of sums."""
    columns = np.stack([values, np.ones_like(values)], axis=1)
    return Statistic(cluster_totals(columns, clusters, n_clusters), ratio_of_totals, len(values))


def macro_statistic(values: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], n_clusters: int) -> Statistic:
    """The mean of the clusters' means, in which every prompt weighs the same; its `n` counts prompts."""
    return macro_of_totals(mean_statistic(values, clusters, n_clusters).totals)


def macro_of_totals(totals: Float[np.ndarray, "c 2"]) -> Statistic:
    """The mean of the clusters' means, from each cluster's sum and count."""
    return Statistic(totals, ratio_of_totals, int(np.count_nonzero(totals[:, 1])), _mean_and_observed)


def _mean_and_observed(totals: Float[np.ndarray, "c 2"]) -> Float[np.ndarray, "c 2"]:
    observed = totals[:, 1] > 0
    means = np.divide(totals[:, 0], totals[:, 1], out=np.zeros(len(totals)), where=observed)
    return np.stack([means, observed.astype(np.float64)], axis=1)


def difference(a: Statistic, b: Statistic) -> Statistic:
    """`a - b` of any two quantities on the same clusters; what the clusters share cancels in every resample.

    `n` is that of the one which rests on less. The difference takes micro and macro, and any other statistic.

    Raises:
        DataError: They do not cover the same number of clusters.
    """
    rows_a, rows_b = a.rows(), b.rows()
    if len(rows_a) != len(rows_b):
        raise DataError(
            f"a difference of statistics over {len(rows_a)} and {len(rows_b)} clusters, expected the same clusters in "
            "both; number the prompts of both runs together"
        )
    k = rows_a.shape[1]
    weight = np.minimum(rows_a[:, -1:], rows_b[:, -1:])

    def combine(totals: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
        return a.combine(totals[:, :k]) - b.combine(totals[:, k:-1])

    return Statistic(np.concatenate([rows_a, rows_b, weight], axis=1), combine, min(a.n, b.n))
