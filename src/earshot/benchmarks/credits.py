"""What an answer is worth under each published rule, as arithmetic on flat arrays; `benchmarks.protocols` names them.

An answer that is not there is worth nothing wherever it is counted.

Axes: p pairs, n answers that count.
"""

import json
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.benchmarks.answers import EITHER_TIE, Judged
from earshot.benchmarks.published import GENAI_BENCH, MMRB2
from earshot.errors import DataError
from earshot.predictions.table import BOTH_BAD, NONE, TIE


class Credits(NamedTuple):
    """What a protocol gives for each answer that it counts."""

    values: Float[np.ndarray, " n"]
    """In [0, 1]."""
    pair: Int[np.ndarray, " n"]
    """The row of the pair that the answer is to; a pair judged in both orders may come twice."""
    n_missing: int
    """Answers that are not there, counted as wrong or left out as the protocol says."""


def best_gap(judged: Judged) -> float:
    """The gap of scores up to which calling images equal agrees best with the verdicts; the smallest of equals.

    Source: Deutsch et al. 2023 (arXiv 2305.14324), as VideoAlign's `calc_accuracy_with_ties` does it on the test
    set itself, which is why `Protocol.fitted` takes other pairs.
    """
    margin = _margins(judged, "genai-bench-tau")
    known = np.flatnonzero(~np.isnan(margin))
    gap, truth = np.abs(margin[known]), judged.verdict[known]
    order = np.argsort(gap, kind="stable")
    gap, tied = gap[order], (np.abs(truth) != 1)[order]
    right = (np.sign(margin[known]) == truth)[order] & ~tied
    # With the k smallest gaps called equal: their ties are right, and of the others those that name the side.
    called = np.concatenate([[0], np.cumsum(tied)]) + right.sum() - np.concatenate([[0], np.cumsum(right)])
    gap = np.concatenate([[0.0], gap])
    last = np.concatenate([gap[1:] != gap[:-1], [True]])
    return float(gap[last][np.argmax(called[last])])


def strict(judged: Judged, truth: Int[np.ndarray, " p"]) -> Credits:
    """Pairs of which one side is preferred: 1 where the answer names it, else 0."""
    pair = np.flatnonzero(np.abs(truth) == 1)
    answer = judged.choice[pair]
    return Credits((answer == truth[pair]).astype(np.float64), pair, int((answer == NONE).sum()))


def strict_by_verdict(judged: Judged, threshold: float) -> Credits:
    """`strict`, the publisher's verdict being the truth."""
    return strict(judged, judged.verdict)


def strict_by_majority(judged: Judged, threshold: float) -> Credits:
    """`strict`, the majority of the votes being the truth."""
    return strict(judged, judged.majority)


def not_inverted(judged: Judged, threshold: float) -> Credits:
    """Every pair: 0 where the answer names the worse side, 1 where it or the truth is a tie."""
    truth, answer = judged.verdict, judged.choice
    value = (np.abs(truth) != 1) | (np.abs(answer) != 1) | (truth == answer)
    return Credits((value & (answer != NONE)).astype(np.float64), np.arange(len(judged)), int((answer == NONE).sum()))


def four_way(judged: Judged, threshold: float) -> Credits:
    """Every pair: 1 where the answer is the vote, of first, second, tie and both bad.

    "Equal" without saying how good is right of either kind of tie, as in the reference.
    """
    truth, answer = judged.verdict, judged.choice
    equal = (answer == EITHER_TIE) & (np.abs(truth) != 1)
    return Credits(((answer == truth) | equal).astype(np.float64), np.arange(len(judged)), int((answer == NONE).sum()))


def half_for_a_tie(judged: Judged, threshold: float) -> Credits:
    """Every pair: 1 where side or tie agree, one half where only one of answer and truth is a tie."""
    margin = _margins(judged, "pickapic-official")
    # PickScore's evaluation takes the softmax of two scores before it compares them; for two numbers their difference
    # is then tanh of half of what it was.
    gap = np.tanh(margin / 2) if judged.margin_unit == "score" else margin
    truth, answer = _three_way(judged.verdict), _called(gap, threshold)
    value = np.where(truth == answer, 1.0, np.where((truth == TIE) | (answer == TIE), 0.5, 0.0))
    missing = answer == NONE
    return Credits(np.where(missing, 0.0, value), np.arange(len(judged)), int(missing.sum()))


def three_way(judged: Judged, threshold: float) -> Credits:
    """Every pair: 1 where side or tie agree; both kinds of tie are one."""
    answer = _called(_margins(judged, "genai-bench-tau"), threshold)
    value = _three_way(judged.verdict) == answer
    return Credits(value.astype(np.float64), np.arange(len(judged)), int((answer == NONE).sum()))


def both_orders(judged: Judged, threshold: float) -> Credits:
    """Both judgements of every pair of which one side is preferred; one that is not there is wrong."""
    pair, answers = _both_answers(judged)
    return Credits((answers == judged.verdict[pair]).astype(np.float64), pair, int((answers == NONE).sum()))


def both_orders_answered(judged: Judged, threshold: float) -> Credits:
    """`both_orders` without the judgements that are not there."""
    values, pair, n_missing = both_orders(judged, threshold)
    there = _both_answers(judged)[1] != NONE
    return Credits(values[there], pair[there], n_missing)


def _both_answers(judged: Judged) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The pairs with a preferred side, twice over, and the answers to them in one order and then in the other."""
    if judged.choice_forward is None or judged.choice_swapped is None:
        raise DataError(f"{judged.name}: mmrb2 counts the judgements of both orders, expected choice_forward and "
                        f"choice_swapped, or p_first_forward and p_first_swapped, for example "
                        f"{json.dumps(MMRB2.example)}; ask in both orders")  # fmt: skip
    pair = np.flatnonzero(np.abs(judged.verdict) == 1)
    return np.tile(pair, 2), np.concatenate([judged.choice_forward[pair], judged.choice_swapped[pair]])


def _three_way(codes: Int[np.ndarray, " p"]) -> Int[np.ndarray, " p"]:
    return np.where((codes == BOTH_BAD) | (codes == EITHER_TIE), TIE, codes)


def _margins(judged: Judged, name: str) -> Float[np.ndarray, " p"]:
    if judged.margin is None:
        raise DataError(f"{judged.name}: {name} compares scores by their gap, expected p_first, or score_first and "
                        f"score_second, for example {json.dumps(GENAI_BENCH.example)}; write them out")  # fmt: skip
    return judged.margin


def _called(lead: Float[np.ndarray, " p"], threshold: float) -> Int[np.ndarray, " p"]:
    """The answers when leads of the first image up to the threshold, of either sign, are called ties."""
    side = np.where(np.abs(lead) <= threshold, TIE, np.sign(lead))
    return np.where(np.isnan(lead), NONE, side).astype(np.int8)
