"""What is gained by answering only where the reasoner is sure: risk at every coverage.

Pairs are taken in order of confidence, |2 p_first - 1|. Pairs of equal confidence come in no order, so each of them
counts as their mean: curves do not depend on the order of the rows.

Axes: n observations, c clusters (prompts), g groups of equal confidence from high to low, r resamples.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special

from earshot.errors import DataError
from earshot.stats import Statistic
from earshot.stats.totals import cell_totals

# A statistic tells confidences apart to one part in this many, so that its totals are of one size in any set.
CONFIDENCE_STEPS = 200
COVERAGES = (0.5, 0.8)


class RiskCoverage(NamedTuple):
    """Points of the curve, one a distinct confidence, from the surest pairs alone to all of them."""

    coverage: Float[np.ndarray, " g"]
    """Share of the pairs answered, in (0, 1]."""
    risk: Float[np.ndarray, " g"]
    """Share of those answered that are wrong."""


def confidence_of(p_first: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How far a prediction is from an even guess, in [0, 1]; a pair without an answer has none."""
    return np.abs(2 * np.nan_to_num(p_first, nan=0.5) - 1)


def risk_coverage(confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> RiskCoverage:
    """The risk–coverage curve.

    Args:
        confidence: Larger is surer; only its order counts.
        right: Whether the answer was right.

    Raises:
        DataError: There are no pairs, or a confidence is NaN.

    Source: Geifman and El-Yaniv 2017 (NeurIPS).
    """
    if confidence.size == 0 or np.isnan(confidence).any():
        raise DataError("risk_coverage needs at least one pair and no NaN; a pair without an answer has confidence 0")
    _, group = np.unique(-confidence, return_inverse=True)
    n, wrong = np.bincount(group).astype(np.float64), np.bincount(group, weights=~right)
    answered = n.cumsum()
    return RiskCoverage(answered / answered[-1], wrong.cumsum() / answered)


def selective_statistics(
    confidence: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], n_clusters: int
) -> dict[str, Statistic]:
    """`aurc` and `selective_accuracy.<percent>`, with confidences in steps of 1/200.

    `aurc` is the area under the curve: the mean risk over all coverages 1/n, 2/n … 1. Lower is better.

    Args:
        confidence: In [0, 1], from `confidence_of`.
        right: Whether the answer was right.
        clusters: The number of each pair's prompt.
        n_clusters: How many prompts there are.

    Source: the area as in Geifman, Uziel and El-Yaniv 2019 (ICLR).
    """
    step = CONFIDENCE_STEPS - 1 - np.minimum((confidence * CONFIDENCE_STEPS).astype(np.int64), CONFIDENCE_STEPS - 1)
    columns = (np.ones_like(confidence), (~right).astype(np.float64))
    n, wrong = (cell_totals(column, clusters, step, n_clusters, CONFIDENCE_STEPS) for column in columns)
    totals = np.concatenate([n, wrong, n.sum(axis=1, keepdims=True)], axis=1)

    def area(totals: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
        return _area(totals[:, :CONFIDENCE_STEPS], totals[:, CONFIDENCE_STEPS:-1])

    def accuracy_at(coverage: float) -> Statistic:
        return Statistic(totals, lambda t: _accuracy_at(t, coverage), len(confidence))

    at = {f"selective_accuracy.{round(100 * coverage)}": accuracy_at(coverage) for coverage in COVERAGES}
    return {"aurc": Statistic(totals, area, len(confidence)), **at}


def _area(n: Float[np.ndarray, "r g"], wrong: Float[np.ndarray, "r g"]) -> Float[np.ndarray, " r"]:
    """Mean over j = 1 … N of the expected risk among the j surest.

    After N pairs with E wrong, a group of n pairs at rate e adds Σ_j (E + e j) / (N + j) over j = 1 … n, which is
    e n + (E - e N) (H(N + n) - H(N)) with harmonic numbers H, and H(x) = digamma(x + 1) + a constant.
    """
    before, wrong_before = n.cumsum(axis=1) - n, wrong.cumsum(axis=1) - wrong
    rate = np.divide(wrong, n, out=np.zeros_like(n), where=n > 0)
    harmonic = special.digamma(np.concatenate([before, before[:, -1:] + n[:, -1:]], axis=1) + 1)
    sums = wrong + (wrong_before - rate * before) * np.diff(harmonic, axis=1)
    total = n.sum(axis=1)
    return np.divide(sums.sum(axis=1), total, out=np.full(len(n), np.nan), where=total > 0)


def _accuracy_at(totals: Float[np.ndarray, "r k"], coverage: float) -> Float[np.ndarray, " r"]:
    n, wrong = totals[:, :CONFIDENCE_STEPS], totals[:, CONFIDENCE_STEPS:-1]
    asked = coverage * totals[:, -1:]
    taken = np.clip(asked - (n.cumsum(axis=1) - n), 0, n)
    share = np.divide(taken, n, out=np.zeros_like(n), where=n > 0)
    errors = np.divide((share * wrong).sum(axis=1), asked[:, 0], out=np.full(len(n), np.nan), where=asked[:, 0] > 0)
    return 1 - errors
