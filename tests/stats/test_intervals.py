"""From draws to an interval: against Student's t, by hand, and where there is none."""

import numpy as np
import pytest
from scipy import stats

from earshot.stats import bootstrap_mean
from earshot.stats.intervals import expanded_interval

SKEWED = np.random.default_rng(0).exponential(size=40)


def test_the_expanded_interval_is_as_wide_as_students_t() -> None:
    z = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    # Draws of a mean of 10 with standard error 1 have √(9/10); t at 9 degrees of freedom is 2.262.
    low, high = expanded_interval(z * np.sqrt(0.9), 10)
    assert (low, high) == pytest.approx((-2.262, 2.262), abs=0.01)


def test_two_clusters_give_all_that_was_drawn() -> None:
    estimate = bootstrap_mean(np.array([1.0, 0.0]), np.array([0, 1]), resamples=500)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_a_constant_has_an_interval_of_no_width() -> None:
    estimate = bootstrap_mean(np.full(9, 0.25), np.arange(9) // 3, resamples=200)
    assert (estimate.low, estimate.high) == pytest.approx((0.25, 0.25))


def test_shifting_and_scaling_the_values_does_the_same_to_the_interval() -> None:
    plain, moved = (bootstrap_mean(x, np.arange(40), resamples=500) for x in (SKEWED, 3 * SKEWED - 1))
    assert (moved.low, moved.high) == pytest.approx((3 * plain.low - 1, 3 * plain.high - 1), rel=1e-6)


def test_draws_without_observations_are_left_out_and_nothing_but_them_is_no_interval() -> None:
    assert expanded_interval(np.full(5, np.nan), 4) == (None, None)
    holes = expanded_interval(np.array([np.nan, 1.0, 2.0, np.nan, 3.0]), 2)
    assert holes == (1.0, 3.0)
