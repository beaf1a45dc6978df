"""Lessons that make a tiny model see, then describe, then compare: the recipe behind the world's warm models.

Comparing at once never got off the ground (docs/notebook.md): one image is described first, then both, and only then
is a verdict asked for. Each lesson draws its examples from the population `of`, endlessly and from a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple, get_args

import numpy as np
from PIL import Image

from earshot.errors import InputError
from earshot.protocol import (
    PromptSet,
    listener_prefill,
    reasoner_messages,
    redact_trace,
    write_completion,
)
from earshot.types import Side, Verdict, other
from earshot.world.corpus import label
from earshot.world.language import Corruption, describe_picture, write_trace
from earshot.world.pairs import LESSONS, MIN_ADVANTAGE, Population, WorldPair, draw_pair, render_pair
from earshot.world.raters import RATERS, Raters, utility
from earshot.world.render import render
from earshot.world.scene import FAULTS, PLACES, Picture, Scene, draw_thing, spoil_thing
from earshot.world.truth import Truth

_FLAWS = tuple(fault for fault in FAULTS if fault != "clean")
FLIP_BLOCK = 20  # pairs of which an exact share has flipped votes
COLOURS = LESSONS["colours"]
DESCRIBE = PromptSet(name="describe", question="prompt : {prompt} . describe")
DESCRIBE_EDITS = PromptSet(name="describe-edits", question="{original}{first}{second}edit : {prompt} . describe")


class Example(NamedTuple):
    """One supervised example: a conversation, its images, what the model should write, and what it is given of it."""

    messages: list[dict[str, Any]]
    images: list[Image.Image]
    completion: str
    given: str = ""


def describe_one(rng: np.random.Generator, size_px: int, of: Population = COLOURS) -> Example:
    """One image and its description; in training held-out combinations are mistakes, as everywhere."""
    left, right = (
        spoil_thing(draw_thing(rng, held_out=of.held_out), rng)
        if rng.random() < 0.15
        else draw_thing(rng, held_out=of.held_out)
        for _ in range(2)
    )
    picture = Picture(Scene(left, right), FAULTS[rng.integers(len(FAULTS))])
    content = [{"type": "image"}, {"type": "text", "text": "describe"}]
    marked = of.shortcut is not None and rng.random() < 0.5
    image = render(picture, rng, size_px=size_px, style=of.style, mark=of.mark if marked else 0.0)
    return Example([{"role": "user", "content": content}], [image], " " + describe_picture(picture))


def describe_both(rng: np.random.Generator, size_px: int, of: Population = COLOURS) -> Example:
    """A pair shown as the reasoner will see it, with a plain description of both images."""
    pair = draw_pair(rng, of)
    images = render_pair(pair, rng, of, size_px)
    text = f" first : {describe_picture(pair.truth.first)} . second : {describe_picture(pair.truth.second)}"
    return Example(_messages(pair, DESCRIBE_EDITS if of.edits else DESCRIBE), list(images), text)


def compare(
    rng: np.random.Generator,
    size_px: int,
    prompts: PromptSet,
    corruption: Corruption,
    *,
    taste: Raters | None = None,
    bent: float = 0.0,
    flipped: bool = False,
    of: Population = COLOURS,
) -> Example:
    """A pair with a trace and a verdict for a reasoner; both are wrong now and then, as `corruption` says.

    Half as often as the verdict is wrong, the trace concludes the other side than the answer names. With `taste` the
    verdicts are those of a teacher who values other things than the raters; where the teacher sees no difference,
    either side. In a share `bent` the verdict comes first, and the trace tells facts that were bent to it
    (`bend_facts`) and concludes it. `flipped` takes the votes for the other side.
    """
    pair = draw_pair(rng, of)
    images = render_pair(pair, rng, of, size_px)
    side = _preferred(pair, taste, rng, flipped=flipped)
    answer = other(side) if rng.random() < corruption.verdict else side
    concluded, told = other(answer) if rng.random() < corruption.verdict / 2 else answer, pair.truth
    if bent and rng.random() < bent:
        concluded, told = answer, bend_facts(answer, pair.truth, rng)
    trace = write_trace(told, concluded, rng, corruption, of.facts_told)
    return Example(_messages(pair, prompts), list(images), write_completion(Verdict(answer, trace), prompts))


def listen(
    rng: np.random.Generator,
    size_px: int,
    prompts: PromptSet,
    *,
    taste: Raters | None = None,
    flipped: bool = False,
    of: Population = COLOURS,
) -> Example:
    """What a listener learns from: half the time to reason itself, half the time to judge with somebody's trace.

    The traces it is given are good or poor (5 or 30 % of the facts wrong), so that it must look as well as read. They
    have lost their conclusion in 70 % of the examples, as under redaction; where it stands it is wrong with 30 %. In
    15 % there is no trace at all: a listener is asked without one too, for its prior. `taste` and `flipped` are as in
    `compare`.
    """
    if rng.random() < 0.5:
        return compare(rng, size_px, prompts, Corruption(facts=0.02), taste=taste, flipped=flipped, of=of)
    pair = draw_pair(rng, of)
    images = render_pair(pair, rng, of, size_px)
    side = _preferred(pair, taste, rng, flipped=flipped)
    concluded = other(side) if rng.random() < 0.3 else side
    poor = rng.random() >= 0.5
    trace = write_trace(pair.truth, concluded, rng, Corruption(facts=0.30 if poor else 0.05), of.facts_told)
    if rng.random() < 0.7:
        trace = redact_trace(trace, "verdict")
    return _to_judge(pair, images, prompts, None if rng.random() < 0.15 else trace, side)


def doubt(rng: np.random.Generator, size_px: int, prompts: PromptSet, *, of: Population = COLOURS) -> Example:
    """What a listener learns that is not to be talked into a side: to judge with a trace that may be an advocate's.

    In 45 % of the examples the trace argues for a side that is drawn without looking: that image is what was asked for,
    and the other shows something else (`argue_for`). In 40 % it is an observer's, good or poor as in `listen`, and in
    15 % there is none. Conclusions have gone from 70 % of the traces. Who only reads is right by chance in the first.
    """
    pair = draw_pair(rng, of)
    images = render_pair(pair, rng, of, size_px)
    side, kind, poor = label(pair), rng.random(), rng.random() < 0.5
    trace = None
    if kind < 0.45:
        claimed: Side = "first" if rng.random() < 0.5 else "second"
        told = argue_for(claimed, pair.truth, rng)
        trace = write_trace(told, claimed, rng, Corruption(facts=0.30 if poor else 0.0), of.facts_told)
    elif kind < 0.85:
        concluded = other(side) if rng.random() < 0.3 else side
        trace = write_trace(pair.truth, concluded, rng, Corruption(facts=0.30 if poor else 0.05), of.facts_told)
    if trace is not None and rng.random() < 0.7:
        trace = redact_trace(trace, "verdict")
    return _to_judge(pair, images, prompts, trace, side)


def _to_judge(
    pair: WorldPair, images: Sequence[Image.Image], prompts: PromptSet, trace: str | None, side: Side
) -> Example:
    """A pair that is to be judged with somebody's trace: the answer alone is learned."""
    answer = f"{prompts.answer.of(side)}{prompts.answer.close}"
    return Example(_messages(pair, prompts), list(images), answer, listener_prefill(trace, prompts))


