"""Edits: what is to be done to a scene, in words, and how somebody does it.

An edit is about one place: a thing is to get another size, colour or shape, to go, or to come where nothing is. What it
leaves is the scene that is wanted, of which results are judged as attempts at any wanted scene are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from earshot.world.scene import (
    COLOURS,
    PLACES,
    SHAPES,
    SIZES,
    Picture,
    Scene,
    Thing,
    another,
    draw_fault,
    draw_thing,
    is_held_out,
    spoil_thing,
)

Kind: TypeAlias = Literal["change", "remove", "add"]
Outcome: TypeAlias = Literal["done", "not done", "overdone"]
Attribute: TypeAlias = Literal["size", "colour", "shape"]

KIND_CHANCES: Final[Mapping[Kind, float]] = {"change": 0.6, "remove": 0.2, "add": 0.2}
OUTCOME_CHANCES: Final[Mapping[Outcome, float]] = {"done": 0.6, "not done": 0.25, "overdone": 0.15}
SIDE_EFFECT: Final = 0.25
"""How often the thing that was to be kept is spoilt, where the edit is not overdone anyway."""
_VALUES: Final[Mapping[Attribute, tuple[str, ...]]] = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}


@dataclass(frozen=True, slots=True)
class Edit:
    """What is to be done to a scene.

    Attributes:
        original: The scene as it is.
        place: Of the thing that it is about, one of `PLACES`.
        target: What is to be there; None where nothing is.
        attribute: Which of the thing's is to be another; None where it is to go, or to come.
    """

    original: Scene
    place: str
    target: Thing | None
    attribute: Attribute | None = None

    @property
    def words(self) -> str:
        """What a user would type: `make left blue`, `remove left`, `add left large red circle`."""
        if self.target is None:
            return f"remove {self.place}"
        if self.attribute is None:
            return f"add {self.place} {self.target}"
        return f"make {self.place} {getattr(self.target, self.attribute)}"

    @property
    def wanted(self) -> Scene:
        """The scene that it leaves, everything else as it was."""
        return replace(self.original, **{self.place: self.target})

    @property
    def overdone(self) -> Scene:
        """The scene that is left where the same is done to either place."""
        beside = next(place for place in PLACES if place != self.place)
        thing, done = getattr(self.original, beside), self.target
        if done is not None and self.attribute is not None and thing is not None:
            done = replace(thing, **{self.attribute: getattr(done, self.attribute)})
        return replace(self.wanted, **{beside: done})


def draw_edit(rng: np.random.Generator, *, held_out: bool) -> Edit:
    """A random edit; whoever overdoes it leaves another scene than it wants.

    Args:
        rng: Where it is drawn from.
        held_out: Whether the thing that it is about has, once it is done, one of the held-out combinations of colour
            and shape (`earshot.world.scene.HELD_OUT`).
    """
    kind: Kind = _one_of(KIND_CHANCES, rng)
    while True:
        place = PLACES[rng.integers(len(PLACES))]
        beside = next(one for one in PLACES if one != place)
        kept = draw_thing(rng, held_out=False)
        if kind == "change":
            thing = draw_thing(rng, held_out=False)
            attribute = get_args(Attribute)[rng.integers(len(_VALUES))]
            value = another(_VALUES[attribute], getattr(thing, attribute), rng)
            edit = Edit(_scene(place, thing, beside, kept), place, replace(thing, **{attribute: value}), attribute)
        elif kind == "remove":
            edit = Edit(_scene(place, draw_thing(rng, held_out=held_out), beside, kept), place, None)
        else:
            edit = Edit(_scene(place, None, beside, kept), place, draw_thing(rng, held_out=held_out))
        asked = edit.target is None or is_held_out(edit.target) == held_out
        if asked and edit.overdone != edit.wanted:
            return edit


def attempt_edit(edit: Edit, rng: np.random.Generator) -> Picture:
    """An editor's attempt: done, not done or overdone, a side effect on what was to be kept, a fault of rendering."""
    outcome: Outcome = _one_of(OUTCOME_CHANCES, rng)
    scene = {"done": edit.wanted, "not done": edit.original, "overdone": edit.overdone}[outcome]
    beside = next(place for place in PLACES if place != edit.place)
    kept = getattr(scene, beside)
    if outcome != "overdone" and rng.random() < SIDE_EFFECT:
        scene = replace(scene, **{beside: spoil_thing(kept, rng)})
    return Picture(scene, draw_fault(rng))


def _scene(place: str, thing: Thing | None, beside: str, kept: Thing | None) -> Scene:
    return Scene(**{place: thing, beside: kept})


def _one_of(chances: Mapping[Any, float], rng: np.random.Generator) -> Any:
    at = rng.random()
    return next(
        (name for name, end in zip(chances, accumulate(chances.values()), strict=True) if at < end), [*chances][-1]
    )
