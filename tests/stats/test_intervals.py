"""Four ways from draws to an interval: against scipy, against loops, against Student's t, and where there is none."""

import numpy as np
import pytest
from scipy import stats

from earshot.errors import InputError
from earshot.stats import METHODS, Statistic, bootstrap_mean, intervals, mean_statistic, ratio_of_totals
from earshot.stats.intervals import bca_interval, expanded_interval, studentised_interval
from earshot.stats.resampling import leave_one_out, linearised_errors, multiplicities

SKEWED = np.random.default_rng(0).exponential(size=40)


@pytest.mark.parametrize(("method", "name"), [("percentile", "percentile"), ("bca", "BCa")])
def test_on_independent_observations_intervals_are_those_of_scipy(method: str, name: str) -> None:
    ours = bootstrap_mean(SKEWED, np.arange(40), method=method, resamples=40_000, seed=1)
    theirs = stats.bootstrap((SKEWED,), np.mean, method=name, n_resamples=40_000, rng=np.random.default_rng(2))
    # Two sets of draws: quantiles at 2.5 % of 40,000 differ by about 0.4 % of the spread.
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.01)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.01)


def test_bca_moves_to_where_a_skewed_mean_may_be() -> None:
    plain, bca = (bootstrap_mean(SKEWED, np.arange(40), method=m, resamples=20_000) for m in ("percentile", "bca"))
    assert bca.low - plain.low > 0.01
    assert bca.high - plain.high > 0.02


def test_leaving_one_cluster_out() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 3.0], [0.0, 1.0]])  # 4/6 in all; without each: 3/4, 1/3, 4/5
    assert leave_one_out(rows, ratio_of_totals) == pytest.approx([3 / 4, 1 / 3, 4 / 5])


def test_the_error_of_a_ratio_is_the_cluster_robust_one_also_in_a_resample() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 3.0], [0.0, 1.0]])
    # 2/3; parts (1 - 4/3, 3 - 2, 0 - 2/3) / 6, squares (1/9 + 1 + 4/9) / 36, times 3/2.
    assert linearised_errors(np.ones((1, 3)), rows, ratio_of_totals)[0] == pytest.approx(
        np.sqrt(1.5 * (14 / 9) / 36), rel=1e-6
    )
    drawn = rows[[1, 2, 2]]  # what the resample (0, 1, 2) holds
    assert linearised_errors(np.array([[0.0, 1.0, 2.0]]), rows, ratio_of_totals) == pytest.approx(
        linearised_errors(np.ones((1, 3)), drawn, ratio_of_totals), rel=1e-6
    )


def test_the_studentised_interval_is_that_of_a_loop_over_resamples() -> None:
    values, clusters = SKEWED, np.arange(40) // 2
    rows = mean_statistic(values, clusters, 20).totals
    t = []
    for times in np.concatenate(list(multiplicities(20, 999, 3))):
        drawn = np.repeat(rows, times.astype(int), axis=0)
        theta = drawn[:, 0].sum() / drawn[:, 1].sum()
        parts = (drawn[:, 0] - theta * drawn[:, 1]) / drawn[:, 1].sum()
        t.append((theta - values.mean()) / np.sqrt((parts**2).sum() * 20 / 19))
    parts = (rows[:, 0] - values.mean() * rows[:, 1]) / 40
    error = np.sqrt((parts**2).sum() * 20 / 19)
    low, high = np.quantile(t, [0.025, 0.975], method="inverted_cdf")
    estimate = bootstrap_mean(values, clusters, method="studentised", resamples=999, seed=3)
    assert estimate.low == pytest.approx(values.mean() - high * error, rel=1e-5)
    assert estimate.high == pytest.approx(values.mean() - low * error, rel=1e-5)


def test_the_expanded_interval_is_as_wide_as_students_t() -> None:
    z = stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    # Draws of a mean of 10 with standard error 1 have √(9/10); t at 9 degrees of freedom is 2.262.
    low, high = expanded_interval(z * np.sqrt(0.9), 0.95, 10)
    assert (low, high) == pytest.approx((-2.262, 2.262), abs=0.01)


def test_two_clusters_give_all_that_was_drawn_when_expanded() -> None:
    estimate = bootstrap_mean(np.array([1.0, 0.0]), np.array([0, 1]), method="expanded", resamples=500)
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_two_clusters_have_no_studentised_interval() -> None:
    # Half of the draws hold one cluster twice and have no error to divide by.
    estimate = bootstrap_mean(np.array([1.0, 0.0]), np.array([0, 1]), method="studentised", resamples=500)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, None, None)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_has_an_interval_of_no_width(method: str) -> None:
    estimate = bootstrap_mean(np.full(9, 0.25), np.arange(9) // 3, method=method, resamples=200)
    assert (estimate.low, estimate.high) == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("method", METHODS)
def test_shifting_and_scaling_the_values_does_the_same_to_the_interval(method: str) -> None:
    plain, moved = (bootstrap_mean(x, np.arange(40), method=method, resamples=500) for x in (SKEWED, 3 * SKEWED - 1))
    assert (moved.low, moved.high) == pytest.approx((3 * plain.low - 1, 3 * plain.high - 1), rel=1e-6)


def test_all_methods_see_the_same_draws_in_one_call_and_in_four() -> None:
    statistic = mean_statistic(SKEWED, np.arange(40), 40)
    together = intervals({"a": statistic}, resamples=300)["a"]
    assert together == {m: intervals({"a": statistic}, methods=(m,), resamples=300)["a"][m] for m in METHODS}


def test_a_value_outside_all_draws_has_no_bca_interval() -> None:
    assert bca_interval(np.ones(50), 0.5, np.ones(5), 0.95) == (None, None)


def test_draws_without_observations_are_left_out_and_nothing_but_them_is_no_interval() -> None:
    assert expanded_interval(np.full(5, np.nan), 0.95, 4) == (None, None)
    assert studentised_interval(np.full(5, np.nan), np.ones(5), 0.0, 1.0, 0.95) == (None, None)
    holes = expanded_interval(np.array([np.nan, 1.0, 2.0, np.nan, 3.0]), 0.95, 2)
    assert holes == (1.0, 3.0)


def test_unknown_methods_and_levels_are_refused() -> None:
    statistic = Statistic(np.ones((3, 2)), ratio_of_totals, 3)
    with pytest.raises(Exception, match="guess"):  # the shape checker of the tests is quicker than our own message
        intervals({"a": statistic}, methods=("guess",))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"level 95\.0, expected one between 0 and 1"):
        intervals({"a": statistic}, level=95.0)
