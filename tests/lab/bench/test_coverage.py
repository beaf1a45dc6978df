"""Intervals of nominal 95 % hold the truth in 95 % of simulated sets; pairs resampled as if they were alone do not.

And the three ways to an interval that were not taken: against scipy, against loops, and where there is none.
"""

import importlib.util
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from earshot.stats import bootstrap_mean, mean_statistic, ratio_of_totals, resampled_totals
from earshot.stats.intervals import Interval
from earshot.stats.resampling import multiplicities

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "coverage.py"
spec = importlib.util.spec_from_file_location("coverage_script", SCRIPT)
assert spec is not None and spec.loader is not None
coverage = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = coverage  # dataclasses look their module up
spec.loader.exec_module(coverage)

SKEWED = np.random.default_rng(0).exponential(size=40)


def one(values: np.ndarray, clusters: np.ndarray, *, resamples: int, seed: int = 0) -> dict[str, Interval]:
    """The mean's interval by each method."""
    return coverage.intervals({"mean": mean_statistic(values, clusters, int(clusters.max()) + 1)}, resamples, seed)[
        "mean"
    ]


def test_simulated_pairs_are_right_and_correlated_as_asked() -> None:
    setting = coverage.Setting(4_000, 0.2)
    (totals,) = coverage.simulated(setting, 1, np.random.default_rng(0))
    right, m = totals.T
    p = right.sum() / m.sum()
    assert p == pytest.approx(0.67, abs=0.015)
    # The mean product of the deviations of two pairs of one prompt, over the variance of a pair.
    products = (right - m * p) ** 2 - right * (1 - p) ** 2 - (m - right) * p**2
    assert products.sum() / (m * (m - 1)).sum() / (p * (1 - p)) == pytest.approx(0.2, abs=0.02)
    assert totals[:, 1].mean() == pytest.approx(6_399 / 466, abs=0.4)


def test_the_naive_interval_is_a_bootstrap_over_pairs() -> None:
    values = (np.arange(300) < 200).astype(float)
    expected = bootstrap_mean(values, np.arange(300), resamples=20_000, seed=1)
    low, high = coverage.pair_interval(np.array([[150.0, 200.0], [50.0, 100.0]]), 20_000, np.random.default_rng(0))
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_what_is_counted() -> None:
    count = coverage.Count()
    for interval in ((0.0, 1.0), (0.6, 1.0), (0.0, 0.4), (0.5, 0.5), (None, None)):
        count.add(interval, 0.5)
    record = count.record()
    assert (record["coverage"], record["truth_below"], record["truth_above"], record["missing"]) == (0.4, 0.2, 0.2, 0.2)
    assert record["mean_width"] == pytest.approx((1 + 0.4 + 0.4 + 0) / 4)
    assert record["standard_error"] == pytest.approx(math.sqrt(0.4 * 0.6 / 5))


@pytest.mark.parametrize("correlation", [0.05, 0.2])
def test_the_default_interval_covers_and_the_naive_one_does_not(correlation: float) -> None:
    """300 simulations: three standard errors are 3.8 points."""
    found = coverage.coverage_of(coverage.Setting(466, correlation), 300, 400, seed=7)
    assert found[coverage.DEFAULT_METHOD].record()["coverage"] == pytest.approx(0.95, abs=0.038)
    # Too narrow by √(1 + 18 ρ), 1.4 or 2.1: a pair finds its prompt to have 19 pairs.
    assert found["pairs"].record()["coverage"] < (0.75 if correlation == 0.2 else 0.9)


@pytest.mark.slow
def test_the_default_interval_covers_94_to_96_percent_of_2000_simulations() -> None:
    result = coverage.measure_coverage()
    rows = [row for row in result["settings"] if row["prompts"] == 466]
    assert [row["correlation"] for row in rows] == [0.05, 0.2]
    for row in rows:
        assert 0.94 <= row[coverage.DEFAULT_METHOD]["coverage"] <= 0.96
        assert row["pairs"]["coverage"] < 0.9


def test_the_script_writes_one_object_and_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "SETTINGS", (coverage.Setting(12, 0.1),))
    out = tmp_path / "coverage.json"
    monkeypatch.setattr("sys.argv", ["coverage.py", "--simulations", "21", "--resamples", "30", "--out", str(out)])
    coverage.main()
    result = json.loads(out.read_text())
    assert result["settings"][0]["percentile"]["n"] == result["seeds"][0]["runs"]["n"] == 21
    assert set(result) >= {"level", "default", "simulations", "resamples", "seed", "seconds", "environment"}
    assert "nominal 95%" in capsys.readouterr().out


