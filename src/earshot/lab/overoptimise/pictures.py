"""Pictures of the world's generator: some that it draws for a prompt, and all that it may make of one."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from earshot.world.raters import RATERS, utility
from earshot.world.render import render
from earshot.world.scene import (
    FAULT_CHANCES,
    KIND_CHANCES,
    Picture,
    Scene,
    attempt,
    draw_picture,
    draw_thing,
    prompt_text,
)

IMAGE_PX: Final = 56
START: Final = tuple(np.array([*chances.values()]) for chances in (KIND_CHANCES, KIND_CHANCES, FAULT_CHANCES))
"""How often the generator does what: with the left thing, with the right one, and with the rendering. It decides each
without regard to the others, so that this is its whole distribution over scenes."""


class Drawn(NamedTuple):
    """Pictures that the world's generator made for one prompt.

    Attributes:
        wanted: What was asked for.
        images: N pictures.
        gold: What each is worth to the raters.
    """

    wanted: Scene
    images: list[Image.Image]
    gold: Float[np.ndarray, " n"]

    @property
    def prompt(self) -> str:
        return prompt_text(self.wanted)


def draw(prompts: int, pictures: int, *, seed: int = 0, size_px: int = IMAGE_PX) -> list[Drawn]:
    """What the world's generator makes of prompts, the same for the same seed."""
    made = []
    for number in range(prompts):
        rng = np.random.default_rng([seed, 777, number])
        wanted = Scene(*(draw_thing(rng, held_out=False) for _ in range(2)))
        shown = [draw_picture(wanted, rng) for _ in range(pictures)]
        images = [render(picture, rng, size_px=size_px) for picture in shown]
        made.append(Drawn(wanted, images, _gold(shown, wanted)))
    return made


def every_scene(wanted: Scene, *, seed: int = 0, number: int = 0, size_px: int = IMAGE_PX) -> Drawn:
    """A picture of each scene that the generator may make of a prompt, in the order of `START`'s joint distribution.

    Which wrong colour a thing has where its colour is wrong, and which wrong shape, is drawn once a prompt: a hundred
    scenes can be asked about, and all 484 could not in a minute. `number` is the prompt's, for what is drawn.
    """
    rng = np.random.default_rng([seed, 778, number])
    left, right = ([attempt(thing, kind, rng) if thing else None for kind in KIND_CHANCES] for thing in wanted.things)
    shown = [Picture(Scene(one, other), fault) for one in left for other in right for fault in FAULT_CHANCES]
    return Drawn(wanted, [render(picture, rng, size_px=size_px) for picture in shown], _gold(shown, wanted))


def _gold(shown: list[Picture], wanted: Scene) -> Float[np.ndarray, " n"]:
    return np.array([utility(picture, wanted, RATERS["preference"]) for picture in shown])
