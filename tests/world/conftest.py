"""One worked pair of the world, and ways to draw others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from earshot.world.pairs import POPULATIONS, WorldPair, draw_pair
from earshot.world.scene import Picture, Scene, Thing
from earshot.world.truth import Truth

RED_CIRCLE = Thing("large", "red", "circle")
BLUE_STAR = Thing("small", "blue", "star")


@pytest.fixture
def truth() -> Truth:
    """Asked: large red circle, small blue star. First: the star is green, dark. Second: the circle is missing."""
    wanted = Scene(RED_CIRCLE, BLUE_STAR)
    first = Picture(Scene(RED_CIRCLE, Thing("small", "green", "star")), "dark")
    return Truth(wanted, first, Picture(Scene(None, BLUE_STAR), "clean"))


@pytest.fixture
def draw() -> Callable[..., list[WorldPair]]:
    """Draws pairs of a population."""

    def draw_pairs(name: str, n: int, seed: int = 0) -> list[WorldPair]:
        rng = np.random.default_rng(seed)
        return [draw_pair(rng, POPULATIONS[name]) for _ in range(n)]

    return draw_pairs
