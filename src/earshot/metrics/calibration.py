"""Whether a predicted probability is the share of people who prefer the first image.

Everything is against shares of votes, which lie in [0, 1], and holds for 0/1 outcomes too. Predictions fall into
equal bins; a bin's totals add up over prompts, so that all of this is bootstrapped like any mean.

Axes: n observations, c clusters (prompts), k columns of totals, r resamples.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.errors import DataError
from earshot.stats import RESAMPLES, Statistic, bootstrap, mean_statistic, ratio_of_totals
from earshot.stats.totals import cell_totals, cluster_totals, divided
from earshot.types import Estimate

# Guo et al. 2017 (ICML), who give 15 bins; an odd number keeps an even guess in the middle of a bin.
BINS = 15
# A probability nearer to 0 or 1 than this counts as this, or one certain mistake would make the mean infinite.
NLL_CLIP = 1e-6
# The parts of a Brier score: brier = reliability - resolution + uncertainty + within_variance - within_covariance.
BRIER_PARTS = ("reliability", "resolution", "uncertainty", "within_variance", "within_covariance")


class ReliabilityBin(NamedTuple):
    """One bin of a reliability diagram; on the diagonal, `mean_p` is `share.value`."""

    low: float
    high: float
    mean_p: float | None
    """Mean prediction of the bin's pairs; None where the bin is empty."""
    share: Estimate
    """Mean share of votes for the first image, with its interval over prompts; `n` counts pairs."""


def nll(p_first: Float[np.ndarray, " n"], share: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Cross-entropy of the votes' share under the prediction, in nats a pair."""
    p = np.clip(p_first, NLL_CLIP, 1 - NLL_CLIP)
    return -(share * np.log(p) + (1 - share) * np.log1p(-p))


def bin_of(p_first: Float[np.ndarray, " n"], bins: int = BINS) -> Int[np.ndarray, " n"]:
    """The bin of each prediction, of equal width; a prediction of 1 is in the last.

    Raises:
        DataError: A prediction is outside [0, 1] or NaN.
    """
    if not ((p_first >= 0) & (p_first <= 1)).all():
        raise DataError("calibration: a probability is outside [0, 1] or NaN; leave out what is missing")
    return np.minimum((p_first * bins).astype(np.int64), bins - 1)


def ece_statistic(
    p_first: Float[np.ndarray, " n"], share: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], n_clusters: int
) -> Statistic:
    """Expected calibration error against vote shares: the mean gap, by bin of p_first, weighted by the bins' sizes.

    It is never negative, so noise makes it too large, in a resample more than in the data: with few pairs a bin the
    interval lies above what a perfectly calibrated model would have, not around 0.

    Source: Guo et al. 2017, equation 3, with the share of votes in place of a 0/1 outcome.
    """
    cells = cell_totals(p_first - share, clusters, bin_of(p_first), n_clusters, BINS)
    counts = cluster_totals(np.ones((len(clusters), 1)), clusters, n_clusters)

    def combine(totals: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
        return divided(np.abs(totals[:, :-1]).sum(axis=1), totals[:, -1])

    return Statistic(np.concatenate([cells, counts], axis=1), combine, len(p_first))


def brier_part_statistics(
    p_first: Float[np.ndarray, " n"],
    share: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    n_clusters: int,
    *,
    bins: int = BINS,
) -> dict[str, Statistic]:
    """The parts of the Brier score by bins of the prediction, which add up to it exactly (signs: `BRIER_PARTS`).

    - `reliability`: squared gap between the bins' mean prediction and mean share; 0 is calibrated.
    - `resolution`: how far the bins' shares lie from the mean share; larger is better.
    - `uncertainty`: the variance of the shares, which no prediction changes.
    - `within_variance`, `within_covariance`: of the predictions, and twice that with the shares, inside the bins: what
      Murphy's three parts lose where a bin holds different predictions.

    Source: Murphy 1973 (Journal of Applied Meteorology 12); Stephenson, Coelho and Jolliffe 2008 (Weather and
        Forecasting 23), equation 4. For a share s the mean of s² takes the place of the mean of s, which are equal
        where s is 0 or 1.
    """
    cells = bin_of(p_first, bins)
    columns = [np.ones_like(p_first), p_first, share, p_first**2, p_first * share]
    parts = [cell_totals(column, clusters, cells, n_clusters, bins) for column in columns]
    parts.append(cluster_totals(np.stack([share**2, np.ones_like(share)], axis=1), clusters, n_clusters))
    totals = np.concatenate(parts, axis=1)

    def combine(part: str) -> Callable[[Float[np.ndarray, "r k"]], Float[np.ndarray, " r"]]:
        return lambda totals: _brier_parts(totals, bins)[part]

    return {part: Statistic(totals, combine(part), len(p_first)) for part in BRIER_PARTS}


def _brier_parts(totals: Float[np.ndarray, "r k"], bins: int) -> dict[str, Float[np.ndarray, " r"]]:
    n, p, o, pp, po = (totals[:, i * bins : (i + 1) * bins] for i in range(5))
    squares, weight = totals[:, -2], totals[:, -1]
    mean_p = np.divide(p, n, out=np.zeros_like(p), where=n > 0)
    mean_o = np.divide(o, n, out=np.zeros_like(o), where=n > 0)
    base = divided(o.sum(axis=1), weight)
    return {
        "reliability": divided((n * (mean_p - mean_o) ** 2).sum(axis=1), weight),
        "resolution": divided((n * (mean_o - base[:, None]) ** 2).sum(axis=1), weight),
        "uncertainty": divided(squares, weight) - base**2,
        "within_variance": divided((pp - p * mean_p).sum(axis=1), weight),
        "within_covariance": divided(2 * (po - p * mean_o).sum(axis=1), weight),
    }


def calibration_statistics(
    p_first: Float[np.ndarray, " n"], share: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], n_clusters: int
) -> dict[str, Statistic]:
    """`brier`, `nll`, `ece` and `brier.<part>`, by their names in metrics.json."""
    parts = brier_part_statistics(p_first, share, clusters, n_clusters)
    return {
        "brier": mean_statistic((p_first - share) ** 2, clusters, n_clusters),
        "ece": ece_statistic(p_first, share, clusters, n_clusters),
        "nll": mean_statistic(nll(p_first, share), clusters, n_clusters),
        **{f"brier.{name}": statistic for name, statistic in parts.items()},
    }


def reliability_bins(
    p_first: Float[np.ndarray, " n"],
    share: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    *,
    bins: int = BINS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[ReliabilityBin]:
    """The data of a reliability diagram: `bins` bins of equal width from 0 to 1, empty ones as well.

    Args:
        p_first: Predicted probability of the first image, finite.
        share: Share of votes for it.
        clusters: The number of each pair's prompt.
        bins: How many.
        resamples: Of the prompts, for the intervals of the shares.
        seed: Of the resamples.
    """
    c, cells = int(clusters.max(initial=-1)) + 1, bin_of(p_first, bins)
    columns = (p_first, share, np.ones_like(share))
    sums, shares, counts = (cell_totals(column, clusters, cells, c, bins) for column in columns)
    statistics = {
        str(b): Statistic(np.stack([shares[:, b], counts[:, b]], axis=1), ratio_of_totals, int(counts[:, b].sum()))
        for b in range(bins)
    }
    estimates = bootstrap(statistics, resamples=resamples, seed=seed)
    means = divided(sums.sum(axis=0), counts.sum(axis=0))
    return [
        ReliabilityBin(b / bins, (b + 1) / bins, None if np.isnan(p) else float(p), estimates[str(b)])
        for b, p in enumerate(means)
    ]
