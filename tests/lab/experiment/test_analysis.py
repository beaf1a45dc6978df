"""Arms against the reference: paired, as differences and ratios, corrected for their number."""

import math
from pathlib import Path

import numpy as np
import pytest

from earshot.lab.experiment.analysis import (
    Comparison,
    absolute,
    as_ratio,
    compared,
    decide,
    differences,
    paired,
    primary,
    within_range,
)
from earshot.lab.experiment.summary import summarise
from earshot.lab.experiment.tables import Results, markdown
from earshot.stats import Contrast, contrasts, mean_statistic
from earshot.stats.seeds import Spread
from earshot.types import Estimate


def test_what_two_arms_share_cancels_seed_by_seed() -> None:
    """Two arms with the same luck in each seed and on each prompt differ by exactly what one has more."""
    rng = np.random.default_rng(0)
    clusters = np.arange(50)
    luck = [rng.normal(0, 1, 50) + rng.normal() for _ in range(4)]
    a, b = ([mean_statistic(one + more, clusters, 50) for one in luck] for more in (0.1, 0.0))
    gap = contrasts({"gap": paired(a, b, relative=False)})["gap"].estimate()
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.1, 0.1, 0.1))
    unpaired = contrasts({0: a}, {0: b}, resamples=200)[0].estimate()
    assert unpaired.low is not None and unpaired.low < -0.5


def test_a_ratio_is_the_geometric_mean_over_seeds() -> None:
    clusters = np.zeros(4, dtype=np.int64)

    def rate(ones: int) -> object:
        return mean_statistic(np.array([1.0] * ones + [0.0] * (4 - ones)), clusters, 1)

    pairs = paired([rate(1), rate(2)], [rate(2), rate(4)], relative=True)  # both halves
    found = as_ratio(contrasts({0: pairs})[0].estimate())
    assert found.value == pytest.approx(-0.5)
    less = as_ratio(Estimate(math.log(0.7), math.log(0.5), math.log(1.2), 9))
    assert (less.value, less.low, less.high, less.n) == pytest.approx((-0.3, -0.5, 0.2, 9))


def contrast(value: float, error: float) -> Contrast:
    return Contrast(value, 100, 5, 1000, Spread(error**2, 0.0, 0.0, 0.0, 1e9))


def test_decisions_are_corrected_for_their_number() -> None:
    # z = 3 and 2.2: p = .0027 and .0278; by Holm .0081 of three, and .0556 of the two that are left
    family = [contrast(3.0, 1.0), contrast(2.2, 1.0), contrast(0.0, 1.0)]
    first, second, third = decide(family, [False, False, False])
    assert first.adjusted_p == pytest.approx(3 * 0.0026998, rel=1e-3) and first.shown
    assert second.p_value == pytest.approx(0.02781, rel=1e-3)
    assert second.adjusted_p == pytest.approx(2 * 0.02781, rel=1e-3) and not second.shown
    assert second.estimate.low is not None and second.estimate.low > 0
    assert second.simultaneous.low == pytest.approx(2.2 - 2.39398, rel=1e-4)  # z of 1 - 0.05 / 6
    assert third.adjusted_p == pytest.approx(1.0)


def test_a_comparison_that_cannot_be_made_still_counts() -> None:
    none = Contrast(None, 0, 0, 0, None)
    (alone,) = decide([contrast(2.1, 1.0)], [False])
    counted, missing = decide([contrast(2.1, 1.0), none], [False, False])
    assert alone.shown and not counted.shown
    assert missing.adjusted_p is None and not missing.shown


def test_a_planted_difference_is_found_from_the_files_of_an_experiment(experiment: Path) -> None:
    summary = summarise(experiment)
    (accuracy, found), (disagreement, _) = primary(summary)
    assert (accuracy.endpoint, accuracy.set_name, accuracy.arm) == ("accuracy", "test", "listener")
    assert found.shown and found.estimate.value is not None and found.estimate.value > 0.1 and found.seeds == 3
    assert disagreement.relative
    gaps = differences(summary)
    # `blind` answers exactly as `naive` does, seed by seed.
    same = gaps[Comparison("blind", "naive", "test", "accuracy", False)]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    level = absolute(summary)
    gap = gaps[Comparison("listener", "naive", "test", "accuracy", False)].value
    a, b = (level[arm, "test", "accuracy"].value for arm in ("listener", "naive"))
    assert a is not None and b is not None and gap == pytest.approx(a - b)


