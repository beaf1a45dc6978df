"""Every protocol on answers that can be counted by hand, what a tie and no answer are worth, and thresholds."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot.benchmarks.answers import without_pairs
from earshot.benchmarks.protocols import PROTOCOLS, WITH_THRESHOLD, Protocol, Result, find_protocol
from earshot.errors import DataError, InputError
from earshot.types import hash_of

from .judging import CODES, judged, with_p

# Prompt 0: right, wrong, tie in truth. Prompt 1: no answer, and a predicted tie on a strict pair.
TRUTH = ["first", "second", "tie", "first", "second"]
ANSWERS = ["first", "first", "second", None, "tie"]
PROMPTS = [0, 0, 0, 1, 1]


def score(name: str, answers: object = None) -> Result:
    given = judged(TRUTH, ANSWERS, PROMPTS) if answers is None else answers
    return find_protocol(name).evaluate(given, resamples=50)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value", "n", "missing"),
    [
        ("imagereward-micro", 1 / 4, 4, 1),  # strict pairs 0, 1, 3, 4: right, wrong, no answer, predicted tie
        ("imagereward-macro", (1 / 2 + 0) / 2, 2, 1),  # prompt 0 one of two, prompt 1 none of two
        ("hpdv2", (2 / 3 + 1 / 2) / 2, 2, 1),  # 0: right, inverted, tied truth; 1: no answer, predicted tie
        ("hpdv3", 1 / 4, 4, 1),
        ("pickapic-no-ties", 1 / 4, 4, 1),
        ("mjbench", 1 / 4, 4, 1),
        ("genai-bench-diff", 1 / 4, 4, 1),
        ("genai-bench-four-way", 1 / 5, 5, 1),
        ("rapidata-majority", 1 / 4, 4, 1),
        ("earshot", 1 / 4, 4, 1),
        ("earshot-macro", 1 / 4, 2, 1),
    ],
)
def test_each_protocol_by_hand(name: str, value: float, n: int, missing: int) -> None:
    result = score(name)
    assert result.estimate.value == pytest.approx(value)
    assert result.estimate.n == n
    assert (result.n_pairs, result.n_ties, result.n_missing, result.n_prompts) == (5, 1, missing, 2)


def test_the_same_answers_differ_micro_and_macro_where_prompts_differ_in_size() -> None:
    # Prompt 0 has three pairs, all right; prompt 1 has one, wrong: 3/4 over pairs, (1 + 0)/2 over prompts.
    answers = judged(["first"] * 4, ["first"] * 3 + ["second"], [0, 0, 0, 1])
    assert score("imagereward-micro", answers).estimate.value == 0.75
    assert score("imagereward-macro", answers).estimate.value == 0.5


def test_hpdv2_is_one_minus_inversions_of_rankings() -> None:
    # Ranks of four images, 1 the best, and scores; images 2 and 3 share a rank. Six pairs (0,1) … (2,3).
    ranks, scores = [1, 2, 3, 3], [0.9, 0.2, 0.5, 0.5]
    pairs = list(combinations(range(4), 2))
    truth = ["tie" if ranks[i] == ranks[j] else "first" if ranks[i] < ranks[j] else "second" for i, j in pairs]
    says = ["tie" if scores[i] == scores[j] else "first" if scores[i] > scores[j] else "second" for i, j in pairs]
    inversions = sum((ranks[i] - ranks[j]) * (scores[i] - scores[j]) > 0 for i, j in pairs)
    assert inversions == 2  # (1,2) and (1,3)
    value = score("hpdv2", judged(truth, says, [0] * 6)).estimate.value
    assert value == pytest.approx(1 - 2 / 6)


@pytest.mark.parametrize(
    ("truth", "answer", "worth"),
    [
        ("first", "first", 1),
        ("tie", "tie", 1),
        ("tie", "both_bad", 0),
        ("both_bad", "both_bad", 1),
        ("both_bad", "equal", 1),  # [[A=B]] is right of either, as the reference has it
        ("tie", "equal", 1),
        ("first", "equal", 0),
        ("second", None, 0),
        ("both_bad", None, 0),
    ],
)
def test_four_way(truth: str, answer: str | None, worth: float) -> None:
    assert score("genai-bench-four-way", judged([truth], [answer])).estimate.value == worth


@pytest.mark.parametrize(
    ("truth", "p_first", "worth"),
    [
        ("first", 0.8, 1.0),  # a gap of 0.6
        ("first", 0.55, 0.5),  # a gap of 0.1 is within 0.25: a tie, half right
        ("first", 0.625, 0.5),  # a gap of just 0.25 is a tie
        ("tie", 0.55, 1.0),
        ("tie", 0.8, 0.5),
        ("second", 0.8, 0.0),
        ("both_bad", 0.55, 1.0),
        ("tie", float("nan"), 0.0),  # no answer is no tie
    ],
)
def test_pickapic_gives_half_for_a_tie_mismatch(truth: str, p_first: float, worth: float) -> None:
    protocol = find_protocol("pickapic-official").with_threshold(0.25)
    assert protocol.evaluate(with_p([truth], [p_first]), resamples=5).estimate.value == worth


def test_pickapic_takes_the_softmax_of_scores() -> None:
    # Scores 1 and 0: softmax 0.731 and 0.269, a gap of 0.46211716.
    answers = replace(with_p(["first"], [0.9]), margin=np.array([1.0]), margin_unit="score")
    official = find_protocol("pickapic-official")
    assert official.with_threshold(0.462118).evaluate(answers, resamples=5).estimate.value == 0.5
    assert official.with_threshold(0.462117).evaluate(answers, resamples=5).estimate.value == 1.0


def test_a_threshold_is_given_or_fitted_on_other_pairs_and_never_on_the_test() -> None:
    test = with_p(["first", "tie"], [0.6, 0.6])
    for name in WITH_THRESHOLD:
        with pytest.raises(InputError, match="never on the test set"):
            find_protocol(name).evaluate(test)
        with pytest.raises(InputError, match="2 of the 2 validation pairs are test pairs"):
            find_protocol(name).fitted(test, test)
    with pytest.raises(InputError, match="takes no threshold"):
        find_protocol("hpdv3").with_threshold(0.1)
    with pytest.raises(InputError, match="-1"):
        find_protocol("pickapic-official").with_threshold(-1.0)


def elsewhere(answers: object) -> object:
    return replace(answers, pair_hash=np.array([hash_of(f"v{i}") for i in range(len(answers))]))  # type: ignore


def test_pickapics_threshold_is_the_best_of_its_grid() -> None:
    # Gaps 0.1 (a tie), 0.35 (a tie), 0.6 (first), 0.8 (second, wrong side given). Up to 0.4 both ties are called:
    # 1 + 1 + 1 + 0 = 3; up to 0.1: 1 + .5 + 1 + 0; up to 0.6: 1 + 1 + .5 + 0; 0.8 and above: 1 + 1 + .5 + .5 = 3.
    validation = elsewhere(with_p(["tie", "tie", "first", "second"], [0.55, 0.675, 0.8, 0.9]))
    fitted = find_protocol("pickapic-official").fitted(validation, with_p(["first"], [0.6]))  # type: ignore[arg-type]
    assert fitted.threshold == 0.4  # the first of equals
    assert fitted.evaluate(with_p(["first"], [0.6]), resamples=5).record()["threshold"] == 0.4


def brute_force_gap(truth: list[int], margin: list[float]) -> float:
    candidates = sorted({0.0, *map(abs, margin)})

    def right(gap: float) -> int:
        called = [0 if abs(m) <= gap else np.sign(m) for m in margin]
        return sum(c == (t if abs(t) == 1 else 0) for t, c in zip(truth, called, strict=True))

    return max(candidates, key=lambda gap: (right(gap), -gap))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([1, -1, 0, 2]), st.integers(-5, 5)), min_size=1, max_size=12))
def test_taus_threshold_is_the_best_of_all_gaps(rows: list[tuple[int, int]]) -> None:
    names = {code: name for name, code in CODES.items()}
    truth, margin = [t for t, _ in rows], [m / 10 for _, m in rows]
    answers = replace(with_p([names[t] for t in truth], [0.5] * len(rows)), margin=np.array(margin))
    test = with_p(["first"], [0.6])
    fitted = find_protocol("genai-bench-tau").fitted(elsewhere(answers), test)  # type: ignore[arg-type]
    assert fitted.threshold == brute_force_gap(truth, margin)


def test_tau_counts_ties_called_and_sides_named() -> None:
    answers = with_p(["tie", "both_bad", "first", "second", "tie"], [0.52, 0.45, 0.9, 0.51, 0.9])
    # Gaps 0.04 tie right, 0.1 tie right, 0.8 first right, 0.02 called a tie wrong, 0.8 side named wrong.
    result = find_protocol("genai-bench-tau").with_threshold(0.1 + 1e-9).evaluate(answers, resamples=5)
    assert result.estimate.value == pytest.approx(3 / 5)


def test_choices_have_no_gap_to_compare() -> None:
    for name in WITH_THRESHOLD:
        with pytest.raises(DataError, match=r"these answers: .* by their gap, .*for example"):
            find_protocol(name).with_threshold(0.1).evaluate(judged(["first"], ["first"]))


def test_mmrb2_counts_both_orders_and_only_the_reference_drops_what_is_missing() -> None:
    # Pair 0 right and right, pair 1 right and wrong, pair 2 right and missing, pair 3 missing twice, pair 4 a tie.
    truth = ["first", "second", "first", "second", "tie"]
    forward = np.array([CODES[c] for c in ("first", "second", "first", None, "first")], dtype=np.int8)
    swapped = np.array([CODES[c] for c in ("first", "first", None, None, "first")], dtype=np.int8)
    blank = judged(truth, [None] * 5)
    answers = replace(blank, choice_forward=forward, choice_swapped=swapped)
    ours, reference = score("mmrb2", answers), score("mmrb2-reference", answers)
    assert (ours.estimate.value, ours.estimate.n, ours.n_missing) == (4 / 8, 8, 3)
    assert (reference.estimate.value, reference.estimate.n, reference.n_missing) == (4 / 5, 5, 3)
    with pytest.raises(DataError, match="both orders"):
        score("mmrb2", blank)


def test_our_own_counts_the_majority_and_the_benchmarks_the_publishers_verdict() -> None:
    # HPDv2's mean ranks may prefer what the majority of annotators does not.
    answers = judged(["first"], ["second"], votes=[(4.0, 6.0)])
    assert score("earshot", answers).estimate.value == 1.0
    assert score("rapidata-majority", answers).estimate.value == 1.0
    assert score("hpdv2", answers).estimate.value == 0.0


def test_without_strict_pairs_there_is_nothing_and_not_zero() -> None:
    result = score("imagereward-micro", judged(["tie"], ["first"]))
    assert (result.estimate.value, result.estimate.n) == (None, 0)


def test_always_first_is_right_as_often_as_the_first_is_preferred() -> None:
    answers = judged(TRUTH, ANSWERS, PROMPTS).always_first()
    assert score("imagereward-micro", answers).estimate.value == 2 / 4
    assert score("mmrb2", answers).estimate.value == 2 / 4


TURN = {"first": "second", "second": "first"}


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["first", "second", "tie", "both_bad"]), st.sampled_from([None, "first", "second", "tie"])
        ),
        min_size=1,
        max_size=8,
    )
)
def test_listing_the_pairs_the_other_way_round_changes_no_protocol(rows: list[tuple[str, str | None]]) -> None:
    given = judged([t for t, _ in rows], [c for _, c in rows])
    turned = judged([TURN.get(t, t) for t, _ in rows], [TURN.get(c or "", c) for _, c in rows])
    for name in PROTOCOLS.keys() - {*WITH_THRESHOLD, "mmrb2", "mmrb2-reference"}:
        assert score(name, given).estimate.value == score(name, turned).estimate.value, name


def test_every_protocol_says_whose_it_is_and_its_rules() -> None:
    for name, protocol in PROTOCOLS.items():
        assert isinstance(protocol, Protocol) and protocol.name == name
        assert all((protocol.source, protocol.truth, protocol.ties, protocol.missing))
    with pytest.raises(InputError, match=r"'hpd'.*hpdv2"):
        find_protocol("hpd")


def test_pairs_that_a_list_names_are_left_out_and_no_others() -> None:
    answers = judged(TRUTH, ANSWERS, PROMPTS)
    kept = without_pairs(answers, np.array([hash_of("p1"), hash_of("p3")]), "overlap.jsonl")
    # Left are pairs 0 (right), 2 (a tie) and 4 (wrong).
    assert score("imagereward-micro", kept).estimate.value == 1 / 2
    with pytest.raises(DataError, match=r"overlap\.jsonl.*1 pairs"):
        without_pairs(answers, np.array([hash_of("nobody")]), "overlap.jsonl")
    with pytest.raises(DataError, match="every pair"):
        without_pairs(answers, answers.pair_hash, "overlap.jsonl")


def test_a_million_pairs_are_arithmetic_on_arrays() -> None:
    n = 1_000_000
    rng = np.random.default_rng(0)
    few = judged(["first"], ["first"])
    sides = rng.choice(np.array([1, -1], dtype=np.int8), size=(2, n))
    large = replace(
        few,
        pair_hash=np.arange(n),
        cluster=np.arange(n) // 1000,
        n_clusters=n // 1000,
        label=sides[0],
        choice=sides[1],
        majority=np.zeros(n, dtype=np.int8),
        margin=np.zeros(n),
        **{name: few.choice.repeat(n) for name in ("choice_forward", "choice_swapped")},
    )
    result = find_protocol("hpdv3").evaluate(large, resamples=20)
    assert result.estimate.value == float((sides[0] == sides[1]).mean())
