"""Scenes: what a prompt asks for and what a picture shows.

A scene has two places, left and right. Each holds a thing (a size, a colour and a shape) or nothing. A picture shows
a scene, possibly not the one that was asked for, and carries at most one fault of rendering.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

Fault: TypeAlias = Literal["clean", "dark", "pale", "tinted"]

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star")
FAULTS: tuple[Fault, ...] = get_args(Fault)
PLACES = ("left", "right")

HELD_OUT = frozenset(
    {("purple", "star"), ("orange", "triangle"), ("yellow", "square"), ("red", "star"), ("blue", "triangle")}
)
"""Colours and shapes that no prompt of training, validation or the in-distribution test asks for together.

Prompts, not pictures: a spoiled thing (`spoil_thing`) may become one of these by mistake. About 14 % of the training
pictures show one, 8 % of their things are one, and every one of them is a mistake, for it was not asked for. So the set
of unseen combinations asks whether a model judges well what it was never *asked for*; it has seen how they look, and
seen them only where they were wrong, which a model can take for a rule ("a purple star is never right").
"""

AS_ASKED = 0.60
"""How often a thing is drawn as it was asked for."""
SPOILED = {"colour": 0.40, "shape": 0.35, "size": 0.15, "missing": 0.10}
"""What is wrong with the others."""
LEFT_CLEAN = 0.40
"""How often nothing is done to the rendering; else it is drawn from all of `FAULTS`."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape: a value of `SIZES`, of `COLOURS` and of `SHAPES`."""

    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands at either place; None where nothing does."""

    left: Thing | None
    right: Thing | None

    @property
    def things(self) -> tuple[Thing | None, Thing | None]:
        return self.left, self.right


@dataclass(frozen=True, slots=True)
class Picture:
    """What an image shows: a scene and how well it is rendered."""

    scene: Scene
    fault: Fault


def prompt_text(wanted: Scene) -> str:
    """The words a user would type, e.g. `large red circle , small blue star`."""
    return " , ".join(str(thing) for thing in wanted.things)


def is_held_out(thing: Thing | None) -> bool:
    """Whether the thing's colour and shape are one of `HELD_OUT`."""
    return thing is not None and (thing.colour, thing.shape) in HELD_OUT


def draw_thing(rng: np.random.Generator, *, held_out: bool) -> Thing:
    """A random thing whose colour and shape are (or are not) a held-out combination."""
    while True:
        colour, shape = COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))]
        if ((colour, shape) in HELD_OUT) == held_out:
            return Thing(SIZES[rng.integers(len(SIZES))], colour, shape)


def spoil_thing(thing: Thing, rng: np.random.Generator) -> Thing | None:
    """The thing with one attribute wrong or missing altogether, as often as `SPOILED` says."""
    kind = rng.random()
    if kind < SPOILED["colour"]:
        return Thing(thing.size, another(COLOURS, thing.colour, rng), thing.shape)
    if kind < SPOILED["colour"] + SPOILED["shape"]:
        return Thing(thing.size, thing.colour, another(SHAPES, thing.shape, rng))
    if kind < SPOILED["colour"] + SPOILED["shape"] + SPOILED["size"]:
        return Thing(another(SIZES, thing.size, rng), thing.colour, thing.shape)
    return None


def draw_picture(wanted: Scene, rng: np.random.Generator) -> Picture:
    """A generator's attempt at the scene: each thing is right with `AS_ASKED`, the rendering clean with 55 %.

    55 % is those that are left alone and a quarter of the others.
    """
    left, right = (
        thing if thing is None or rng.random() < AS_ASKED else spoil_thing(thing, rng) for thing in wanted.things
    )
    fault = "clean" if rng.random() < LEFT_CLEAN else FAULTS[rng.integers(len(FAULTS))]
    return Picture(Scene(left, right), fault)


def thing_chances(asked: Thing) -> dict[Thing | None, float]:
    """How likely `draw_picture` shows each thing, or nothing, where this one was asked for."""
    wrong = 1 - AS_ASKED
    chances: dict[Thing | None, float] = {asked: AS_ASKED, None: wrong * SPOILED["missing"]}
    for attribute, values in (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES)):
        others = [value for value in values if value != getattr(asked, attribute)]
        chances |= {replace(asked, **{attribute: one}): wrong * SPOILED[attribute] / len(others) for one in others}
    return chances


def fault_chances() -> dict[Fault, float]:
    """How likely `draw_picture` gives a picture each fault."""
    drawn = (1 - LEFT_CLEAN) / len(FAULTS)
    return {fault: drawn + LEFT_CLEAN * (fault == "clean") for fault in FAULTS}


def another(values: tuple[str, ...], value: str, rng: np.random.Generator) -> str:
    """One of the values at random that is not this one."""
    others = [candidate for candidate in values if candidate != value]
    return others[rng.integers(len(others))]
