"""The language of the world's traces.

A trace takes what was asked for at each place of either image, says whether it is there and, where it is not, what is
there instead; then how the image is rendered:

    first : left large red circle yes , right small blue star no but small green star , dark . second : left large red
    circle no but nothing , right small blue star yes , clean . so first better
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earshot.types import Side
from earshot.world.scene import COLOURS, FAULTS, PLACES, SHAPES, SIZES, Fault, Picture, Scene, Thing
from earshot.world.truth import Truth


@dataclass(frozen=True, slots=True)
class Corruption:
    """How often a written trace says something false: the share of wrong facts, and of wrong conclusions."""

    facts: float = 0.0
    verdict: float = 0.0


def describe_thing(thing: Thing | None) -> str:
    return "nothing" if thing is None else str(thing)


def describe_picture(picture: Picture) -> str:
    """A picture without a judgement, e.g. `left large red circle , right nothing , dark`."""
    parts = [f"{place} {describe_thing(thing)}" for place, thing in zip(PLACES, picture.scene.things, strict=True)]
    return " , ".join([*parts, picture.fault])


def write_trace(truth: Truth, better: Side, rng: np.random.Generator, corruption: Corruption) -> str:
    """A trace of an observer who misreads each fact with probability `corruption.facts`, and concludes `better`."""
    images = [
        f"{side} : {_judge_picture(_misread(picture, rng, corruption.facts), truth.wanted)}"
        for side, picture in (("first", truth.first), ("second", truth.second))
    ]
    return f"{' . '.join(images)} . so {better} better"


def _judge_picture(picture: Picture, wanted: Scene) -> str:
    parts = []
    for place, shown, asked in zip(PLACES, picture.scene.things, wanted.things, strict=True):
        judged = "yes" if shown == asked else f"no but {describe_thing(shown)}"
        parts.append(f"{place} {describe_thing(asked)} {judged}")
    return " , ".join([*parts, picture.fault])


def _misread(picture: Picture, rng: np.random.Generator, p_wrong: float) -> Picture:
    """The picture as a poor observer sees it: each attribute replaced at random with probability `p_wrong`."""

    def reread(thing: Thing | None) -> Thing | None:
        if thing is None:
            return None
        return Thing(
            *(
                values[rng.integers(len(values))] if rng.random() < p_wrong else value
                for values, value in ((SIZES, thing.size), (COLOURS, thing.colour), (SHAPES, thing.shape))
            )
        )

    fault: Fault = FAULTS[rng.integers(len(FAULTS))] if rng.random() < p_wrong else picture.fault
    return Picture(Scene(reread(picture.scene.left), reread(picture.scene.right)), fault)
