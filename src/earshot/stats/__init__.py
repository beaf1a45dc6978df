"""Estimates with intervals: a bootstrap that resamples prompts, because pairs of one prompt are not independent.

A quantity is a `Statistic`: a row of totals per cluster (a cluster is a prompt) and what to make of the rows added up.
`bootstrap` gives any number of them their intervals on the same resamples, `difference` pairs two of them, and
`contrasts` takes several seeds.
"""

from earshot.stats.comparisons import Contrast, contrasts, holm, log_ratio, logarithm, simultaneous_level
from earshot.stats.intervals import LEVEL
from earshot.stats.resampling import (
    RESAMPLES,
    bootstrap,
    bootstrap_mean,
    resampled_totals,
)
from earshot.stats.totals import (
    Statistic,
    cluster_codes,
    cluster_totals,
    difference,
    macro_statistic,
    mean_statistic,
    ratio_of_totals,
)

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Contrast",
    "Statistic",
    "bootstrap",
    "bootstrap_mean",
    "cluster_codes",
    "cluster_totals",
    "contrasts",
    "difference",
    "holm",
    "log_ratio",
    "logarithm",
    "macro_statistic",
    "mean_statistic",
    "ratio_of_totals",
    "resampled_totals",
    "simultaneous_level",
]
