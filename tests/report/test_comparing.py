"""Differences are paired on the same pairs, whatever the order of the rows; seeds are those of `stats`."""

import pytest

from earshot.errors import DataError
from earshot.metrics import PredictionTable
from earshot.metrics.estimates import pair_statistics
from earshot.report.comparing import (
    aligned,
    arms_of,
    compared,
    differences,
    pooled,
    resamples_for,
    shown_difference,
    within_range,
)
from earshot.stats import RESAMPLES, contrasts
from earshot.types import Estimate
from tests.report.runs import RIGHT, WRONG, row, table

PROMPTS = ("q1", "q1", "q2", "q2", "q3", "q3", "q4", "q4")
A = (RIGHT, RIGHT, WRONG, WRONG, RIGHT, WRONG, RIGHT, WRONG)  # 4 of 8 right
B = (RIGHT, RIGHT, RIGHT, RIGHT, WRONG, WRONG, RIGHT, RIGHT)  # 6 of 8 right; one of the two is right on p2 p3 p4 p7


def judged(predictions: tuple[float, ...], votes: tuple[float, float] = (3, 1)) -> PredictionTable:
    return table([row(f"p{i}", p, votes, prompt=PROMPTS[i]) for i, p in enumerate(predictions)])


def test_a_difference_is_the_later_run_minus_the_earlier():
    (found,) = differences({"a": judged(A), "b": judged(B)})
    assert (found.run, found.against) == ("b", "a")
    assert found.estimates["accuracy"].value == pytest.approx(2 / 8)
    # Brier: votes 3 : 1, so (0.9 - 0.75)² = 0.0225 where right and (0.1 - 0.75)² = 0.4225 where not; two rows fewer.
    assert found.estimates["brier"].value == pytest.approx(-2 / 8 * (0.4225 - 0.0225))


def test_the_order_of_the_rows_and_the_prompts_numbers_change_nothing():
    first, second = judged(A), judged(B)
    shuffled = table([row(f"p{i}", B[i], prompt=PROMPTS[i]) for i in (7, 2, 5, 0, 1, 6, 3, 4)])
    assert shuffled.cluster.tolist() != second.cluster.tolist()
    (one,), (other,) = differences({"a": first, "b": second}), differences({"a": first, "b": shuffled})
    assert one.estimates["accuracy"] == other.estimates["accuracy"]


def test_runs_of_other_pairs_or_votes_are_not_compared():
    first, fewer = judged(A), judged((0.9,) * 6)
    few, votes, neither = differences({"a": first, "few": fewer, "votes": judged(A, (1, 3))})
    assert [(one.run, one.against) for one in (few, votes, neither)] == [("few", "a"), ("votes", "a"), ("votes", "few")]
    assert few.fault == "judged 6 and 8 pairs, 6 of them the same"
    assert votes.fault == "the same pairs have different votes"
    assert not few.estimates
    with pytest.raises(DataError, match="6 of them the same"):
        aligned(first, fewer)


def test_every_two_runs_are_compared_and_of_many_each_with_the_first():
    assert compared(["sft", "naive", "heard"]) == [("naive", "sft"), ("heard", "sft"), ("heard", "naive")]
    assert len(compared("abcde")) == 10
    assert compared("abcdef") == [(later, "a") for later in "bcdef"]
    assert compared("a") == []


def test_what_can_be_shown_is_of_the_intervals_width_and_not_of_what_was_found():
    # Half of the width is 1.96 standard errors; 0.84 more are what 80 % of the draws leave behind: 0.03 · 2.80 / 1.96.
    for shift in (-0.2, 0.0, 0.3):
        gap = Estimate(shift, shift - 0.03, shift + 0.03, 100)
        assert shown_difference([gap]) == pytest.approx(0.03 * 2.8016 / 1.95996, rel=1e-4)
    wide, narrow, none = Estimate(0.0, -0.1, 0.1, 9), Estimate(0.0, -0.01, 0.01, 9), Estimate(0.1, None, None, 1)
    assert shown_difference([narrow, wide, none]) == shown_difference([wide])
    assert shown_difference([none]) is None
    assert shown_difference([]) is None


def test_seeds_of_an_arm_are_known_by_their_names():
    names = ["sft-seed0", "sft-seed1", "grpo/seed=0", "grpo/seed=1", "kto_s0", "kto_s1", "runs5", "pass2", "one-seed0"]
    assert arms_of(names) == {
        "sft": ["sft-seed0", "sft-seed1"],
        "grpo": ["grpo/seed=0", "grpo/seed=1"],
        "kto": ["kto_s0", "kto_s1"],
    }
    assert arms_of(["seed0", "seed1"]) == {"all seeds": ["seed0", "seed1"]}
    assert arms_of(["naive", "listener"]) == {}


def test_seeds_are_pooled_as_stats_does():
    runs = {"a-seed0": judged(A), "a-seed1": judged(B), "b-seed0": judged(B), "b-seed1": judged(B)}
    (a, b), (difference,), fault = pooled(runs)
    assert fault is None
    assert a.means["accuracy"].value == pytest.approx((4 / 8 + 6 / 8) / 2)
    accuracy = [pair_statistics(aligned(one, runs["a-seed0"]))["accuracy"] for one in runs.values()]
    mean = contrasts({0: accuracy[:2]}, resamples=RESAMPLES)[0].estimate()
    assert a.means["accuracy"] == within_range("accuracy", mean)
    assert (b.arm, difference.run, difference.against) == ("b", "b", "a")
    gap = contrasts({0: accuracy[2:]}, {0: accuracy[:2]}, resamples=RESAMPLES)[0]
    assert difference.estimates["accuracy"] == gap.estimate()
    assert difference.estimates["accuracy"].value == pytest.approx(6 / 8 - 5 / 8)


def test_seeds_of_other_pairs_are_not_pooled():
    found, gaps, fault = pooled({"a-seed0": judged(A), "a-seed1": judged((0.9,))})
    assert found == gaps == []
    assert fault is not None
    assert "not of the same pairs" in fault
    assert pooled({"a": judged(A), "b": judged(B)}) == ([], [], None)


def test_an_interval_is_cut_to_what_a_share_can_be():
    assert within_range("accuracy", Estimate(0.9, 0.4, 1.4, 3)) == Estimate(0.9, 0.4, 1.0, 3)
    assert within_range("false_claims", Estimate(1.0, -2.0, 4.0, 3)) == Estimate(1.0, 0.0, 4.0, 3)
    assert within_range("accuracy", Estimate.missing()) == Estimate.missing()


def test_resamples_are_fewer_where_prompts_are_many():
    assert resamples_for(500) == 10_000
    assert resamples_for(100_000) == 2_000
    assert resamples_for(10**7) == 1_000
