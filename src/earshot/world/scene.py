"""Scenes: what a prompt asks for and what a picture shows.

A scene has two places, left and right. Each holds a thing (a size, a colour and a shape) or nothing. A picture shows
a scene, possibly not the one that was asked for, and carries at most one fault of rendering.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final, Literal, TypeAlias, get_args

import numpy as np

Fault: TypeAlias = Literal["clean", "dark", "pale", "tinted"]
Kind: TypeAlias = Literal["right", "colour", "shape", "size", "missing"]
"""How a generator does a thing: as it was asked for, with one attribute wrong, or not at all."""

SIZES = ("small", "large")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star")
FAULTS: tuple[Fault, ...] = get_args(Fault)
PLACES = ("left", "right")

_RIGHT = 0.6
_SPOILT: Mapping[Kind, float] = {"colour": 0.40, "shape": 0.35, "size": 0.15, "missing": 0.10}
_SPOILT_UP_TO = tuple(zip(_SPOILT, accumulate(_SPOILT.values()), strict=True))
_LEFT_CLEAN = 0.4
# What a generator does with each thing of a prompt, and with the whole rendering, independently of one another.
KIND_CHANCES: Final[Mapping[Kind, float]] = {
    "right": _RIGHT,
    **{kind: (1 - _RIGHT) * share for kind, share in _SPOILT.items()},
}
FAULT_CHANCES: Final[Mapping[Fault, float]] = {
    fault: (1 - _LEFT_CLEAN) / len(FAULTS) + (_LEFT_CLEAN if fault == "clean" else 0.0) for fault in FAULTS
}

HELD_OUT = frozenset(
    {("purple", "star"), ("orange", "triangle"), ("yellow", "square"), ("red", "star"), ("blue", "triangle")}
)
"""Colours and shapes that no prompt of training, validation or the in-distribution test asks for together.

Prompts, not pictures: a spoiled thing (`spoil_thing`) may become one of these by mistake. About 14 % of the training
pictures show one, 8 % of their things are one, and every one of them is a mistake, for it was not asked for. So the set
of unseen combinations asks whether a model judges well what it was never *asked for*; it has seen how they look, and
seen them only where they were wrong, which a model can take for a rule ("a purple star is never right").
"""


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
    """The thing with one attribute wrong (colour 40 %, shape 35 %, size 15 %) or missing altogether (10 %)."""
    at = rng.random()
    return attempt(thing, next((kind for kind, end in _SPOILT_UP_TO if at < end), "missing"), rng)


def attempt(thing: Thing, kind: Kind, rng: np.random.Generator) -> Thing | None:
    """The thing as a generator does it; which wrong colour or shape it is, is drawn."""
    if kind == "colour":
        return Thing(thing.size, another(COLOURS, thing.colour, rng), thing.shape)
    if kind == "shape":
        return Thing(thing.size, thing.colour, another(SHAPES, thing.shape, rng))
    if kind == "size":
        return Thing(another(SIZES, thing.size, rng), thing.colour, thing.shape)
    return thing if kind == "right" else None


def draw_picture(wanted: Scene, rng: np.random.Generator) -> Picture:
    """A generator's attempt at the scene: each thing is right with 60 %, the rendering clean with 55 %.

    55 % is 40 % that are left alone and a quarter of the others, whose rendering is drawn from all of `FAULTS`.
    """
    left, right = (
        thing if thing is None or rng.random() < _RIGHT else spoil_thing(thing, rng) for thing in wanted.things
    )
    return Picture(Scene(left, right), draw_fault(rng))


def draw_fault(rng: np.random.Generator) -> Fault:
    """How somebody renders a picture, by `FAULT_CHANCES`."""
    return "clean" if rng.random() < _LEFT_CLEAN else FAULTS[rng.integers(len(FAULTS))]


def thing_chances(asked: Thing) -> dict[Thing | None, float]:
    """How likely `draw_picture` shows each thing, or nothing, where this one was asked for."""
    chances: dict[Thing | None, float] = {asked: KIND_CHANCES["right"], None: KIND_CHANCES["missing"]}
    values: tuple[tuple[Kind, tuple[str, ...]], ...] = (("size", SIZES), ("colour", COLOURS), ("shape", SHAPES))
    for kind, known in values:
        others = [value for value in known if value != getattr(asked, kind)]
        chances |= {replace(asked, **{kind: one}): KIND_CHANCES[kind] / len(others) for one in others}
    return chances


def another(values: tuple[str, ...], value: str, rng: np.random.Generator) -> str:
    """One of the values at random that is not this one."""
    others = [candidate for candidate in values if candidate != value]
    return others[rng.integers(len(others))]
