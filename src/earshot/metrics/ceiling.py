"""How often one person agrees with the others, from vote counts alone: what no judge of single votes can beat.

Axes: n pairs, c clusters (prompts).
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from earshot.errors import DataError
from earshot.stats import Statistic, mean_statistic


def leave_one_out_agreement(
    votes_first: Float[np.ndarray, " n"], votes_second: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Chance that a rater of the pair agrees with the majority of its other raters, who when tied agree by half.

    Of a + b votes a share a / (a + b) went to the first image, and who cast one of those faces a - 1 against b.
    NaN where there are fewer than two votes.

    Raises:
        DataError: A count is no whole number of at least 0, so that no rater can be taken out of it.
    """
    _check(votes_first, votes_second)
    a, b = votes_first, votes_second
    agree = a * _side(a - 1 - b) + b * _side(b - 1 - a)
    return _per_vote(agree, a + b)


def majority_agreement(
    votes_first: Float[np.ndarray, " n"], votes_second: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Chance that a rater of the pair is in its majority, max(a, b) / (a + b), which is a half where it is tied.

    NaN where there are fewer than two votes.

    Raises:
        DataError: A count is no whole number of at least 0.
    """
    _check(votes_first, votes_second)
    return _per_vote(np.maximum(votes_first, votes_second), votes_first + votes_second)


def ceiling_statistics(
    votes_first: Float[np.ndarray, " n"],
    votes_second: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    n_clusters: int,
) -> dict[str, Statistic]:
    """`ceiling.leave_one_out` and `ceiling.including`, over the pairs given that have two votes or more.

    Raises:
        DataError: A count is no whole number of at least 0.
    """
    _check(votes_first, votes_second)
    enough = votes_first + votes_second >= 2
    a, b, clusters = votes_first[enough], votes_second[enough], clusters[enough]
    return {
        "ceiling.leave_one_out": mean_statistic(leave_one_out_agreement(a, b), clusters, n_clusters),
        "ceiling.including": mean_statistic(majority_agreement(a, b), clusters, n_clusters),
    }


def countable(votes_first: Float[np.ndarray, " n"], votes_second: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether votes are counts of raters; weighted votes are not, and have no ceiling."""
    return (votes_first == np.floor(votes_first)) & (votes_second == np.floor(votes_second))


def _side(margin: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 where the others are on the rater's side, a half where they are tied."""
    return (np.sign(margin) + 1) / 2


def _per_vote(agreeing: Float[np.ndarray, " n"], votes: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.divide(agreeing, votes, out=np.full(len(votes), np.nan), where=votes >= 2)


def _check(votes_first: Float[np.ndarray, " n"], votes_second: Float[np.ndarray, " n"]) -> None:
    for name, votes in (("first", votes_first), ("second", votes_second)):
        bad = ~((votes >= 0) & (votes == np.floor(votes)) & np.isfinite(votes))
        if bad.any():
            raise DataError(
                f"votes_{name} of pair {int(bad.argmax())} is {votes[bad][0]}, expected a whole number of at least 0; "
                "a ceiling needs counts of raters, not weights"
            )
