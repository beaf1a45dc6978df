"""Pairs of the world, drawn from a seed: the truth, the votes and the two images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from PIL import Image

from earshot.types import Side, Votes, other
from earshot.world.edits import attempt_edit, draw_edit
from earshot.world.raters import RATERS, utility, vote
from earshot.world.render import Style, render
from earshot.world.scene import Picture, Scene, draw_picture, draw_thing
from earshot.world.truth import Truth

SOURCE = "earshot world"
"""What pairs and their set's `dataset.json` name as their source."""
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
        shortcut: In which share of the pairs the image that most raters preferred is marked; in the others it is the
            other image. None marks no image.
        mark: How far the marked image's ground goes to the mark's hue (`earshot.world.render.render`).
        drawn_as: The set whose pairs these are, if not its own: the same truth and votes, other marks.
        facts_told: How many of its six facts a trace tells (`earshot.world.language`); None for all.
        edits: Whether pictures are edits of an original, by an instruction (`earshot.world.edits`).
    """

    held_out: bool = False
    style: Style = "flat"
    axis: str = "preference"
    shortcut: float | None = None
    mark: float = 0.0
    drawn_as: str | None = None
    facts_told: int | None = None
    edits: bool = False

    @property
    def prompts(self) -> str:
        """The prompt set that asks the world's models about its pairs."""
        return "brief-edit" if self.edits else "brief"


# The three kinds of out-of-distribution set differ from training in one respect each.
POPULATIONS = {
    "train": Population(),
    "validation": Population(),
    "test": Population(),
    "ood_combinations": Population(held_out=True),
    "ood_style": Population(style="sketch"),
    "ood_raters": Population(axis="style"),
}

MARK = 0.4

# Something goes with the label that no trace can name. The test sets are the same pairs, with marks always on the image
# that people prefer, always on the other, and on neither.
SHORTCUT = {
    "shortcut_train": Population(shortcut=0.85, mark=MARK, drawn_as="train"),
    "shortcut_train_70": Population(shortcut=0.70, mark=MARK, drawn_as="train"),
    "shortcut_validation": Population(shortcut=0.85, mark=MARK, drawn_as="validation"),
    "shortcut_with": Population(shortcut=1.0, mark=MARK, drawn_as="test"),
    "shortcut_against": Population(shortcut=0.0, mark=MARK, drawn_as="test"),
    "shortcut_none": Population(drawn_as="test"),
    "shortcut_combinations": Population(held_out=True, drawn_as="ood_combinations"),
}
# Few pairs, to be seen many times: what is learned by heart is the gap to fresh pairs of the same population.
FEW = {
    "few_train": Population(drawn_as="train"),
    "few_fresh": Population(drawn_as="test"),
    "few_combinations": Population(held_out=True, drawn_as="ood_combinations"),
}

FACTS_TOLD = 3
# What to say is a choice: traces tell half of the facts. The pairs are those of the first world.
SELECTIVE = {
    f"selective_{name.removeprefix('ood_')}": replace(POPULATIONS[name], drawn_as=name, facts_told=FACTS_TOLD)
    for name in ("train", "validation", "test", "ood_combinations")
}

# An original, an instruction and two edits of it: what was to be kept can be seen in the original alone.
EDITS = {
    f"edit_{name.removeprefix('ood_')}": replace(population, edits=True) for name, population in POPULATIONS.items()
}

WORLDS = {"colours": POPULATIONS, "shortcut": SHORTCUT, "few": FEW, "selective": SELECTIVE, "edit": EDITS}
"""The sets of each world, by name; a name is one world's."""
SETS = {name: population for sets in WORLDS.values() for name, population in sets.items()}
TRAINING_PAIRS = {"colours": 4800, "shortcut": 4800, "few": 240, "selective": 4800, "edit": 4800}
"""How many pairs each world's training sets have unless somebody says another number."""
LESSONS = {
    "colours": POPULATIONS["train"],
    "shortcut": Population(shortcut=0.5, mark=MARK),
    "few": POPULATIONS["train"],
    "selective": SELECTIVE["selective_train"],
    "edit": EDITS["edit_train"],
}
"""What the warm models of each world are taught on: in `shortcut` they see marks, on either image as often; in
`selective` they write and read traces that tell some of the facts, drawn at random."""


class WorldPair(NamedTuple):
    """A drawn pair.

    Attributes:
        truth: What was asked for, and what the images show.
        votes: What the raters said.
        advantage: The first image's utility minus the second's, to the raters who voted.
        marked: The image that carries the mark, if one does.
    """

    truth: Truth
    votes: Votes
    advantage: float
    marked: Side | None = None


def draw_pair(rng: np.random.Generator, population: Population) -> WorldPair:
    """One pair of the population: a wanted scene, two attempts at it, and votes."""
    raters = RATERS[population.axis]
    while True:
        truth = _draw_truth(rng, population)
        advantage = utility(truth.first, truth.wanted, raters) - utility(truth.second, truth.wanted, raters)
        if abs(advantage) >= MIN_ADVANTAGE:
            votes = vote(advantage, raters, rng)
            return WorldPair(truth, votes, advantage, _marked(votes, population, rng))


def _draw_truth(rng: np.random.Generator, population: Population) -> Truth:
    if population.edits:
        edit = draw_edit(rng, held_out=population.held_out)
        return Truth(edit.wanted, attempt_edit(edit, rng), attempt_edit(edit, rng), edit)
    wanted = Scene(*(draw_thing(rng, held_out=population.held_out) for _ in range(2)))
    return Truth(wanted, draw_picture(wanted, rng), draw_picture(wanted, rng))


def _marked(votes: Votes, population: Population, rng: np.random.Generator) -> Side | None:
    if population.shortcut is None:
        return None
    side = votes.majority
    assert side is not None  # the number of raters is odd
    return side if rng.random() < population.shortcut else other(side)


def render_pair(
    pair: WorldPair, rng: np.random.Generator, population: Population, size_px: int
) -> tuple[Image.Image, ...]:
    """The images of a pair in the order in which they are shown: the original of an edit, the first, the second."""
    marks = (population.mark if pair.marked == side else 0.0 for side in ("first", "second"))
    results = (
        render(picture, rng, size_px=size_px, style=population.style, mark=mark)
        for picture, mark in zip((pair.truth.first, pair.truth.second), marks, strict=True)
    )
    if pair.truth.edit is None:
        return tuple(results)
    original = Picture(pair.truth.edit.original, "clean")
    return render(original, rng, size_px=size_px, style=population.style), *results


def pair_generator(seed: int, set_name: str, index: int) -> np.random.Generator:
    """The generator of one pair: it depends on the seed, the set and the index alone, not on who draws it."""
    return np.random.default_rng([seed, *set_name.encode(), index])
