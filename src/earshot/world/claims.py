"""Claims in the world's language: cut out of a trace, and the lesson that teaches a model to check them one by one.

A claim is put without its `yes` or `no`: of `left large red circle no but small green star` the model is asked
`left large red circle ?`, which the trace denies, then `left small ?`, `left green ?` and `left star ?`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from earshot.protocol import Claim
from earshot.protocol.places import Span
from earshot.world.checker import claims_in
from earshot.world.language import describe_thing
from earshot.world.render import render
from earshot.world.scene import (
    COLOURS,
    FAULTS,
    PLACES,
    SHAPES,
    SIZES,
    Picture,
    Scene,
    Thing,
    another,
    draw_thing,
    spoil_thing,
)
from earshot.world.truth import Truth

# Which words are claims does not depend on the truth, so that any will do to cut a trace.
_EMPTY = Scene(None, None)
_NOWHERE = Truth(_EMPTY, Picture(_EMPTY, "clean"), Picture(_EMPTY, "clean"))


def split_world_claims(trace: str) -> list[Claim]:
    """Every claim of a trace in the world's language about one of the images, in order; opinions are none."""
    claims = []
    for claim, own in claims_in(trace, _NOWHERE):
        if claim.image is None or claim.status == "unchecked":
            continue
        words = claim.text.split()
        flag = words[-1] if words[-1] in ("yes", "no") else None
        said, span = " ".join(words[:-1] if flag else words), Span(own[0].start, own[-1].end)
        claims.append(Claim(claim.image, said, denied=flag == "no", span=span))
    return claims


class Questions(NamedTuple):
    """One image and claims about it: what a checker learns from.

    Attributes:
        image: The rendered picture.
        claims: As `draw_claim` makes them.
        holds: Whether each is true of the image.
    """

    image: Image.Image
    claims: list[str]
    holds: list[bool]


def draw_questions(rng: np.random.Generator, size_px: int, n: int, mark: float = 0.0) -> Questions:
    """One image and n claims about it, each true with one half.

    False claims are near misses: a thing with one attribute wrong or the one of the other place, another value of an
    attribute, another rendering. Things are drawn as in `curriculum.describe_one`, and with `mark` half of the images
    have one.
    """
    left, right = (
        spoil_thing(draw_thing(rng, held_out=False), rng) if rng.random() < 0.15 else draw_thing(rng, held_out=False)
        for _ in range(2)
    )
    picture = Picture(Scene(left, right), FAULTS[rng.integers(len(FAULTS))])
    holds = [bool(rng.random() < 0.5) for _ in range(n)]
    claims = [draw_claim(picture, one, rng) for one in holds]
    marked = mark > 0 and rng.random() < 0.5
    return Questions(render(picture, rng, size_px=size_px, mark=mark if marked else 0.0), claims, holds)


def draw_claim(picture: Picture, holds: bool, rng: np.random.Generator) -> str:
    """A claim that holds of the picture, or does not: of a thing (40 %), an attribute (40 %) or the rendering."""
    kind = rng.random()
    if kind >= 0.8:
        return picture.fault if holds else another(FAULTS, picture.fault, rng)
    which = int(rng.integers(2))
    place, thing, beside = PLACES[which], picture.scene.things[which], picture.scene.things[1 - which]
    if kind < 0.4:
        return f"{place} {describe_thing(thing if holds else _near_miss(thing, beside, rng))}"
    return f"{place} {_attribute(thing, holds, rng)}"


def _near_miss(thing: Thing | None, beside: Thing | None, rng: np.random.Generator) -> Thing | None:
    if beside != thing and rng.random() < 0.25:
        return beside
    return draw_thing(rng, held_out=bool(rng.random() < 0.2)) if thing is None else spoil_thing(thing, rng)


def _attribute(thing: Thing | None, holds: bool, rng: np.random.Generator) -> str:
    """One word for what is at a place: of its size, colour or shape, or that nothing is there."""
    kinds = ((SIZES, "size"), (COLOURS, "colour"), (SHAPES, "shape"))
    values, kind = kinds[rng.integers(3)]
    if thing is None:
        return "nothing" if holds else values[rng.integers(len(values))]
    if holds:
        return str(getattr(thing, kind))
    return "nothing" if rng.random() < 0.1 else another(values, getattr(thing, kind), rng)
