"""What a probability counts as: its side, and what is right, a flip or a difference.

One half is no side: a judge that cannot tell agrees with nobody, is right about nothing, and flips nothing. Every rule
stands here twice, for one number and for an array, and a test holds the two against each other. Probabilities are of
the pair's first image; what is missing is None, or NaN in an array. Signs are 1 for the first side, -1 for the second
and 0 for none.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from earshot.types import Side


def side_of(p_first: float | None) -> Side | None:
    """The side that a probability is on; none at exactly one half, or where it is missing."""
    if p_first is None or p_first == 0.5 or np.isnan(p_first):
        return None
    return "first" if p_first > 0.5 else "second"


def signs_of(p_first: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """`side_of` of each, as a sign; NaN where the probability is missing."""
    return np.sign(p_first - 0.5)


def majority(votes_first: Float[np.ndarray, " n"], votes_second: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The signs of people's sides, by the majority of the votes; 0 in a tie."""
    return np.sign(votes_first - votes_second)


def is_right(p_first: float | None, people: Side | None) -> bool | None:
    """Whether a judge's side is people's; None where people have none. A judge without a side is wrong."""
    return None if people is None else side_of(p_first) == people


def right(p_first: Float[np.ndarray, " n"], people: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """`is_right` of each, by the signs of people's sides; False where people have none."""
    return (people != 0) & (signs_of(p_first) == people)


def is_flip(p_forward: float | None, p_swapped: float | None) -> bool | None:
    """Whether the two orders are not on one side; None where an order is missing.

    An order on no side cannot be on the same one.
    """
    if p_forward is None or p_swapped is None:
        return None
    return side_of(p_forward) is None or side_of(p_forward) != side_of(p_swapped)


def flips(p_forward: Float[np.ndarray, " n"], p_swapped: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """`is_flip` of each; False where an order is missing."""
    forward, swapped = signs_of(p_forward), signs_of(p_swapped)
    return ~np.isnan(forward) & ~np.isnan(swapped) & ((forward == 0) | (forward != swapped))


def differs(p_reader: float | None, side: Side | None) -> bool | None:
    """Whether a reader's side is not that of a verdict; None where either is missing.

    A reader on no side agrees with neither.
    """
    return None if p_reader is None or side is None else side_of(p_reader) != side


def differ(p_reader: Float[np.ndarray, " n"], sides: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """`differs` of each, by the signs of the verdicts; False where either is missing."""
    return ~np.isnan(p_reader) & (sides != 0) & (signs_of(p_reader) != sides)


def gap(p_author: float | None, p_reader: float | None) -> float | None:
    """How far two probabilities are apart, in [0, 1]; None where one is missing."""
    return None if p_author is None or p_reader is None else abs(p_author - p_reader)
