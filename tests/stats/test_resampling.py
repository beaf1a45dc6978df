"""The bootstrap over prompts: values worked by hand, its width, its coverage, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot.errors import DataError
from earshot.stats import (
    Statistic,
    bootstrap,
    bootstrap_mean,
    cluster_codes,
    macro_statistic,
    mean_statistic,
    paired_difference,
    ratio_of_totals,
    resampled_totals,
)
from earshot.types import Estimate


def test_micro_weighs_observations_and_macro_weighs_prompts() -> None:
    values, clusters = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])
    assert bootstrap_mean(values, clusters).value == 0.75  # 3 of 4
    macro = bootstrap_mean(values, clusters, macro=True)
    assert macro.value == 0.5  # (3/3 + 0/1) / 2
    assert (bootstrap_mean(values, clusters).n, macro.n) == (4, 2)


def test_a_prompt_without_observations_is_not_a_prompt_of_mean_0() -> None:
    statistic = macro_statistic(np.array([1.0, 0.0]), np.array([0, 2]), 3)
    estimate = bootstrap({"macro": statistic}, resamples=200)["macro"]
    assert (estimate.value, estimate.n) == (0.5, 2)


def test_cluster_codes_number_names_in_order_of_first_sight() -> None:
    assert cluster_codes(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_two_prompts_give_the_three_resamples_there_are() -> None:
    # Draws of {(1, 1), (0, 1)}: both first 2/2, mixed 1/2, both second 0/2, with chances 1/4, 1/2, 1/4.
    totals = resampled_totals(np.array([[1.0, 1.0], [0.0, 1.0]]), resamples=20_000, seed=3)
    values, counts = np.unique(ratio_of_totals(totals), return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / 20_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.015)


def test_a_resample_draws_as_many_prompts_as_there_are() -> None:
    totals = resampled_totals(np.ones((37, 1)), resamples=50, seed=0)
    assert totals.tolist() == [[37.0]] * 50


def test_the_interval_of_independent_coin_flips_is_the_binomial_one() -> None:
    values = np.tile([0.0, 1.0], 200)  # 400 flips: ± 1.96 · 0.5 / √400 = ± 0.049
    estimate = bootstrap_mean(values, np.arange(400), seed=1)
    assert estimate.low == pytest.approx(0.451, abs=0.004)
    assert estimate.high == pytest.approx(0.549, abs=0.004)


def test_repeating_a_pair_within_its_prompt_does_not_narrow_the_interval() -> None:
    values, clusters = np.tile([0.0, 1.0], 50), np.arange(100)
    once = bootstrap_mean(values, clusters, seed=2)
    ten_times = bootstrap_mean(np.repeat(values, 10), np.repeat(clusters, 10), seed=2)
    assert (ten_times.low, ten_times.high) == (once.low, once.high)
    assert ten_times.n == 1000


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(0).normal(size=(11, 3))
    whole = resampled_totals(table, resamples=64, seed=5)
    monkeypatch.setattr("earshot.stats.resampling.CHUNK_CELLS", 64)
    assert np.allclose(resampled_totals(table, resamples=64, seed=5), whole)


def test_the_seed_decides_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=60)
    clusters = np.arange(60) // 3
    assert bootstrap_mean(values, clusters, seed=4) == bootstrap_mean(values, clusters, seed=4)
    assert bootstrap_mean(values, clusters, seed=4).low != bootstrap_mean(values, clusters, seed=5).low


def test_nothing_observed_is_missing_and_one_prompt_has_no_interval() -> None:
    assert bootstrap_mean(np.zeros(0), np.zeros(0, dtype=int)) == Estimate(None, None, None, 0)
    assert bootstrap_mean(np.array([1.0, 0.0]), np.array([0, 0])) == Estimate(0.5, None, None, 2)


def test_a_statistic_seen_in_one_of_many_prompts_has_no_interval() -> None:
    clusters = np.arange(5)
    estimates = bootstrap(
        {
            "all": mean_statistic(np.array([0.0, 1.0, 0.0, 1.0, 1.0]), clusters, 5),
            "one": mean_statistic(np.array([0.25]), np.array([2]), 5),
            "none": macro_statistic(np.zeros(0), np.zeros(0, dtype=int), 5),
        },
        resamples=100,
    )
    assert estimates["all"].value == 0.6
    assert estimates["all"].low is not None
    assert estimates["one"] == Estimate(0.25, None, None, 1)
    assert estimates["none"] == Estimate.missing()


def test_statistics_keep_their_own_columns() -> None:
    values, clusters = np.arange(30.0), np.arange(30) // 2
    mean, constant = mean_statistic(values, clusters, 15), mean_statistic(np.full(30, 7.0), clusters, 15)
    both = bootstrap({"constant": constant, "mean": mean}, resamples=500, seed=1)
    assert both["constant"] == Estimate(7.0, 7.0, 7.0, 30)
    assert both["mean"] == bootstrap({"mean": mean}, resamples=500, seed=1)["mean"]


def test_a_paired_difference_cancels_what_the_pairs_share() -> None:
    rng = np.random.default_rng(0)
    shared, clusters = rng.normal(size=300), np.arange(300) // 3
    estimate = paired_difference(shared + 0.1, shared, clusters)
    assert estimate.value == pytest.approx(0.1)
    assert estimate.low == pytest.approx(0.1)
    assert estimate.high == pytest.approx(0.1)


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=2, max_size=30))
@settings(max_examples=30)
def test_swapping_the_models_mirrors_the_difference(rows: list[tuple[float, int]]) -> None:
    a, clusters = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    b = np.zeros_like(a)
    forward, backward = (paired_difference(x, y, clusters, resamples=101) for x, y in ((a, b), (b, a)))
    assert forward.value == pytest.approx(-backward.value, abs=1e-12)
    if forward.low is not None:
        assert forward.low == pytest.approx(-backward.high, abs=1e-12)


def test_percentile_intervals_over_prompts_cover_and_over_pairs_do_not() -> None:
    """120 prompts of 8 pairs with within-prompt correlation 0.5; 200 simulations, so ± 3 points."""
    rng = np.random.default_rng(7)
    covered = {"prompts": 0, "pairs": 0}
    clusters = np.repeat(np.arange(120), 8)
    for simulation in range(200):
        values = (rng.normal(size=(120, 1)) + rng.normal(size=(120, 8))).ravel()
        for unit, codes in (("prompts", clusters), ("pairs", np.arange(960))):
            e = bootstrap_mean(values, codes, resamples=300, seed=simulation)
            assert e.low is not None and e.high is not None
            covered[unit] += e.low <= 0.0 <= e.high
    assert covered["prompts"] / 200 == pytest.approx(0.95, abs=0.04)
    assert covered["pairs"] / 200 < 0.75  # too narrow by √(1 + 7 · 0.5) = 2.1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_values_must_be_left_out_by_name(bad: float) -> None:
    with pytest.raises(DataError, match="leave out what is missing"):
        bootstrap_mean(np.array([1.0, bad]), np.array([0, 1]))


def test_hostile_clusters_are_refused() -> None:
    with pytest.raises(DataError, match="from -1 to 1"):
        bootstrap_mean(np.array([1.0, 2.0]), np.array([-1, 1]))
    one, two = (Statistic(np.ones((c, 2)), ratio_of_totals, c) for c in (1, 2))
    with pytest.raises(DataError, match="same clusters"):
        bootstrap({"one": one, "two": two})
    with pytest.raises(DataError, match="0 clusters"):
        resampled_totals(np.ones((0, 2)))


def test_a_wrong_shape_is_caught() -> None:
    with pytest.raises(Exception, match=r"(?i)type-check"):
        bootstrap_mean(np.ones((2, 2)), np.array([0, 1]))
