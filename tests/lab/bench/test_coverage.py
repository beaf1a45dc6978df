"""Intervals of nominal 95 % hold the truth in 95 % of simulated sets; pairs resampled as if they were alone do not."""

import json
import math

import numpy as np
import pytest

from earshot.cli.main import main
from earshot.lab.bench import coverage
from earshot.lab.bench.coverage import SETTINGS, Count, Setting, coverage_of, measure_coverage, pair_interval, simulated
from earshot.stats import DEFAULT_METHOD, bootstrap_mean, intraclass_statistic


def test_simulated_pairs_are_right_and_correlated_as_asked() -> None:
    setting = Setting(4_000, 0.2)
    (totals,) = simulated(setting, 1, np.random.default_rng(0))
    clusters = np.repeat(np.arange(4_000), totals[:, 1].astype(int))
    right = np.concatenate([np.arange(m) < x for x, m in totals]).astype(float)
    assert right.mean() == pytest.approx(0.67, abs=0.015)
    assert intraclass_statistic(right, clusters, 4_000).value() == pytest.approx(0.2, abs=0.02)
    assert totals[:, 1].mean() == pytest.approx(6_399 / 466, abs=0.4)


def test_the_naive_interval_is_a_bootstrap_over_pairs() -> None:
    values = (np.arange(300) < 200).astype(float)
    expected = bootstrap_mean(values, np.arange(300), resamples=20_000, seed=1)
    low, high = pair_interval(np.array([[150.0, 200.0], [50.0, 100.0]]), 20_000, np.random.default_rng(0))
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_what_is_counted() -> None:
    count = Count()
    for interval in ((0.0, 1.0), (0.6, 1.0), (0.0, 0.4), (0.5, 0.5), (None, None)):
        count.add(interval, 0.5)
    record = count.record()
    assert (record["coverage"], record["truth_below"], record["truth_above"], record["missing"]) == (0.4, 0.2, 0.2, 0.2)
    assert record["mean_width"] == pytest.approx((1 + 0.4 + 0.4 + 0) / 4)
    assert record["standard_error"] == pytest.approx(math.sqrt(0.4 * 0.6 / 5))


@pytest.mark.parametrize("correlation", [0.05, 0.2])
def test_the_default_interval_covers_and_the_naive_one_does_not(correlation: float) -> None:
    """300 simulations: three standard errors are 3.8 points."""
    found = coverage_of(Setting(466, correlation), 300, 400, seed=7)
    assert found[DEFAULT_METHOD].record()["coverage"] == pytest.approx(0.95, abs=0.038)
    # Too narrow by √(1 + 18 ρ), 1.4 or 2.1: a pair finds its prompt to have 19 pairs.
    assert found["pairs"].record()["coverage"] < (0.75 if correlation == 0.2 else 0.9)


@pytest.mark.slow
def test_the_default_interval_covers_94_to_96_percent_of_2000_simulations() -> None:
    result = measure_coverage()
    rows = [row for row in result["settings"] if row["prompts"] == 466]
    assert [row["correlation"] for row in rows] == [0.05, 0.2]
    for row in rows:
        assert 0.94 <= row[DEFAULT_METHOD]["coverage"] <= 0.96
        assert row["pairs"]["coverage"] < 0.9


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "SETTINGS", (Setting(12, 0.1),))
    assert main(["lab", "bench", "coverage", "--simulations", "21", "--resamples", "30", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["settings"][0]["percentile"]["n"] == result["seeds"][0]["runs"]["n"] == 21
    assert result["provenance"]["command"] == "earshot lab bench coverage --simulations 21 --resamples 30 --seed 0"
    assert main(["lab", "bench", "coverage", "--simulations", "3", "--resamples", "30"]) == 0
    assert "nominal 95%" in capsys.readouterr().out


def test_published_settings_are_those_of_the_issue() -> None:
    assert {(s.prompts, s.correlation) for s in SETTINGS} >= {(466, 0.05), (466, 0.2), (40, 0.05), (40, 0.2)}
