"""How often one person agrees with the others, from vote counts alone: what no judge of single votes can beat.

Axes: n pairs, c clusters (prompts).
"""

import numpy as np
from jaxtyping import Float, Int

from earshot.stats import Statistic, mean_statistic


def leave_one_out_agreement(
    votes_first: Float[np.ndarray, " n"], votes_second: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Chance that a rater of the pair agrees with the majority of its other raters, who when tied agree by half.

    Of a + b votes, two or more, a share a / (a + b) went to the first image, and who cast one of those faces a - 1
    against b.
    """
    a, b = votes_first, votes_second
    return (a * _side(a - 1 - b) + b * _side(b - 1 - a)) / (a + b)


def majority_agreement(
    votes_first: Float[np.ndarray, " n"], votes_second: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Chance that a rater of the pair is in its majority, max(a, b) / (a + b), which is a half where it is tied."""
    return np.maximum(votes_first, votes_second) / (votes_first + votes_second)


def ceiling_statistics(
    votes_first: Float[np.ndarray, " n"],
    votes_second: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    n_clusters: int,
) -> dict[str, Statistic]:
    """`ceiling.leave_one_out` and `ceiling.including`, over the pairs given that have two votes or more.

    Pairs whose votes are no whole numbers are left out: weights do not count raters, so that none can be taken out.
    """
    counted = (votes_first == np.floor(votes_first)) & (votes_second == np.floor(votes_second))
    enough = counted & (votes_first + votes_second >= 2)
    a, b, clusters = votes_first[enough], votes_second[enough], clusters[enough]
    return {
        "ceiling.leave_one_out": mean_statistic(leave_one_out_agreement(a, b), clusters, n_clusters),
        "ceiling.including": mean_statistic(majority_agreement(a, b), clusters, n_clusters),
    }


def _side(margin: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 where the others are on the rater's side, a half where they are tied."""
    return (np.sign(margin) + 1) / 2
