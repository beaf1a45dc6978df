"""How often anybody could be right about a set of the world: what a judge is worth who sees everything he looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earshot.world.pairs import POPULATIONS, Population, draw_pair, pair_generator
from earshot.world.raters import RATERS, Raters, utility

_TAUGHT = RATERS[POPULATIONS["train"].axis]
# What a judge may go by; None is whatever the set's own raters go by.
OBSERVERS: dict[str, Raters | None] = {
    "knows these raters": None,
    "knows the training raters": _TAUGHT,
    "sees the rendering alone": replace(_TAUGHT, alignment=0.0, missing=0.0),
    "sees the things alone": replace(_TAUGHT, quality=0.0),
}


def ceilings(population: Population, *, n_pairs: int = 20_000, seed: int = 1) -> dict[str, float]:
    """The accuracy of each of `OBSERVERS`, who makes no mistake, in a population's pairs.

    Nobody's model: the pairs are drawn and no picture is. A judge who finds both pictures worth the same is right in
    half of such pairs.

    Returns:
        By observer, the share of pairs in which it names the side that the majority of votes prefers; in [0, 1]. Where
        images are marked, also of one who always names the marked image.
    """
    pairs = [draw_pair(pair_generator(seed, "ceiling", index), population) for index in range(n_pairs)]
    label = np.array([1.0 if pair.votes.majority == "first" else -1.0 for pair in pairs])
    right = {}
    for name, raters in OBSERVERS.items():
        by = raters or RATERS[population.axis]
        gap = np.array(
            [
                utility(pair.truth.first, pair.truth.wanted, by) - utility(pair.truth.second, pair.truth.wanted, by)
                for pair in pairs
            ]
        )
        says = np.where(np.abs(gap) < 1e-9, 0.0, np.sign(gap))
        right[name] = float(np.mean((1.0 + says * label) / 2.0))
    if population.shortcut is not None:
        right["sees the mark alone"] = float(np.mean([pair.marked == pair.votes.majority for pair in pairs]))
    return right
