"""Pairs of the world, drawn from a seed: the truth, the votes and the two images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from earshot.types import Votes
from earshot.world.raters import RATERS, utility, vote
from earshot.world.render import Style, render
from earshot.world.scene import Scene, draw_picture, draw_thing
from earshot.world.truth import Truth

# People are asked about pairs that differ: below this difference in utility a pair is drawn again.
MIN_ADVANTAGE = 0.2


@dataclass(frozen=True, slots=True)
class Population:
    """What the pairs of one set have in common.

    Attributes:
        held_out: Whether the things asked for are the combinations of colour and shape that no training prompt asks
            for (`earshot.world.scene.HELD_OUT` says what training pictures show all the same).
        style: How pictures are drawn.
        axis: Whose votes are cast (`earshot.world.raters.RATERS`).
    """

    held_out: bool = False
    style: Style = "flat"
    axis: str = "preference"


# The three kinds of out-of-distribution set differ from training in one respect each.
POPULATIONS = {
    "train": Population(),
    "validation": Population(),
    "test": Population(),
    "ood_combinations": Population(held_out=True),
    "ood_style": Population(style="sketch"),
    "ood_raters": Population(axis="style"),
}


class WorldPair(NamedTuple):
    """A drawn pair; `advantage` is the first image's utility minus the second's, to the raters who voted."""

    truth: Truth
    votes: Votes
    advantage: float


def draw_pair(rng: np.random.Generator, population: Population) -> WorldPair:
    """One pair of the population: a wanted scene, two attempts at it, and votes."""
    raters = RATERS[population.axis]
    while True:
        wanted = Scene(*(draw_thing(rng, held_out=population.held_out) for _ in range(2)))
        truth = Truth(wanted, draw_picture(wanted, rng), draw_picture(wanted, rng))
        advantage = utility(truth.first, wanted, raters) - utility(truth.second, wanted, raters)
        if abs(advantage) >= MIN_ADVANTAGE:
            return WorldPair(truth, vote(advantage, raters, rng), advantage)


def render_pair(
    truth: Truth, rng: np.random.Generator, population: Population, size_px: int
) -> tuple[Image.Image, Image.Image]:
    """The two images of a pair."""
    first, second = (
        render(picture, rng, size_px=size_px, style=population.style) for picture in (truth.first, truth.second)
    )
    return first, second


def pair_generator(seed: int, set_name: str, index: int) -> np.random.Generator:
    """The generator of one pair: it depends on the seed, the set and the index alone, not on who draws it."""
    return np.random.default_rng([seed, *set_name.encode(), index])
