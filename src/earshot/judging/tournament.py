"""Who meets whom, and how strong they are: Bradley–Terry strengths that stay finite in a small tournament.

Everything here is arithmetic on a table of wins; no image is looked at and no model called.
"""

from collections import deque
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csgraph
from scipy.special import expit

from earshot.errors import EarshotError

ALL_PAIRS_UP_TO: Final = 8
"""So many players meet each other once; more play Swiss rounds."""

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


def fit_strengths(wins: Float[np.ndarray, "g g"], *, tolerance: float = 1e-10, limit: int = 500) -> Strengths:
    """Bradley–Terry strengths of the players with a weak prior, by Newton's method.

    Without a prior, a player who never loses is infinitely strong, and most small tournaments have one. Here each has
    also won and lost `PRIOR_WINS` games against an average player. For a player with one such opponent that is the
    Jeffreys prior, Beta(½, ½) on the probability of winning; a real game soon outweighs it.

    Intervals are from the Fisher information (the curvature of the log posterior at its maximum), with every game
    counted as one independent observation. They say how much the number of games leaves open, not what another
    seed or another model would say.

    Args:
        wins: How much the row's player won against the column's; a game adds 1 to the two cells together, and the
            share of either may be a probability.
        tolerance: The largest change of a strength in the last step.
        limit: Of steps.

    Raises:
        EarshotError: The steps do not settle.

    Source: Bradley and Terry 1952 (Biometrika 39); prior games against an average player as in Davidson and Solomon
    1973 (Biometrika 60) and Newman 2023 (JMLR 24), who takes one win and one loss.
    """
    games = wins + wins.T
    theta = np.zeros(len(wins))
    for _ in range(limit):
        p, p_average = expit(theta[:, None] - theta[None, :]), expit(theta)
        slope = (wins - games * p).sum(axis=1) + 2 * PRIOR_WINS * (0.5 - p_average)
        between = games * p * (1 - p)
        information = np.diag(between.sum(axis=1) + 2 * PRIOR_WINS * p_average * (1 - p_average)) - between
        step = np.linalg.solve(information, slope)
        # Far from the maximum a whole step overshoots.
        theta = theta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < tolerance:
            break
    else:
        raise EarshotError(f"ranking: no strengths of {len(wins)} images after {limit} steps; rank fewer")
    centre = np.eye(len(wins)) - 1 / len(wins)
    spread = _Z * np.sqrt(np.diag(centre @ np.linalg.inv(information) @ centre).clip(0))
    value = theta - theta.mean()
    return Strengths(value, value - spread, value + spread)


def n_rounds(n: int) -> int:
    """Swiss rounds for `n` players, 2⌈log2 n⌉, so that there are at most n⌈log2 n⌉ games."""
    return 2 * int(n - 1).bit_length()


def all_pairs(n: int) -> Int[np.ndarray, "games 2"]:
    """Everybody against everybody, once."""
    return np.stack(np.triu_indices(n, 1), axis=1)


def swiss_round(
    value: Float[np.ndarray, " g"], played: Int[np.ndarray, "g g"], tie_break: Int[np.ndarray, " g"]
) -> Int[np.ndarray, "games 2"]:
    """Neighbours by strength that have not met: each player at most once, the strongest chooses first.

    Args:
        value: Strengths as they are known so far.
        played: How often the row's player met the column's.
        tie_break: Order among equals.
    """
    waiting = list(np.lexsort((tie_break, -value)))
    if len(waiting) % 2:  # whoever has played most sits out, of several the weakest
        games = played.sum(axis=1)
        waiting.remove(max(reversed(waiting), key=lambda player: games[player]))
    games_now = []
    while waiting:
        player = waiting.pop(0)
        opponent = next((other for other in waiting if not played[player, other]), None)
        if opponent is not None:
            waiting.remove(opponent)
            games_now.append((player, opponent))
    return np.array(games_now, dtype=np.int64).reshape(-1, 2)


def cycles(beats: Bool[np.ndarray, "g g"]) -> list[tuple[int, ...]]:
    """One shortest circle for each group of players in which everybody is beaten, through others, by everybody.

    Args:
        beats: Whether the row's player was preferred to the column's.

    Returns:
        Players of whom each beats the next, and the last the first; none where the preferences fit one order.
    """
    _, group = csgraph.connected_components(beats, connection="strong")
    found = []
    for one in range(int(group.max()) + 1):
        members = np.flatnonzero(group == one)
        if len(members) > 1:
            circles = (_circle_through(int(start), beats, members) for start in members)
            found.append(min(circles, key=len))
    return sorted(found)


def _circle_through(start: int, beats: np.ndarray, members: np.ndarray) -> tuple[int, ...]:
    """A shortest circle from a player back to itself, inside a group that has one."""
    came_from: dict[int, int] = {}
    queue = deque([start])
    while queue:
        player = queue.popleft()
        for following in members[beats[player, members]].tolist():
            if following == start:
                path = [player]
                while path[-1] != start:
                    path.append(came_from[path[-1]])
                return tuple(reversed(path))
            if following not in came_from:
                came_from[following] = player
                queue.append(following)
    raise AssertionError("a strongly connected group has a circle through each of its members")
