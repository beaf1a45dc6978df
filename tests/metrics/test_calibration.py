"""Calibration against vote shares, worked by hand; the parts of Brier's score; the reliability diagram."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.errors import DataError
from earshot.metrics.calibration import (
    BINS,
    brier_part_statistics,
    calibration_statistics,
    nll,
    reliability_bins,
)

UNITS = st.floats(0, 1, allow_subnormal=False)


def parts_of(p: list[float], share: list[float], bins: int = BINS) -> dict[str, float]:
    arrays = np.array(p), np.array(share), np.zeros(len(p), dtype=int)
    return {name: s.value() for name, s in brier_part_statistics(*arrays, 1, bins=bins).items()}


def whole(parts: dict[str, float]) -> float:
    return (
        parts["reliability"]
        - parts["resolution"]
        + parts["uncertainty"]
        + parts["within_variance"]
        - parts["within_covariance"]
    )


def test_the_parts_of_briers_score_by_hand() -> None:
    # Two bins. Low: p 0.1, 0.3, shares 0, 0.5: means 0.2, 0.25. High: p 0.8, share 1. Mean share 0.5.
    parts = parts_of([0.1, 0.3, 0.8], [0.0, 0.5, 1.0], bins=2)
    assert parts["reliability"] == pytest.approx((2 * 0.05**2 + 0.2**2) / 3)
    assert parts["resolution"] == pytest.approx((2 * 0.25**2 + 0.5**2) / 3)
    assert parts["uncertainty"] == pytest.approx((0.5**2 + 0 + 0.5**2) / 3)
    assert parts["within_variance"] == pytest.approx((0.1**2 + 0.1**2) / 3)
    assert parts["within_covariance"] == pytest.approx(2 * (0.1 * 0.25 + 0.1 * 0.25) / 3)
    assert whole(parts) == pytest.approx((0.1**2 + 0.2**2 + 0.2**2) / 3)


def test_murphys_three_parts_are_all_where_a_bin_holds_one_prediction_and_votes_are_one() -> None:
    parts = parts_of([0.3, 0.3, 0.9, 0.9], [0.0, 1.0, 1.0, 1.0])
    # Share 0.75; bins (0.3, 0.5), (0.9, 1): reliability (0.04 + 0.01) / 2, resolution 0.25², uncertainty 0.75 · 0.25.
    assert parts["reliability"] == pytest.approx(0.025)
    assert parts["resolution"] == pytest.approx(0.0625)
    assert parts["uncertainty"] == pytest.approx(0.1875)
    assert (parts["within_variance"], parts["within_covariance"]) == pytest.approx((0, 0), abs=1e-12)


@given(st.lists(st.tuples(UNITS, UNITS), min_size=1, max_size=40), st.integers(1, 20))
def test_the_parts_add_up_to_the_score(rows: list[tuple[float, float]], bins: int) -> None:
    p, share = [row[0] for row in rows], [row[1] for row in rows]
    assert whole(parts_of(p, share, bins)) == pytest.approx(np.mean((np.array(p) - share) ** 2), abs=1e-12)


def test_showing_the_images_swapped_changes_no_measure() -> None:
    rng = np.random.default_rng(0)
    p, share, clusters = rng.random(300), rng.random(300), rng.integers(0, 9, size=300)
    plain, swapped = (calibration_statistics(x, y, clusters, 9) for x, y in ((p, share), (1 - p, 1 - share)))
    for name, statistic in plain.items():
        assert statistic.value() == pytest.approx(swapped[name].value(), abs=1e-12), name


def test_a_prediction_of_0_or_1_that_is_wrong_costs_much_and_not_all() -> None:
    assert nll(np.array([0.5, 0.0, 1.0]), np.array([0.25, 1.0, 1.0])) == pytest.approx(
        [np.log(2), -np.log(1e-6), 1e-6], rel=1e-5
    )


def test_a_reliability_diagram_by_hand() -> None:
    p, share = np.array([0.0, 0.1, 0.5, 1.0, 0.95]), np.array([0.0, 0.5, 0.25, 1.0, 0.5])
    found = reliability_bins(p, share, np.array([0, 1, 2, 3, 4]), bins=4, resamples=200)
    low, empty, middle, high = found
    assert [(b.low, b.high) for b in found] == [(0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1)]
    assert (low.mean_p, low.share.value, low.share.n) == (pytest.approx(0.05), 0.25, 2)
    assert (empty.mean_p, empty.share.value, empty.share.n) == (None, None, 0)
    assert (middle.mean_p, middle.share.value, middle.share.low) == (0.5, 0.25, None)  # one prompt: no interval
    assert (high.mean_p, high.share.value, high.share.n) == (pytest.approx(0.975), 0.75, 2)
    assert 0 <= low.share.low <= 0.25 <= low.share.high <= 0.5


def test_probabilities_that_are_none_are_refused() -> None:
    for bad in (np.nan, 1.5, -0.1):
        with pytest.raises(DataError, match=r"outside \[0, 1\] or NaN"):
            reliability_bins(np.array([bad]), np.array([0.5]), np.array([0]))


def test_no_pairs_have_no_bins_filled() -> None:
    found = reliability_bins(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int))
    assert [(b.mean_p, b.share.n) for b in found] == [(None, 0)] * BINS


def test_a_wrong_shape_is_caught() -> None:
    with pytest.raises(Exception, match=r"(?i)type-check"):
        nll(np.ones(3), np.ones(2))
