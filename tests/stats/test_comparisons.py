"""Contrasts of runs against the bootstrap of one quantity and by hand; Holm's correction by hand."""

import math

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.stats import difference, mean_statistic
from earshot.stats.comparisons import contrasts, holm, log_ratio, simultaneous_level
from earshot.stats.totals import Statistic


def seeds_of(rng: np.random.Generator, means: list[float], prompts: int = 120, per_prompt: int = 3) -> list[Statistic]:
    clusters = np.repeat(np.arange(prompts), per_prompt)
    hard = np.repeat(rng.normal(0, 0.15, prompts), per_prompt)
    return [mean_statistic((rng.random(len(clusters)) < m + hard).astype(float), clusters, prompts) for m in means]


def test_a_quantity_has_the_same_interval_alone_and_among_others() -> None:
    rng = np.random.default_rng(1)
    a, b = seeds_of(rng, [0.7, 0.72, 0.75]), seeds_of(rng, [0.66, 0.7, 0.68])
    pairs = [difference(x, y) for x, y in zip(a, b, strict=True)]
    found = contrasts({"gap": pairs, "a": a}, resamples=500, seed=3)
    assert found["gap"] == contrasts({0: pairs}, resamples=500, seed=3)[0]
    assert found["a"] == contrasts({0: a}, resamples=500, seed=3)[0]
    assert (found["gap"].seeds, found["gap"].prompts, found["gap"].n) == (3, 120, 360)


def test_quantities_cut_into_several_products_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {name: seeds_of(np.random.default_rng(name), [0.6, 0.7]) for name in range(5)}
    together = contrasts(runs, resamples=100)
    monkeypatch.setattr("earshot.stats.comparisons.COLUMNS_AT_ONCE", 5)
    assert contrasts(runs, resamples=100) == together


def test_a_p_value_is_one_half_level_outside_its_interval() -> None:
    runs = seeds_of(np.random.default_rng(5), [0.1, 0.15, 0.12])
    contrast = contrasts({0: runs}, resamples=300)[0]
    assert contrast.p_value is not None
    low = contrast.estimate(1 - contrast.p_value).low
    assert low == pytest.approx(0, abs=1e-9)  # the interval of that level just touches 0


def test_one_seed_has_a_value_and_no_interval_and_no_data_has_neither() -> None:
    single = seeds_of(np.random.default_rng(0), [0.5])
    none = [mean_statistic(np.zeros(0), np.zeros(0, dtype=np.int64), 120)] * 2
    found = contrasts({"single": single, "none": none}, resamples=10)
    assert found["single"].estimate().value == single[0].value() and found["single"].estimate().low is None
    assert found["single"].p_value is None and found["none"].p_value is None
    assert found["none"].estimate().value is None and found["none"].n == 0
    with pytest.raises(DataError, match="no seeds"):
        contrasts({"empty": []})
    with pytest.raises(DataError, match="clusters"):
        contrasts({"a": single, "b": seeds_of(np.random.default_rng(0), [0.5], prompts=7)})


def test_a_log_ratio_is_that_of_the_two_rates_and_turns_its_sign_when_they_are_exchanged() -> None:
    clusters = np.array([0, 0, 1, 1])
    a = mean_statistic(np.array([1.0, 0.0, 0.0, 0.0]), clusters, 2)  # a quarter
    b = mean_statistic(np.array([1.0, 0.0, 1.0, 0.0]), clusters, 2)  # a half
    zero = mean_statistic(np.zeros(4), clusters, 2)
    assert log_ratio(a, b).value() == pytest.approx(math.log(0.5))
    assert log_ratio(b, a).value() == pytest.approx(math.log(2))
    assert math.isnan(log_ratio(zero, b).value()) and math.isnan(log_ratio(a, zero).value())


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04 times 4 3 2 1: .04 .06 .06 .04, never falling: .04 .06 .06 .06
    assert holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert len(holm(np.zeros(0))) == 0
    assert simultaneous_level(5) == pytest.approx(0.99)
    with pytest.raises(DataError):
        simultaneous_level(0)


def test_the_degrees_of_freedom_are_never_fewer_than_those_of_the_seeds() -> None:
    """Two seeds that err on opposite prompts: their chance is more than the spread of their mean tells."""
    rng = np.random.default_rng(4)
    clusters, luck = np.arange(24), rng.normal(0, 1, 24)
    runs = [mean_statistic(one, clusters, 24) for one in (luck, 0.3 - luck + rng.normal(0, 0.1, 24))]
    spread = contrasts({0: runs})[0].spread
    assert spread is not None and spread.df >= 1