def test_only_seeds_that_both_arms_have_are_compared(experiment: Path) -> None:
    summary = summarise(experiment)
    del summary.totals["naive", 1, "test"]  # type: ignore[attr-defined]
    (found,) = compared(summary, [Comparison("listener", "naive", "test", "accuracy", False)])
    assert found.seeds == 2
    for seed in (0, 2):
        del summary.totals["naive", seed, "test"]  # type: ignore[attr-defined]
    (none,) = compared(summary, [Comparison("listener", "naive", "test", "accuracy", False)])
    assert none.value is None and none.n == 0


def test_an_interval_ends_where_the_quantity_does() -> None:
    assert within_range(Estimate(0.02, -0.01, 0.05, 9), "malformed_rate") == Estimate(0.02, 0.0, 0.05, 9)
    assert within_range(Estimate(0.97, 0.9, 1.04, 9), "accuracy") == Estimate(0.97, 0.9, 1.0, 9)
    assert within_range(Estimate(1.4, -2.0, 4.8, 9), "false_claims") == Estimate(1.4, 0.0, 4.8, 9)
    assert within_range(Estimate.missing(), "ece") == Estimate.missing()


def test_families_are_corrected_apart(experiment: Path) -> None:
    summary = summarise(experiment)
    together = [decision for _, decision in primary(summary)]
    summary.about["primary"][1]["family"] = "another"
    apart = [decision for _, decision in primary(summary)]
    for one, alone in zip(together, apart, strict=True):
        assert alone.adjusted_p == alone.p_value == one.p_value
        assert alone.simultaneous == alone.estimate


def test_arms_whose_seeds_are_not_paired_have_all_of_theirs_and_the_spread_of_each(experiment: Path) -> None:
    summary = summarise(experiment)
    summary.about["paired_seeds"] = False  # type: ignore[index]
    one = Comparison("listener", "naive", "test", "accuracy", False)
    del summary.totals["naive", 1, "test"]  # type: ignore[attr-defined]
    (gap,) = compared(summary, [one])
    level = absolute(summary)
    a, b = (level[arm, "test", "accuracy"].value for arm in ("listener", "naive"))
    assert a is not None and b is not None and gap.value == pytest.approx(a - b)
    # `blind` answers exactly as `naive` does, but who doesn't know that has the spread of both between seeds.
    (same,) = compared(summary, [Comparison("blind", "naive", "test", "false_claims", True)])
    found = same.estimate()
    assert found.low is not None and found.high is not None and found.low < found.high
    rates = [
        np.log([summary.statistic(arm, seed, "test", "false_claims").value() for seed in seeds]).mean()
        for arm, seeds in (("blind", (0, 1, 2)), ("naive", (0, 2)))
    ]
    assert same.value == pytest.approx(rates[0] - rates[1])  # of the geometric means


def test_what_a_reader_makes_of_an_arm_is_compared_with_its_own_verdict_seed_by_seed(experiment: Path) -> None:
    summary = summarise(experiment)
    summary.about["paired_seeds"] = False  # type: ignore[index]
    summary.about["primary"][:] = [
        {
            "endpoint": "accuracy.read.held-out", "sets": ["test"], "arms": ["naive", "listener"], "against": "naive",
            "against_endpoint": "accuracy", "relative": False, "goal": 0.1, "family": "reader",
        }
    ]  # fmt: skip
    ((own, decision), (_, other)) = primary(summary)
    level = absolute(summary)
    read, verdict = (level["naive", "test", name].value for name in ("accuracy.read.held-out", "accuracy"))
    assert own.arm == own.against == "naive"  # the same arm, not the same endpoint
    assert read is not None and verdict is not None and decision.estimate.value == pytest.approx(read - verdict)
    assert decision.seeds == 3 and other.estimate.value is not None
    heads = "| naive − naive | accuracy as the held-out listener reads − accuracy | test |"
    assert heads in markdown(Results(summary))
