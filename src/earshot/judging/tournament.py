"""Who meets whom in a tournament, and whose preferences run in circles.

Everything here is arithmetic on a table of games; no image is looked at and no model called.
"""

from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csgraph

ALL_PAIRS_UP_TO: Final = 8
"""So many players meet each other once; more play Swiss rounds."""


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
    steps, before = csgraph.shortest_path(beats, unweighted=True, return_predecessors=True)
    back = np.where(beats.T, steps, np.inf)  # from the row's player to one of those that beat it
    found = []
    for one in range(int(group.max()) + 1):
        members = np.flatnonzero(group == one)
        if len(members) > 1:
            start = members[back[members].min(axis=1).argmin()]
            circle = [int(back[start].argmin())]
            while circle[-1] != start:
                circle.append(int(before[start, circle[-1]]))
            found.append(tuple(reversed(circle)))
    return sorted(found)
