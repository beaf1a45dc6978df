"""From the draws of a bootstrap to an interval; why in this way of four, docs/decisions/intervals.md.

Axes: r resamples.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy import special, stats

Interval: TypeAlias = tuple[float | None, float | None]

NO_INTERVAL: Interval = (None, None)
LEVEL = 0.95


def expanded_interval(draws: Float[np.ndarray, " r"], n_clusters: int) -> Interval:
    """A 95 % percentile interval at a wider level, as wide as Student's t would be with as many clusters.

    A plain one is too narrow by √((c-1)/c), and takes the normal's quantiles where the spread is estimated too. It
    stays in the range of the quantity, and with two clusters it is all that was drawn. NaN draws, in which nothing was
    observed, are left out.

    Source: Hesterberg 2015 (The American Statistician 69), section 3.3.
    """
    t = stats.t.ppf((1 + LEVEL) / 2, n_clusters - 1)
    tail = float(special.ndtr(-np.sqrt(n_clusters / (n_clusters - 1)) * t))
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return NO_INTERVAL
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
