"""What an answer is worth under each published rule, as arithmetic on flat arrays; `benchmarks.protocols` names them.

An answer that is not there is worth nothing wherever it is counted.

Axes: p pairs, n answers that count.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.benchmarks.answers import EITHER_TIE, Judged
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
    known = np.flatnonzero(~np.isnan(_margins(judged, "genai-bench-tau")))
    gap, truth = np.abs(judged.margin[known]), judged.verdict[known]
    order = np.argsort(gap, kind="stable")
    gap, tied = gap[order], (np.abs(truth) != 1)[order]
    right = (np.sign(judged.margin[known]) == truth)[order] & ~tied
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
    truth, answer = _three_way(judged.verdict), _called(judged, np.abs(judged.gap), threshold, "pickapic-official")
    value = np.where(truth == answer, 1.0, np.where((truth == TIE) | (answer == TIE), 0.5, 0.0))
    missing = answer == NONE
    return Credits(np.where(missing, 0.0, value), np.arange(len(judged)), int(missing.sum()))


def three_way(judged: Judged, threshold: float) -> Credits:
    """Every pair: 1 where side or tie agree; both kinds of tie are one."""
    answer = _called(judged, np.abs(_margins(judged, "genai-bench-tau")), threshold, "genai-bench-tau")
    value = _three_way(judged.verdict) == answer
    return Credits(value.astype(np.float64), np.arange(len(judged)), int((answer == NONE).sum()))


def both_orders(judged: Judged, threshold: float) -> Credits:
    """Both judgements of every pair of which one side is preferred; one that is not there is wrong."""
    if not judged.both_orders:
        raise DataError("mmrb2 counts the judgements of both orders, and these answers do not tell them apart; "
                        "give choice_forward and choice_swapped, or p_first_forward and p_first_swapped")  # fmt: skip
    pair = np.flatnonzero(np.abs(judged.verdict) == 1)
    answers = np.concatenate([judged.choice_forward[pair], judged.choice_swapped[pair]])
    truth = np.tile(judged.verdict[pair], 2)
    return Credits((answers == truth).astype(np.float64), np.tile(pair, 2), int((answers == NONE).sum()))


def both_orders_answered(judged: Judged, threshold: float) -> Credits:
    """`both_orders` without the judgements that are not there."""
    all_of_them = both_orders(judged, threshold)
    n = len(all_of_them.pair) // 2
    pair = all_of_them.pair[:n]
    there = np.concatenate([judged.choice_forward[pair], judged.choice_swapped[pair]]) != NONE
    return Credits(all_of_them.values[there], all_of_them.pair[there], all_of_them.n_missing)


def _three_way(codes: Int[np.ndarray, " p"]) -> Int[np.ndarray, " p"]:
    return np.where((codes == BOTH_BAD) | (codes == EITHER_TIE), TIE, codes)


def _margins(judged: Judged, name: str) -> Float[np.ndarray, " p"]:
    if judged.margin_unit is None:
        raise DataError(f"{name} compares scores by their gap, and these answers are choices; give p_first, or "
                        "score_first and score_second")  # fmt: skip
    return judged.margin


def _called(judged: Judged, gap: Float[np.ndarray, " p"], threshold: float, name: str) -> Int[np.ndarray, " p"]:
    """The answers when gaps up to the threshold are called ties."""
    margin = _margins(judged, name)
    side = np.where(gap <= threshold, TIE, np.sign(margin))
    return np.where(np.isnan(margin), NONE, side).astype(np.int8)
