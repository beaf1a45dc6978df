"""Differences of any two quantities, correlation within prompts, and totals that add up."""

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.stats import (
    Statistic,
    bootstrap,
    bootstrap_mean,
    difference,
    macro_statistic,
    mean_statistic,
)

CLUSTERS = np.array([0, 0, 0, 1, 1, 2])
A = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
B = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])


@pytest.mark.parametrize("build", [mean_statistic, macro_statistic])
def test_a_difference_of_means_is_the_mean_of_differences(build) -> None:
    statistic = difference(build(A, CLUSTERS, 3), build(B, CLUSTERS, 3))
    found = bootstrap({"d": statistic}, resamples=300, seed=4)["d"]
    expected = bootstrap({"d": build(A - B, CLUSTERS, 3)}, resamples=300, seed=4)["d"]
    assert found.n == expected.n
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_a_difference_takes_quantities_that_are_no_means() -> None:
    def largest_total(totals: np.ndarray) -> np.ndarray:
        return totals[:, 0] ** 2

    square = Statistic(np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), largest_total, 3)
    assert difference(square, mean_statistic(A, CLUSTERS, 3)).value() == pytest.approx(9 - 4 / 6)


def test_swapping_the_sides_of_a_difference_mirrors_it() -> None:
    a, b = mean_statistic(A, CLUSTERS, 3), macro_statistic(B, CLUSTERS, 3)
    found = bootstrap({"ab": difference(a, b), "ba": difference(b, a)}, resamples=301)
    assert found["ab"].value == -found["ba"].value
    assert found["ab"].low == pytest.approx(-found["ba"].high)


def test_a_difference_rests_on_the_prompts_that_both_saw() -> None:
    a = mean_statistic(A, CLUSTERS, 3)
    b = mean_statistic(np.array([1.0]), np.array([2]), 3)
    found = bootstrap({"d": difference(a, b)}, resamples=50)["d"]
    assert (found.value, found.low, found.n) == (pytest.approx(4 / 6 - 1), None, 1)


def test_a_difference_over_other_clusters_is_refused() -> None:
    with pytest.raises(DataError, match="over 3 and 4 clusters"):
        difference(mean_statistic(A, CLUSTERS, 3), mean_statistic(A, CLUSTERS, 4))


def test_statistics_of_the_same_totals_see_the_same_draws() -> None:
    one = mean_statistic(A, CLUSTERS, 3)
    both = bootstrap({"a": one, "again": one, "macro": macro_statistic(A, CLUSTERS, 3)}, resamples=100, seed=9)
    assert both["a"] == both["again"] == bootstrap_mean(A, CLUSTERS, resamples=100, seed=9)
    assert both["macro"] == bootstrap({"m": macro_statistic(A, CLUSTERS, 3)}, resamples=100, seed=9)["m"]
