"""The language of the world's traces.

A trace takes what was asked for at each place of either image, says whether it is there and, where it is not, what is
there instead; then how the image is rendered:

    first : left large red circle yes , right small blue star no but small green star , dark . second : left large red
    circle no but nothing , right small blue star yes , clean . so first better

These are six facts. A selective trace tells some of them, and does not name an image of which it tells none:

    first : right small blue star no but small green star , dark . so second better
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from earshot.protocol import swap_references
from earshot.types import Side
from earshot.world.scene import COLOURS, FAULTS, PLACES, SHAPES, SIZES, Fault, Picture, Scene, Thing
from earshot.world.truth import Truth


@dataclass(frozen=True, slots=True)
class Corruption:
    """How often an observer goes wrong.

    Attributes:
        facts: Probability that an attribute of a thing, or the rendering, is replaced by a random one of its kind,
            which may be the same again.
        verdict: Probability that the worse image is called the better. `write_trace` concludes what it is told to
            conclude; who calls it draws this.
    """

    facts: float = 0.0
    verdict: float = 0.0


_TURNED = re.compile(
    r"(?P<before>\s*)(?P<second>second : .*?)(?P<between> \. ?\s*)(?P<first>first : .*?)(?P<after> \..*)?", re.S
)


def swap_trace(trace: str) -> str:
    """A trace as it would read had its images been shown in the other order, the first again described first.

    The world's models describe the first image before the second, and have never read it otherwise.
    """
    text = swap_references(trace)
    found = _TURNED.fullmatch(text)
    if found is None:
        return text
    parts = found.groupdict(default="")
    return "".join(parts[name] for name in ("before", "first", "between", "second", "after"))


def describe_thing(thing: Thing | None) -> str:
    """Size, colour and shape, e.g. `large red circle`, or `nothing`."""
    return "nothing" if thing is None else str(thing)


def describe_picture(picture: Picture) -> str:
    """A picture without a judgement, e.g. `left large red circle , right nothing , dark`."""
    parts = [f"{place} {describe_thing(thing)}" for place, thing in zip(PLACES, picture.scene.things, strict=True)]
    return " , ".join([*parts, picture.fault])


def write_trace(
    truth: Truth, better: Side, rng: np.random.Generator, corruption: Corruption, facts_told: int | None = None
) -> str:
    """A trace of an observer who misreads each fact with probability `corruption.facts`, and concludes `better`.

    Each `yes` and `no` follows from what the observer believes to see. An empty place is always seen to be empty. With
    `facts_told` so many of the six facts are told, drawn at random.
    """
    facts = {
        side: _judged(_misread(picture, rng, corruption.facts), truth.wanted)
        for side, picture in (("first", truth.first), ("second", truth.second))
    }
    if facts_told is not None:
        every = [(side, k) for side, of in facts.items() for k in range(len(of))]
        told = {every[number] for number in rng.permutation(len(every))[:facts_told].tolist()}
        facts = {side: [fact for k, fact in enumerate(of) if (side, k) in told] for side, of in facts.items()}
    images = [f"{side} : {' , '.join(of)}" for side, of in facts.items() if of]
    return f"{' . '.join(images)} . so {better} better"


def _judged(picture: Picture, wanted: Scene) -> list[str]:
    """What there is to say of a picture: of the left place, of the right one, and of the rendering."""
    parts = []
    for place, shown, asked in zip(PLACES, picture.scene.things, wanted.things, strict=True):
        judged = "yes" if shown == asked else f"no but {describe_thing(shown)}"
        parts.append(f"{place} {describe_thing(asked)} {judged}")
    return [*parts, picture.fault]


def _misread(picture: Picture, rng: np.random.Generator, p_wrong: float) -> Picture:
    """The picture as a poor observer sees it: each attribute replaced at random with probability `p_wrong`."""
    fault: Fault = FAULTS[rng.integers(len(FAULTS))] if rng.random() < p_wrong else picture.fault
    left, right = (_misread_thing(thing, rng, p_wrong) for thing in picture.scene.things)
    return Picture(Scene(left, right), fault)


def _misread_thing(thing: Thing | None, rng: np.random.Generator, p_wrong: float) -> Thing | None:
    if thing is None:
        return None
    size, colour, shape = (
        values[rng.integers(len(values))] if rng.random() < p_wrong else value
        for values, value in ((SIZES, thing.size), (COLOURS, thing.colour), (SHAPES, thing.shape))
    )
    return Thing(size, colour, shape)