def test_published_settings_are_those_of_the_issue() -> None:
    assert {(s.prompts, s.correlation) for s in coverage.SETTINGS} >= {(466, 0.05), (466, 0.2), (40, 0.05), (40, 0.2)}


def test_the_interval_covers_with_three_seeds() -> None:
    # 400 simulations: a standard error of 1.1 points.
    assert coverage.coverage_of_seeds(3, 400, 300, seed=5).record()["coverage"] == pytest.approx(0.96, abs=0.03)


@pytest.mark.parametrize(("method", "name"), [("percentile", "percentile"), ("bca", "BCa")])
def test_on_independent_observations_intervals_are_those_of_scipy(method: str, name: str) -> None:
    low, high = one(SKEWED, np.arange(40), resamples=40_000, seed=1)[method]
    theirs = stats.bootstrap((SKEWED,), np.mean, method=name, n_resamples=40_000, rng=np.random.default_rng(2))
    # Two sets of draws: quantiles at 2.5 % of 40,000 differ by about 0.4 % of the spread.
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.01)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.01)


def test_bca_moves_to_where_a_skewed_mean_may_be() -> None:
    found = one(SKEWED, np.arange(40), resamples=20_000)
    plain, bca = found["percentile"], found["bca"]
    assert bca[0] - plain[0] > 0.01
    assert bca[1] - plain[1] > 0.02


def test_leaving_one_cluster_out() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 3.0], [0.0, 1.0]])  # 4/6 in all; without each: 3/4, 1/3, 4/5
    assert coverage.leave_one_out(rows, ratio_of_totals) == pytest.approx([3 / 4, 1 / 3, 4 / 5])


def test_the_error_of_a_ratio_is_the_cluster_robust_one_also_in_a_resample() -> None:
    rows = np.array([[1.0, 2.0], [3.0, 3.0], [0.0, 1.0]])
    # 2/3; parts (1 - 4/3, 3 - 2, 0 - 2/3) / 6, squares (1/9 + 1 + 4/9) / 36, times 3/2.
    assert coverage.linearised_errors(np.ones((1, 3)), rows, ratio_of_totals)[0] == pytest.approx(
        np.sqrt(1.5 * (14 / 9) / 36), rel=1e-6
    )
    drawn = rows[[1, 2, 2]]  # what the resample (0, 1, 2) holds
    assert coverage.linearised_errors(np.array([[0.0, 1.0, 2.0]]), rows, ratio_of_totals) == pytest.approx(
        coverage.linearised_errors(np.ones((1, 3)), drawn, ratio_of_totals), rel=1e-6
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
    found = one(values, clusters, resamples=999, seed=3)["studentised"]
    assert found == pytest.approx((values.mean() - high * error, values.mean() - low * error), rel=1e-5)


def test_two_clusters_have_no_studentised_interval() -> None:
    # Half of the draws hold one cluster twice and have no error to divide by.
    found = one(np.array([1.0, 0.0]), np.array([0, 1]), resamples=500)
    assert found["studentised"] == (None, None)


@pytest.mark.parametrize("method", coverage.METHODS)
def test_a_constant_has_an_interval_of_no_width(method: str) -> None:
    assert one(np.full(9, 0.25), np.arange(9) // 3, resamples=200)[method] == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("method", coverage.METHODS)
def test_shifting_and_scaling_the_values_does_the_same_to_the_interval(method: str) -> None:
    plain, moved = (one(x, np.arange(40), resamples=500)[method] for x in (SKEWED, 3 * SKEWED - 1))
    assert moved == pytest.approx((3 * plain[0] - 1, 3 * plain[1] - 1), rel=1e-6)


def test_the_expanded_interval_is_that_of_the_product_from_the_same_draws() -> None:
    e = bootstrap_mean(SKEWED, np.arange(40), resamples=300, seed=1)
    draws = ratio_of_totals(resampled_totals(mean_statistic(SKEWED, np.arange(40), 40).totals, resamples=300, seed=1))
    found = one(SKEWED, np.arange(40), resamples=300, seed=1)
    assert found["expanded"] == (e.low, e.high)
    assert found["percentile"] == pytest.approx(np.quantile(draws, [0.025, 0.975]))


def test_a_value_outside_all_draws_has_no_bca_interval() -> None:
    assert coverage.bca_interval(np.ones(50), 0.5, np.ones(5), 0.95) == (None, None)


def test_nothing_but_draws_without_observations_has_no_interval() -> None:
    assert coverage.percentile_interval(np.full(5, np.nan), 0.95) == (None, None)
    assert coverage.studentised_interval(np.full(5, np.nan), np.ones(5), 0.0, 1.0, 0.95) == (None, None)
