"""From the draws of a bootstrap to an interval, four ways. Which one is the default was measured: docs/statistics.md.

Axes: c clusters, r resamples.
"""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from scipy import special, stats

Method: TypeAlias = Literal["percentile", "expanded", "bca", "studentised"]
Interval: TypeAlias = tuple[float | None, float | None]

NO_INTERVAL: Interval = (None, None)


def percentile_interval(draws: Float[np.ndarray, " r"], level: float) -> Interval:
    """The middle `level` of the draws; NaN draws, in which nothing was observed, are left out.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    return _quantiles(draws, (1 - level) / 2, (1 + level) / 2)


def expanded_interval(draws: Float[np.ndarray, " r"], level: float, n_clusters: int) -> Interval:
    """A percentile interval at a wider level, as wide as Student's t would be with as many clusters.

    A plain one is too narrow by √((c-1)/c), and takes the normal's quantiles where the spread is estimated too. It
    stays in the range of the quantity, and with two clusters it is all that was drawn.

    Source: Hesterberg 2015 (The American Statistician 69), section 3.3.
    """
    t = stats.t.ppf((1 + level) / 2, n_clusters - 1)
    tail = float(special.ndtr(-np.sqrt(n_clusters / (n_clusters - 1)) * t))
    return _quantiles(draws, tail, 1 - tail)


def bca_interval(
    draws: Float[np.ndarray, " r"], value: float, leave_one_out: Float[np.ndarray, " c"], level: float
) -> Interval:
    """Bias-corrected and accelerated: percentiles moved for the draws' bias and for a spread that grows with the value.

    Args:
        draws: The quantity in each resample.
        value: The quantity itself.
        leave_one_out: The quantity without each of the clusters.
        level: Nominal coverage, in (0, 1).

    Source: Efron 1987 (JASA 82); Efron and Tibshirani 1993, equations 14.10, 14.14 and 14.15.
    """
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return NO_INTERVAL
    below = (np.count_nonzero(draws < value) + np.count_nonzero(draws == value) / 2) / len(draws)
    if below in (0.0, 1.0):
        return NO_INTERVAL  # the value lies outside all draws: no percentile of them stands for it
    bias = special.ndtri(below)
    gaps = np.nanmean(leave_one_out) - leave_one_out[~np.isnan(leave_one_out)]
    spread = (gaps**2).sum()
    acceleration = 0.0 if spread == 0 else (gaps**3).sum() / (6 * spread**1.5)
    z = bias + special.ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = special.ndtr(bias + z / (1 - acceleration * z))
    return _quantiles(draws, float(low), float(high))


def studentised_interval(
    draws: Float[np.ndarray, " r"], errors: Float[np.ndarray, " r"], value: float, error: float, level: float
) -> Interval:
    """Bootstrap-t: quantiles of (draw - value) / its own standard error, in place of Student's.

    A resample in which all clusters say the same has no error to divide by and counts as infinitely far away; where
    that makes a limit infinite, there is no interval.

    Args:
        draws: The quantity in each resample.
        errors: Its standard error in each resample.
        value: The quantity itself.
        error: Its standard error.
        level: Nominal coverage, in (0, 1).

    Source: Efron and Tibshirani 1993, section 12.5.
    """
    gaps = draws - value
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.abs(gaps) <= 1e-12 * max(1.0, abs(value)), 0.0, gaps / errors)
    t = np.sort(t[~np.isnan(t)])
    if t.size == 0:
        return NO_INTERVAL
    # No interpolation towards an infinite neighbour.
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    if not (np.isfinite(low) and np.isfinite(high)):
        return NO_INTERVAL
    return float(value - high * error), float(value - low * error)


def _quantiles(draws: Float[np.ndarray, " r"], low: float, high: float) -> Interval:
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return NO_INTERVAL
    a, b = np.quantile(draws, [low, high])
    return float(a), float(b)
