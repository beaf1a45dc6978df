"""What completions earn, worked by hand; a part that is missing makes the sum missing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jaxtyping import TypeCheckError

from earshot.errors import DataError, ListenerUnavailable
from earshot.rewards import (
    ADVANTAGE_EPSILON,
    FOR_ANSWER,
    FOR_TRACE,
    MALFORMED_REWARD,
    RewardParts,
    accuracy_reward,
    claim_advantages,
    claims_reward,
    combine,
    group_advantages,
    listener_reward,
    paid_for,
    read_agreement_reward,
    speaker_reward,
)
from earshot.types import Malformed, Verdict, Votes, other

FIRST_LIKED = Votes(3.0, 1.0)
TIE = Votes(2.0, 2.0)
NO_VOTES = Votes(0.0, 0.0)
WEIGHTS = {"format": 1.0, "accuracy": 0.5, "listener": 0.5, "claims": 0.0}
GOOD = Verdict("first", "because")
BAD = Malformed("two answers")

probabilities = st.floats(0, 1)
counts = st.integers(0, 50).map(float)
votes_of_all_kinds = st.builds(Votes, counts, counts)


@pytest.mark.parametrize(
    ("side", "votes", "paid"),
    [
        ("first", FIRST_LIKED, 1.0),
        ("second", FIRST_LIKED, 0.0),
        ("first", TIE, None),
        ("first", NO_VOTES, None),
        (None, FIRST_LIKED, 0.0),
        (None, TIE, 0.0),
    ],
)
def test_accuracy_pays_for_the_majority_and_has_no_label_on_a_tie(side, votes, paid):
    assert accuracy_reward(side, votes) == paid


@pytest.mark.parametrize(
    ("p_first", "votes", "soft_labels", "prior", "expected"),
    [
        (0.8, FIRST_LIKED, False, None, 0.8),
        (0.8, FIRST_LIKED.swapped(), False, None, 0.2),
        (0.8, FIRST_LIKED, True, None, 0.65),  # 0.75 * 0.8 + 0.25 * 0.2
        (0.8, TIE, False, None, None),
        (0.8, TIE, True, None, 0.5),
        (0.8, NO_VOTES, True, None, None),
        (0.8, FIRST_LIKED, False, 0.6, 0.2),
        (0.8, FIRST_LIKED.swapped(), False, 0.6, -0.2),
        (0.8, FIRST_LIKED, True, 0.6, 0.1),  # 0.65 - (0.75 * 0.6 + 0.25 * 0.4) = 0.65 - 0.55
        (None, FIRST_LIKED, False, None, None),
        (math.nan, FIRST_LIKED, False, None, None),
        (0.8, FIRST_LIKED, False, math.nan, None),
        (math.inf, FIRST_LIKED, False, None, None),
    ],
)
def test_the_listener_pays_its_confidence_in_the_label(p_first, votes, soft_labels, prior, expected):
    got = listener_reward(p_first, votes, soft_labels=soft_labels, prior_p_first=prior)
    assert got == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("p_first", [-0.01, 1.01])
def test_a_probability_out_of_range_is_a_broken_listener(p_first):
    with pytest.raises(ListenerUnavailable, match="expected a probability"):
        listener_reward(p_first, FIRST_LIKED)
    with pytest.raises(ListenerUnavailable, match="expected a probability"):
        listener_reward(0.5, FIRST_LIKED, prior_p_first=p_first)


@given(probabilities, votes_of_all_kinds, st.booleans())
def test_with_a_prior_an_empty_trace_earns_exactly_nothing(p, votes, soft):
    assert listener_reward(p, votes, soft_labels=soft, prior_p_first=p) in (0.0, None)


@given(probabilities, st.none() | probabilities, votes_of_all_kinds, st.booleans())
def test_swapping_the_images_leaves_every_part_as_it_is(p, prior, votes, soft):
    flipped = None if prior is None else 1 - prior
    as_shown = listener_reward(p, votes, soft_labels=soft, prior_p_first=prior)
    turned = listener_reward(1 - p, votes.swapped(), soft_labels=soft, prior_p_first=flipped)
    assert turned == (None if as_shown is None else pytest.approx(as_shown, abs=1e-12))
    for side in ("first", "second"):
        assert accuracy_reward(other(side), votes.swapped()) == accuracy_reward(side, votes)


def test_the_sum_weighs_the_parts():
    # 1 * 1 + 0.5 * 1 + 0.5 * 0.8 = 1.9
    assert combine(GOOD, 1.0, 0.8, WEIGHTS) == RewardParts(pytest.approx(1.9), 1.0, 1.0, 0.8)
    # 2 * 1 + 0 * 1 + 3 * 0.8 = 4.4
    assert combine(GOOD, 1.0, 0.8, WEIGHTS | {"format": 2.0, "accuracy": 0.0, "listener": 3.0}).total == pytest.approx(
        4.4
    )


@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_part_makes_the_sum_missing_and_not_zero(missing):
    assert combine(GOOD, 1.0, missing, WEIGHTS).total is None
    assert combine(GOOD, missing, 0.8, WEIGHTS).total is None


def test_a_part_that_weighs_nothing_may_be_missing():
    assert combine(GOOD, 1.0, None, WEIGHTS | {"listener": 0.0}) == RewardParts(1.5, 1.0, 1.0, None)
    assert combine(GOOD, None, None, WEIGHTS | {"accuracy": 0.0, "listener": 0.0}).total == 1.0


@given(st.none() | probabilities, st.none() | probabilities)
def test_a_malformed_completion_earns_nothing_whatever_a_listener_would_say(accuracy, listener):
    assert combine(BAD, accuracy, listener, WEIGHTS) == MALFORMED_REWARD == RewardParts(*[0.0] * 7)


def test_an_advantage_is_the_distance_from_the_mean_in_standard_deviations():
    # mean 2, squared gaps 1 + 0 + 1, sample variance 2 / 2 = 1
    assert group_advantages(np.array([[1.0, 2.0, 3.0]])) == pytest.approx(
        np.array([[-1.0, 0.0, 1.0]]) / (1 + ADVANTAGE_EPSILON)
    )


def test_a_missing_reward_leaves_its_group_and_moves_nothing():
    got = group_advantages(np.array([[1.0, np.nan, 2.0, 3.0], [5.0, 5.0, np.nan, 5.0]]))
    scale = 1 / (1 + ADVANTAGE_EPSILON)
    assert got == pytest.approx(np.array([[-scale, 0.0, 0.0, scale], [0.0, 0.0, 0.0, 0.0]]))


def test_a_group_with_one_reward_or_none_moves_nothing():
    assert group_advantages(np.array([[np.nan, 7.0], [np.nan, np.nan]])).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.floats(-5, 5))
def test_advantages_sum_to_nothing_and_do_not_see_a_constant(rewards, constant):
    one = group_advantages(np.array([rewards]))
    assert one.sum() == pytest.approx(0, abs=1e-6)
    assert group_advantages(np.array([rewards]) + constant) == pytest.approx(one, abs=1e-6)


def test_advantages_are_those_of_trl():
    torch = pytest.importorskip("torch")
    nanstd = pytest.importorskip("trl.trainer.utils").nanstd
    rewards = np.array([[1.9, 1.5, np.nan, 0.0], [1.0, 1.2, 0.3, 1.9]])
    tensor = torch.tensor(rewards)
    expected = (tensor - tensor.nanmean(dim=1, keepdim=True)) / (nanstd(tensor, dim=1, keepdim=True) + 1e-4)
    assert group_advantages(rewards) == pytest.approx(
        expected.nan_to_num(0.0).numpy(), abs=1e-7
    )  # TRL counts in float32


def test_a_flat_array_of_rewards_is_refused():
    with pytest.raises(TypeCheckError):
        group_advantages(np.zeros(4))


@pytest.mark.parametrize(
    ("believed", "options", "expected"),
    [
        ([], {}, 0.0),  # a trace without a claim earns nothing
        ([0.9, 0.5, 0.1], {}, 0.5),  # the mean
        ([0.9], {"at_least": 6}, 0.15),  # 0.9 / 6: one safe claim does not earn what six do
        ([0.9] * 8, {"at_least": 6}, 0.9),
        ([0.9, 0.6], {"priors": [0.5, 0.6]}, 0.2),  # (0.4 + 0) / 2: what is believed of grey earns nothing
        ([], {"priors": [], "at_least": 4}, 0.0),
        ([0.9, math.nan], {}, None),
        ([0.9], {"priors": [math.nan]}, None),
    ],
)
def test_claims_pay_for_the_share_that_is_believed(believed, options, expected):
    paid = claims_reward(believed, **options)
    assert paid is None if expected is None else paid == pytest.approx(expected)


@given(st.lists(probabilities, min_size=1, max_size=9), st.integers(1, 12))
def test_what_a_grey_image_would_have_believed_as_well_earns_nothing(believed, at_least):
    assert claims_reward(believed, priors=believed, at_least=at_least) == pytest.approx(0.0, abs=1e-12)


def test_claims_refuse_what_is_no_probability():
    with pytest.raises(ListenerUnavailable, match=r"1.5"):
        claims_reward([0.5, 1.5])
    with pytest.raises(DataError, match="1 priors for 2 claims"):
        claims_reward([0.5, 0.5], priors=[0.1])


def test_claims_and_listener_at_half_weight_each_add_up_and_either_missing_makes_the_sum_missing():
    weights = WEIGHTS | {"listener": 0.25, "claims": 0.25}
    # 1 + 0.5·1 + 0.25·0.8 + 0.25·0.4 = 1.8
    assert combine(GOOD, 1.0, 0.8, weights, 0.4) == RewardParts(pytest.approx(1.8), 1.0, 1.0, 0.8, 0.4)
    assert combine(GOOD, 1.0, 0.8, weights, None).total is None
    assert combine(GOOD, 1.0, None, weights, 0.4).total is None
    assert combine(GOOD, 1.0, 0.8, WEIGHTS, None).total == pytest.approx(1.9)
    assert combine(BAD, 0.0, None, weights, None) == MALFORMED_REWARD


def test_a_speaker_pays_likely_words_in_proportion_to_what_they_claim() -> None:
    assert speaker_reward(0.5, 4) == speaker_reward(0.5, 4, at_least=4) == 0.5
    assert speaker_reward(0.5, 1, at_least=4) == 0.125  # one safe claim
    assert speaker_reward(None, 0) == speaker_reward(0.9, 0, at_least=4) == 0.0
    assert speaker_reward(None, 2) is None and speaker_reward(math.nan, 2) is None
    with pytest.raises(ListenerUnavailable, match=r"1\.5"):
        speaker_reward(1.5, 2)
    weights = WEIGHTS | {"speaker": 2.0}
    assert combine(GOOD, 1.0, 0.8, weights, speaker=0.25).total == pytest.approx(1.9 + 0.5)
    assert combine(GOOD, 1.0, 0.8, weights).total is None


FOR, AGAINST, TIE = Votes(3.0, 1.0), Votes(1.0, 3.0), Votes(2.0, 2.0)


@pytest.mark.parametrize(
    ("side", "p_first", "votes", "expected"),
    [
        ("first", 0.9, FOR, 1.0),
        ("second", 0.1, AGAINST, 1.0),
        ("first", 0.9, AGAINST, 0.0),  # alike, and wrong
        ("second", 0.9, FOR, 0.0),  # the reader is right, its author is not
        ("first", 0.1, FOR, 0.0),  # right, and read otherwise
        ("first", 0.5, FOR, 0.0),  # a reader that cannot tell reads nothing alike
        ("second", 0.5, AGAINST, 0.0),
        ("second", math.nextafter(0.5, 0.0), AGAINST, 1.0),
        ("first", 0.9, TIE, None),
        ("first", 0.9, Votes(0.0, 0.0), None),
        ("first", None, FOR, None),
        ("first", math.nan, FOR, None),
        ("second", None, FOR, None),  # wrong for sure, and out of the group as the right ones are
        (None, None, FOR, 0.0),  # malformed
        (None, 0.9, TIE, 0.0),
    ],
)
def test_agreement_pays_what_is_right_and_read_alike(side, p_first, votes, expected):
    assert read_agreement_reward(side, p_first, votes) == expected
    swapped = None if p_first is None else 1.0 - p_first
    if p_first != math.nextafter(0.5, 0.0):  # which has no other side
        turned = {"first": "second", "second": "first", None: None}[side]
        assert read_agreement_reward(turned, swapped, votes.swapped()) == expected


def test_agreement_refuses_what_is_no_probability_and_adds_up() -> None:
    with pytest.raises(ListenerUnavailable, match=r"1\.5"):
        read_agreement_reward("first", 1.5, FOR)
    weights = WEIGHTS | {"read_agreement": 2.0}
    assert combine(GOOD, 1.0, 0.8, weights, read_agreement=1.0).total == pytest.approx(1.9 + 2.0)
    assert combine(GOOD, 1.0, 0.8, weights).total is None


def test_what_is_paid_for_the_trace_and_what_for_the_answer() -> None:
    weights = WEIGHTS | {"listener": 0.5, "claims": 2.0, "speaker": 1.0}
    parts = RewardParts(3.0, 1.0, 1.0, 0.4, 0.5)
    assert paid_for(parts, weights, FOR_TRACE) == pytest.approx(0.2 + 1.0)
    assert paid_for(parts, weights, FOR_ANSWER) == pytest.approx(1.0 + 0.5)
    assert paid_for(parts._replace(speaker=0.3), weights, FOR_TRACE) == pytest.approx(0.2 + 1.0 + 0.3)
    # What takes both is paid for both.
    parts, weights = parts._replace(read_agreement=1.0), weights | {"read_agreement": 0.25}
    assert paid_for(parts, weights, FOR_TRACE) == pytest.approx(0.2 + 1.0 + 0.25)
    assert paid_for(parts, weights, FOR_ANSWER) == pytest.approx(1.0 + 0.5 + 0.25)
    assert math.isnan(paid_for(RewardParts(None, 1.0, 1.0, None, None), weights, FOR_ANSWER))


def test_a_claim_is_told_of_itself_and_its_trace_of_the_rest_on_one_scale() -> None:
    # s: 1 and 0, mean 0.5, variance 0.5; u: 0.9, 0.5 and 0.1, mean 0.5, variance (0.16 + 0 + 0.16) / 2 = 0.16
    told = claim_advantages(np.array([[1.0, 0.0]]), [[0.9, 0.5], [0.1]])
    scale = math.sqrt(0.5 + 0.16) + ADVANTAGE_EPSILON
    assert told.trace.tolist() == [[pytest.approx(0.5 / scale), pytest.approx(-0.5 / scale)]]
    assert [x for one in told.claims for x in one] == pytest.approx([0.4 / scale, 0.0, -0.4 / scale])


def test_claims_are_compared_within_their_group_and_a_missing_reward_takes_its_claims_out() -> None:
    paid = np.array([[0.5, 0.5, np.nan], [0.0, 0.0, 0.0]])
    told = claim_advantages(paid, [[0.9], [0.1], [0.8, 0.7], [0.3], [], [0.3]])
    # The first group's two: mean 0.5, variance (0.16 + 0.16) / 1 = 0.32; the second's are equal.
    scale = math.sqrt(0.32) + ADVANTAGE_EPSILON
    assert told.claims == [[pytest.approx(0.4 / scale)], [pytest.approx(-0.4 / scale)], [0, 0], [0], [], [0]]
    assert not told.trace.any()
    alone = claim_advantages(np.array([[1.0, np.nan]]), [[0.9], []])
    assert alone.claims == [[0.0], []] and not alone.trace.any()


@given(hnp.arrays(float, (2, 3), elements=st.floats(-2, 2)))
def test_without_claims_it_is_the_advantage_of_groups(paid):
    assert claim_advantages(paid, [[]] * 6).trace == pytest.approx(group_advantages(paid), abs=1e-9)
