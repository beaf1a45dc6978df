"""Simulated people: what they value, and how they vote."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earshot.types import Votes
from earshot.world.scene import Fault, Picture, Scene

_PENALTY: dict[Fault, float] = {"clean": 0.0, "dark": 0.5, "tinted": 0.65, "pale": 0.9}


@dataclass(frozen=True, slots=True)
class Raters:
    """A population of raters.

    Attributes:
        alignment: Worth of one thing that is exactly as asked.
        missing: Loss for a thing that is not there at all.
        quality: Weight of the rendering's fault.
        sharpness: Logits of one unit of utility: how surely a single rater prefers the better picture.
        n_votes: Raters who see each pair; odd, so that there are no ties.
    """

    alignment: float = 1.0
    missing: float = 0.4
    quality: float = 1.0
    sharpness: float = 3.0
    n_votes: int = 15


# `preference` is who votes in training; `style`, the out-of-distribution population, values the rendering above all.
RATERS: dict[str, Raters] = {
    "preference": Raters(),
    "style": Raters(alignment=0.5, missing=0.2, quality=2.0),
}

PROMPT_ALONE = Raters(missing=0.0, quality=0.0)
"""Nobody's votes: counts the things that are as asked for, and minds nothing else."""


def utility(picture: Picture, wanted: Scene, raters: Raters) -> float:
    """What the picture is worth to these raters; a perfect picture of two things is worth `2 * alignment`."""
    worth = 0.0
    for shown, asked in zip(picture.scene.things, wanted.things, strict=True):
        if shown == asked:
            worth += raters.alignment
        elif shown is None:
            worth -= raters.missing
    return worth - raters.quality * _PENALTY[picture.fault]


def vote(advantage_first: float, raters: Raters, rng: np.random.Generator) -> Votes:
    """Votes of independent raters who prefer the first with probability sigmoid(sharpness * advantage).

    Source: the Bradley-Terry model, one comparison a rater.
    """
    p_first = 1.0 / (1.0 + np.exp(-raters.sharpness * advantage_first))
    first = float(rng.binomial(raters.n_votes, p_first))
    return Votes(first, raters.n_votes - first)
