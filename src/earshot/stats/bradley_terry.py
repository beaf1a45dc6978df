"""How strong players are whose games are known: one Bradley–Terry fit, with a weak prior or without one.

Axes: g players.
"""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csgraph
from scipy.special import expit

from earshot.errors import DataError

PRIOR_WINS: Final = 0.5
"""Every player has won, and lost, so many games against a player of average strength."""

_Z: Final = 1.959963984540054
"""Half the width of a 95 % interval of a normal distribution, in standard deviations."""


class Strengths(NamedTuple):
    """Log-odds against the average player, and how well they are known."""

    value: Float[np.ndarray, " g"]
    """Mean 0: a player that is x stronger than another wins with probability 1 / (1 + e^-x)."""
    low: Float[np.ndarray, " g"]
    """Lower end of the 95 % interval."""
    high: Float[np.ndarray, " g"]


def fit_strengths(
    wins: Float[np.ndarray, "g g"], *, prior: float = PRIOR_WINS, tolerance: float = 1e-10, limit: int = 500
) -> Strengths:
    """Bradley–Terry strengths of the players, by Newton's method.

    Without a prior, a player who never loses is infinitely strong, and most small tournaments have one. With it each
    has also won and lost `prior` games against an average player. One half is, for a player with one such opponent,
    the Jeffreys prior, Beta(½, ½) on the probability of winning; a real game soon outweighs it.

    Intervals are from the Fisher information (the curvature of the log posterior at its maximum), with every game
    counted as one independent observation. They say how much the number of games leaves open, not what another
    seed or another model would say.

    Args:
        wins: How much the row's player won against the column's; a game adds 1 to the two cells together, and the
            share of either may be a probability.
        prior: Games that each has won, and lost, against an average player; 0 for none.
        tolerance: The largest change of a strength in the last step.
        limit: Of steps.

    Returns:
        NaN throughout where there is no prior and some players never lost to any of the others, so that strengths are
        infinite (Ford 1957).

    Raises:
        DataError: The steps do not settle.

    Source: Bradley and Terry 1952 (Biometrika 39); prior games against an average player as in Davidson and Solomon
    1973 (Biometrika 60) and Newman 2023 (JMLR 24), who takes one win and one loss.
    """
    if prior == 0 and csgraph.connected_components(wins > 0, connection="strong", return_labels=False) > 1:
        return Strengths(*np.full((3, len(wins)), np.nan))
    games = wins + wins.T
    theta = np.zeros(len(wins))
    for _ in range(limit):
        p, p_average = expit(theta[:, None] - theta[None, :]), expit(theta)
        slope = (wins - games * p).sum(axis=1) + 2 * prior * (0.5 - p_average)
        between = games * p * (1 - p)
        information = np.diag(between.sum(axis=1) + 2 * prior * p_average * (1 - p_average)) - between
        if prior == 0:  # gaps alone are known; this keeps the mean where it is and changes no gap
            information += 1 / len(wins)
        step = np.linalg.solve(information, slope)
        # Far from the maximum a whole step overshoots.
        theta = theta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < tolerance:
            break
    else:
        raise DataError(f"ranking: no strengths of {len(wins)} after {limit} steps; rank fewer")
    centre = np.eye(len(wins)) - 1 / len(wins)
    spread = _Z * np.sqrt(np.diag(centre @ np.linalg.inv(information) @ centre).clip(0))
    value = theta - theta.mean()
    return Strengths(value, value - spread, value + spread)
