"""Differences are paired on the same pairs, whatever the order of the rows; power and seeds are those of `stats`."""

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.metrics import PredictionTable
from earshot.metrics.estimates import pair_statistics
from earshot.report.comparing import (
    aligned,
    arms_of,
    differences,
    pooled,
    power_of,
    power_words,
    resamples_for,
    within_range,
)
from earshot.stats import (
    RESAMPLES,
    PairedPower,
    contrasts,
    design_effect,
    detectable_difference,
    intraclass_statistic,
    pairs_needed,
)
from earshot.types import Estimate
from tests.report.runs import RIGHT, WRONG, row, table

PROMPTS = ("q1", "q1", "q2", "q2", "q3", "q3", "q4", "q4")
A = (RIGHT, RIGHT, WRONG, WRONG, RIGHT, WRONG, RIGHT, WRONG)  # 4 of 8 right
B = (RIGHT, RIGHT, RIGHT, RIGHT, WRONG, WRONG, RIGHT, RIGHT)  # 6 of 8 right; one of the two is right on p2 p3 p4 p7


def judged(predictions: tuple[float, ...], votes: tuple[float, float] = (3, 1)) -> PredictionTable:
    return table([row(f"p{i}", p, votes, prompt=PROMPTS[i]) for i, p in enumerate(predictions)])


def test_a_difference_is_the_runs_minus_the_first():
    (found,) = differences({"a": judged(A), "b": judged(B)})
    assert found.run == "b"
    assert found.estimates["accuracy"].value == pytest.approx(2 / 8)
    # Brier: votes 3 : 1, so (0.9 - 0.75)² = 0.0225 where right and (0.1 - 0.75)² = 0.4225 where not; two rows fewer.
    assert found.estimates["brier"].value == pytest.approx(-2 / 8 * (0.4225 - 0.0225))


def test_the_order_of_the_rows_and_the_prompts_numbers_change_nothing():
    first, second = judged(A), judged(B)
    shuffled = table([row(f"p{i}", B[i], prompt=PROMPTS[i]) for i in (7, 2, 5, 0, 1, 6, 3, 4)])
    assert shuffled.cluster.tolist() != second.cluster.tolist()
    (one,), (other,) = differences({"a": first, "b": second}), differences({"a": first, "b": shuffled})
    assert one.estimates["accuracy"] == other.estimates["accuracy"]
    assert one.power == other.power


def test_runs_of_other_pairs_or_votes_are_not_compared():
    first, fewer = judged(A), judged((0.9,) * 6)
    few, votes = differences({"a": first, "few": fewer, "votes": judged(A, (1, 3))})
    assert few.fault == "judged 6 and 8 pairs, 6 of them the same"
    assert votes.fault == "the same pairs have different votes"
    assert not few.estimates
    with pytest.raises(DataError, match="6 of them the same"):
        aligned(first, fewer)


def test_power_is_of_the_pairs_on_which_one_is_right():
    found = power_of(judged(B), judged(A))
    assert found is not None
    assert (found.pairs, found.prompts, found.discordance) == (8, 4, 4 / 8)
    # The gaps are 0 0, 1 1, -1 0, 0 1: two pairs a prompt, all prompts alike, so cv 0; the correlation is stats' own.
    gaps, clusters = np.array([0.0, 0, 1, 1, -1, 0, 0, 1]), np.array([0, 0, 1, 1, 2, 2, 3, 3])
    correlation = intraclass_statistic(gaps, clusters, 4).value()
    assert correlation > 0
    effect = design_effect(2.0, correlation)
    assert found.detectable == detectable_difference(8, 0.5, effect=effect)
    assert found.needed == pairs_needed(0.25, 0.5, effect=effect)


def test_a_correlation_below_zero_counts_as_none():
    # Gaps 1 -1 in each prompt: the two differ within prompts and not between them.
    rows = [
        [row(f"p{i}", p, prompt=f"q{i // 2}") for i, p in enumerate(ps)] for ps in ((0.9, 0.1) * 30, (0.1, 0.9) * 30)
    ]
    found = power_of(table(rows[0]), table(rows[1]))
    assert found is not None
    assert found.detectable == detectable_difference(60, 1.0)
    assert found.needed is None  # the accuracies are the same


def test_power_is_told_in_words():
    words = power_words(PairedPower(600, 480, 0.2, 0.051, 1_234))
    assert "20.0 % of 600 strict pairs of 480 prompts" in words
    assert "5.1 points would be shown with a chance of 80 %" in words
    assert "1,234 pairs" in words
    assert "no size" in power_words(PairedPower(4, 4, 0.2, None, None))
    assert "nothing tells them apart" in power_words(PairedPower(4, 4, 0.0, None, None))
    assert power_of(judged(A), judged(A)) == PairedPower(8, 4, 0.0, None, None)
    ties = table([row("p", 0.9, (2, 2))])
    assert power_of(ties, ties) is None


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
    (a, b), fault = pooled(runs)
    assert fault is None
    assert a.means["accuracy"].value == pytest.approx((4 / 8 + 6 / 8) / 2)
    accuracy = [pair_statistics(aligned(one, runs["a-seed0"]))["accuracy"] for one in runs.values()]
    mean = contrasts({0: accuracy[:2]}, resamples=RESAMPLES)[0].estimate()
    assert a.means["accuracy"] == within_range("accuracy", mean)
    assert (a.against, b.against) == (None, "a")
    gap = contrasts({0: accuracy[2:]}, {0: accuracy[:2]}, resamples=RESAMPLES)[0]
    assert b.differences["accuracy"] == gap.estimate()
    assert b.differences["accuracy"].value == pytest.approx(6 / 8 - 5 / 8)


def test_seeds_of_other_pairs_are_not_pooled():
    found, fault = pooled({"a-seed0": judged(A), "a-seed1": judged((0.9,))})
    assert found == []
    assert fault is not None
    assert "not of the same pairs" in fault
    assert pooled({"a": judged(A), "b": judged(B)}) == ([], None)


def test_an_interval_is_cut_to_what_a_share_can_be():
    assert within_range("accuracy", Estimate(0.9, 0.4, 1.4, 3)) == Estimate(0.9, 0.4, 1.0, 3)
    assert within_range("false_claims", Estimate(1.0, -2.0, 4.0, 3)) == Estimate(1.0, 0.0, 4.0, 3)
    assert within_range("accuracy", Estimate.missing()) == Estimate.missing()


def test_resamples_are_fewer_where_prompts_are_many():
    assert resamples_for(500) == 10_000
    assert resamples_for(100_000) == 2_000
    assert resamples_for(10**7) == 1_000