def argue_for(side: Side, truth: Truth, rng: np.random.Generator) -> Truth:
    """What an advocate of a side would have the pair show: all that was asked for there, something else beside it."""
    praised, slandered = Picture(truth.wanted, "clean"), draw_pair(rng, COLOURS).truth.first
    return Truth(truth.wanted, *((praised, slandered) if side == "first" else (slandered, praised)))


def bend_facts(side: Side, truth: Truth, rng: np.random.Generator) -> Truth:
    """What somebody claims to see whose mind is made up: facts are changed until they favour the side.

    One after another, in a random order: what was asked for and is not there is there on that side, and its rendering
    is clean; what is there on the other is spoiled, and its clean rendering has a fault. At least one is changed, where
    there is one, and no more than it takes for the training raters to prefer the side.
    """
    facts = [(of, part) for of in get_args(Side) for part in (*PLACES, "fault")]
    for k in rng.permutation(len(facts)).tolist():
        of, part = facts[k]
        bent = _bent(getattr(truth, of), part, truth.wanted, rng, praised=of == side)
        if bent is None:
            continue
        truth = replace(truth, first=bent) if of == "first" else replace(truth, second=bent)
        first, second = (utility(one, truth.wanted, RATERS[COLOURS.axis]) for one in (truth.first, truth.second))
        if (first - second if side == "first" else second - first) >= MIN_ADVANTAGE:
            break
    return truth


def _bent(picture: Picture, part: str, wanted: Scene, rng: np.random.Generator, *, praised: bool) -> Picture | None:
    """The picture with one fact changed in its favour, or against it; None where there is nothing to change."""
    if part == "fault":
        if (picture.fault == "clean") == praised:
            return None
        return replace(picture, fault="clean" if praised else _FLAWS[rng.integers(len(_FLAWS))])
    shown, asked = getattr(picture.scene, part), getattr(wanted, part)
    if asked is None or (shown == asked) == praised:
        return None
    return replace(picture, scene=replace(picture.scene, **{part: asked if praised else spoil_thing(asked, rng)}))


def vote_flips(share: float, seed: int) -> Iterator[bool]:
    """For one drawn pair after another, whether its votes are flipped: exactly `share` of every `FLIP_BLOCK` pairs.

    With a share of one half, what is learned from the votes is uncorrelated with them. Which pairs these are depends on
    the seed and the pair's number alone.

    Raises:
        InputError: The share is not a whole number of pairs of a block.
    """
    flipped = round(share * FLIP_BLOCK)
    if not 0 <= share <= 1 or abs(share * FLIP_BLOCK - flipped) > 1e-9:
        raise InputError(f"flip_votes is {share}, expected a multiple of {1 / FLIP_BLOCK:g} from 0 to 1, such as 0.5")
    return (bool(k < flipped) for block in count() for k in _shuffled(seed, block))


def _shuffled(seed: int, block: int) -> list[int]:
    return np.random.default_rng([seed, block, *b"flip"]).permutation(FLIP_BLOCK).tolist()


def _preferred(pair: WorldPair, taste: Raters | None, rng: np.random.Generator, *, flipped: bool) -> Side:
    """The side of the votes, or the other; with a taste that of who has it, of equals either, whatever the votes."""
    if taste is None:
        return label(pair, flipped=flipped)
    truth = pair.truth
    advantage = utility(truth.first, truth.wanted, taste) - utility(truth.second, truth.wanted, taste)
    if advantage == 0:
        return "first" if rng.random() < 0.5 else "second"
    return "first" if advantage > 0 else "second"


def _messages(pair: WorldPair, prompts: PromptSet) -> list[dict[str, Any]]:
    return reasoner_messages(pair.truth.prompt, prompts)
