"""Several seeds: what the interval is made of, worked by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats

from earshot.errors import DataError
from earshot.stats import RESAMPLES, Statistic, bootstrap_mean, contrasts, mean_statistic, ratio_of_totals
from earshot.types import Estimate


def runs_of(values: np.ndarray) -> list[Statistic]:
    """One observation a prompt; a row of `values` is a seed."""
    return [mean_statistic(row, np.arange(values.shape[1]), values.shape[1]) for row in values]


def over_seeds(
    runs: list[Statistic], against: list[Statistic] | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The mean over the seeds of one quantity, or its difference from another method's."""
    other = None if against is None else {"mean": against}
    return contrasts({"mean": runs}, other, resamples=resamples, seed=seed)["mean"].estimate()


def test_seeds_that_shift_all_prompts_alike_have_the_interval_of_students_t() -> None:
    # All prompts are equal, so only seeds count: mean 0.5, variance 0.01 / 3, t at 2 degrees of freedom 4.303.
    estimate = over_seeds(runs_of(np.array([[0.4], [0.5], [0.6]]) * np.ones((1, 20))), resamples=50)
    half = 4.3027 * np.sqrt(0.01 / 3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-4)
    assert estimate.n == 20


def test_seeds_that_agree_leave_what_the_prompts_say() -> None:
    values = np.random.default_rng(0).normal(size=200)
    three, one = over_seeds(runs_of(np.stack([values] * 3)), seed=1), bootstrap_mean(values, np.arange(200), seed=1)
    half = stats.t.ppf(0.975, 199) * values.std(ddof=1) / np.sqrt(200)
    assert (three.low, three.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.005)
    assert (three.low, three.high) == pytest.approx((one.low, one.high), abs=0.01)


def test_chance_in_every_answer_counts_once() -> None:
    # Coins only, no seed better and no prompt harder: 10 × 400 of them, ± 2 to 2.3 · √(0.25 / 4000) = ± 0.016 to 0.018.
    # Counted in the prompts, in the seeds and in both, it would be √3 times as much.
    rng, halves = np.random.default_rng(3), []
    for number in range(30):
        e = over_seeds(runs_of(rng.integers(0, 2, size=(10, 400)).astype(float)), resamples=300, seed=number)
        halves.append((e.high - e.low) / 2)
    assert np.median(halves) == pytest.approx(0.018, abs=0.003)


def test_prompts_are_paired_between_methods() -> None:
    hard = np.random.default_rng(0).normal(size=300)
    lucky = np.array([[-0.01], [0.0], [0.01]])
    e = over_seeds(runs_of(hard + lucky + 0.1), runs_of(hard + lucky), resamples=100)
    # The prompts cancel: 2 · 0.0001 / 3 is left, at 4 degrees of freedom, 2.776.
    half = 2.776 * np.sqrt(2e-4 / 3)
    assert (e.value, e.low, e.high) == pytest.approx((0.1, 0.1 - half, 0.1 + half), abs=1e-4)
    back = over_seeds(runs_of(hard + lucky), runs_of(hard + lucky + 0.1), resamples=100)
    assert (back.value, back.low, back.high) == pytest.approx((-e.value, -e.high, -e.low))


def test_one_seed_says_nothing_of_others() -> None:
    assert over_seeds(runs_of(np.ones((1, 3)))) == Estimate(1.0, None, None, 3)
    assert over_seeds(runs_of(np.ones((2, 3))), runs_of(np.ones((1, 3)))) == Estimate(0.0, None, None, 3)
    with pytest.raises(DataError, match=r"over \[3, 4\] clusters"):
        over_seeds(runs_of(np.ones((2, 3))), runs_of(np.ones((2, 4))))


def test_nothing_observed_is_missing_and_one_prompt_has_no_interval() -> None:
    nothing = Statistic(np.zeros((3, 2)), ratio_of_totals, 0)
    assert over_seeds([nothing, nothing]) == Estimate.missing()
    assert over_seeds(runs_of(np.ones((2, 1)))) == Estimate(1.0, None, None, 1)
