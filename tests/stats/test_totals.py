"""Differences of any two quantities, correlation within prompts, and totals that add up."""

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.stats import (
    Statistic,
    bootstrap,
    bootstrap_mean,
    difference,
    intraclass_statistic,
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


def test_correlation_within_prompts_of_answers_that_agree_and_that_do_not() -> None:
    clusters = np.array([0, 0, 1, 1])
    # Between 2²/2 - 2²/4 = 1, within 0: 1. Then between 0, within (2 - 1) / 2 = 0.5: -0.5 / 0.5 = -1.
    assert intraclass_statistic(np.array([1.0, 1, 0, 0]), clusters, 2).value() == pytest.approx(1.0)
    assert intraclass_statistic(np.array([1.0, 0, 1, 0]), clusters, 2).value() == pytest.approx(-1.0)


def test_correlation_within_prompts_of_unequal_size() -> None:
    # Sizes 3, 1; Σ²/m: 4/3 + 0, less 4/4: MSB = 1/3. MSW = (2 - 4/3) / 2 = 1/3: no correlation.
    assert intraclass_statistic(np.array([1.0, 1, 0, 0]), np.array([0, 0, 0, 1]), 2).value() == pytest.approx(0.0)
    # Sizes 2, 1; Σ²/m: 2 + 0, less 4/3: MSB = 2/3, MSW = 0: 1, whatever m0 is.
    assert intraclass_statistic(np.array([1.0, 1, 0]), np.array([0, 0, 1]), 2).value() == pytest.approx(1.0)
    # Sizes 4, 1: MSB = 9/4 - 9/5 = 0.45, MSW = (3 - 9/4) / 3 = 0.25, m0 = 5 - 17/5 = 1.6: 0.2 / (0.45 + 0.6 · 0.25).
    found = intraclass_statistic(np.array([1.0, 1, 1, 0, 0]), np.array([0, 0, 0, 0, 1]), 2).value()
    assert found == pytest.approx(1 / 3)


def test_the_correlation_that_was_put_in_is_found() -> None:
    rng = np.random.default_rng(1)
    chances = rng.beta(2.0, 2.0, size=3000)  # correlation 1 / (2 + 2 + 1) = 0.2
    sizes = rng.integers(2, 12, size=3000)
    clusters = np.repeat(np.arange(3000), sizes)
    values = (rng.random(len(clusters)) < chances[clusters]).astype(float)
    estimate = bootstrap({"icc": intraclass_statistic(values, clusters, 3000)}, resamples=300)["icc"]
    assert estimate.low < 0.2 < estimate.high
    assert estimate.high - estimate.low < 0.05


def test_a_correlation_that_cannot_be_told_is_missing() -> None:
    for clusters in (np.arange(4), np.zeros(4, dtype=int)):
        statistic = intraclass_statistic(np.array([1.0, 0, 1, 0]), clusters, int(clusters.max()) + 1)
        assert bootstrap({"icc": statistic}, resamples=20)["icc"].value is None


def test_statistics_of_the_same_totals_see_the_same_draws() -> None:
    one = mean_statistic(A, CLUSTERS, 3)
    both = bootstrap({"a": one, "again": one, "macro": macro_statistic(A, CLUSTERS, 3)}, resamples=100, seed=9)
    assert both["a"] == both["again"] == bootstrap_mean(A, CLUSTERS, resamples=100, seed=9)
    assert both["macro"] == bootstrap({"m": macro_statistic(A, CLUSTERS, 3)}, resamples=100, seed=9)["m"]
