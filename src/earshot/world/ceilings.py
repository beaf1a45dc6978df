"""How often anybody could be right about a set of the world: what judges are worth who make no mistake.

Nothing is drawn and no model is asked. A pair is worth to its raters what its four things are (as asked, another, or
missing) and its two renderings, so that there are 3⁴ · 4² kinds of pairs, whose chances are known: accuracies are sums
over them, and exact.

Axes: s, t kinds of the left and of the right place of both images (9); f of the two renderings (16); l, r, g what a
judge can tell apart of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

from earshot.world import edits
from earshot.world.edits import OUTCOME_CHANCES, SIDE_EFFECT, Outcome
from earshot.world.pairs import MIN_ADVANTAGE, SETS, SOURCE, WORLDS, Population
from earshot.world.raters import PROMPT_ALONE, RATERS, Raters, utility
from earshot.world.scene import (
    COLOURS,
    FAULT_CHANCES,
    FAULTS,
    KIND_CHANCES,
    SHAPES,
    SIZES,
    Picture,
    Scene,
    Thing,
    is_held_out,
    thing_chances,
)

# Who votes on such pairs is not asked: they weigh next to nothing, and decide where there is nothing else to go by.
_UNASKED = 1e-12
_ASKED, _OTHER = Thing("small", "red", "circle"), Thing("large", "red", "circle")
_KINDS = (_ASKED, _OTHER, None)


class Judge(NamedTuple):
    """What somebody goes by who makes no mistake, and who has learned from the training pairs what it is worth."""

    things: Literal["with prompt", "alone", "unseen"] = "with prompt"
    """Both pictures' things as they are to what was asked for; or as they are; or not at all."""
    rendering: bool = True
    mark: bool = False
    knows_raters: bool = False
    """Has learned from these raters' votes on pairs like these, and not from the training pairs."""
    taste: Raters | None = None
    """Has learned from nobody, and goes by this."""


STUDENT = "knows the training raters"
JUDGES = {
    "knows these raters": Judge(knows_raters=True),
    STUDENT: Judge(),
    "does not read the prompt": Judge(things="alone"),
    "sees the rendering alone": Judge(things="unseen"),
    "sees the things alone": Judge(rendering=False),
    "counts what is as asked for": Judge(taste=PROMPT_ALONE),
    "sees the mark alone": Judge(things="unseen", rendering=False, mark=True),
    "sees rendering and mark": Judge(things="unseen", mark=True),
    "sees all but the prompt": Judge(things="alone", mark=True),
}

DRAWN, MOST, ADVOCATE = (
    "reads facts told at random",
    "reads the facts that say most",
    "reads facts told for the other side",
)
"""Those who see no image and read a trace of a selective population, whose facts are all true."""
_WITH_LESS = {
    "does not read the prompt": "without the prompt",
    "sees the rendering alone": "by the rendering alone",
    "sees the mark alone": "by the mark alone",
    "sees rendering and mark": "by rendering and mark",
    DRAWN: "by reading facts told at random",
    MOST: "by reading those that say most",
}
_Votes: TypeAlias = tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]
"""Chances that most raters prefer the first image, and that they prefer the second."""


def ceilings(population: Population, trained_on: Population) -> dict[str, float]:
    """The accuracy of each of `JUDGES` in a population's pairs, by the majority of votes; in [0, 1].

    Args:
        population: Whose pairs are judged.
        trained_on: Whose pairs and votes a judge has learned from: what to make of what it sees, the mark included.
            Where both sides are worth the same to it, it is right in half of the pairs.

    Returns:
        By judge; of those who see a mark where images of the population have one, and of those who read a trace alone
        where traces tell some of the facts. What an edit is worth without its original, or its instruction, is not
        told.
    """
    accuracy = _accuracy_of_edits if population.edits else _accuracy
    right = {
        name: accuracy(judge, population, population if judge.knows_raters else trained_on)
        for name, judge in JUDGES.items()
        if (not judge.mark or population.shortcut is not None) and not (population.edits and judge.things == "alone")
    }
    return right if population.facts_told is None else right | _readers(population, trained_on)


@cache
def set_ceilings(set_name: str) -> dict[str, float]:
    """`ceilings` of a set by its name, for who has learned from the (first) training set of its world.

    Raises:
        KeyError: There is no such set.
    """
    world = next((sets for sets in WORLDS.values() if set_name in sets), {})
    return ceilings(world[set_name], next(of for name, of in world.items() if "train" in name))


def ceiling_line(info: Mapping[str, Any]) -> str | None:
    """What to say beside a result on a set of the world, in percent.

    Args:
        info: The set's dataset.json.

    Returns:
        A line; None where that does not say that it is a set of the world that we know.
    """
    name = str(info.get("set"))
    if info.get("source") != SOURCE or name not in SETS:
        return None
    told = {judge: f"{100 * right:.1f} %" for judge, right in set_ceilings(name).items()}
    student, own = told[STUDENT], told["knows these raters"]
    less = [f"{told[judge]} {words}" for judge, words in _WITH_LESS.items() if judge in told]
    line = f"at most {student} by a perfect student of the training raters; {', '.join(less)}"
    if own == student:
        return line
    return (
        f"{line}. Other raters vote here ({own} by who knows them): who is above {student} has learned less, not more"
    )


def _accuracy(judge: Judge, population: Population, learned: Population) -> float:
    renderings = np.array([*FAULT_CHANCES.values()])
    faults = _told_apart(np.outer(renderings, renderings).ravel(), each=judge.rendering)
    believed_places, places = _places(judge, learned, population)
    believed = _observed(_votes(judge.taste or RATERS[learned.axis], _UNASKED), believed_places, faults)
    true = _observed(_votes(RATERS[population.axis]), places, faults)
    if judge.mark:
        believed, true = _marked(believed, learned.shortcut), _marked(true, population.shortcut)
    return _right(believed, true)


def _accuracy_of_edits(judge: Judge, population: Population, learned: Population) -> float:
    """As `_accuracy`, of pairs of edits: what stands left there is the thing that is edited, right the one kept."""
    renderings = np.array([*FAULT_CHANCES.values()])
    chances = _edited()[:, :, None] * np.outer(renderings, renderings).ravel()
    unseen = (0, 1) if judge.things == "unseen" else (2,) if not judge.rendering else ()

    def observed(votes: _Votes) -> _Votes:
        first, second = ((one * chances).sum(axis=unseen) for one in votes)
        return first, second

    believed = observed(_votes(judge.taste or RATERS[learned.axis], _UNASKED))
    return _right(believed, observed(_votes(RATERS[population.axis])))


@cache
def _edited() -> Float[np.ndarray, "9 9"]:
    """For two edits by one instruction, the chances of what they make of the thing, and of what was to be kept."""
    done, not_done, overdone = (OUTCOME_CHANCES[outcome] for outcome in get_args(Outcome))
    lost = KIND_CHANCES["missing"] / (1 - KIND_CHANCES["right"])
    kept = np.array([1 - SIDE_EFFECT, SIDE_EFFECT * (1 - lost), SIDE_EFFECT * lost])
    chances = np.zeros((3, 3, 3, 3))
    for kind, chance in edits.KIND_CHANCES.items():
        one = np.zeros((3, 3))
        one[0] += done * kept
        one[2 if kind == "add" else 1] += not_done * kept
        one[0, 2 if kind == "remove" else 1] += overdone
        chances += chance * np.einsum("ab,cd->acbd", one, one)
    return chances.reshape(9, 9)


def _votes(raters: Raters, unasked: float = 0.0) -> _Votes:
    """By what the images are worth to the raters, of every kind of pair; by `unasked` of those that are drawn again."""
    wanted = Scene(_ASKED, _ASKED)
    worth = np.array(
        [
            [[utility(Picture(Scene(left, right), fault), wanted, raters) for fault in FAULTS] for right in _KINDS]
            for left in _KINDS
        ]
    )
    advantage = (worth[:, None, :, None, :, None] - worth[None, :, None, :, None, :]).reshape(9, 9, 16)
    asked = np.where(np.abs(advantage) >= MIN_ADVANTAGE, 1.0, unasked)
    p_single = 1.0 / (1.0 + np.exp(-raters.sharpness * advantage))
    p_first = binom.sf(raters.n_votes // 2, raters.n_votes, p_single)
    return asked * p_first, asked * (1.0 - p_first)


def _observed(votes: _Votes, places: Float[np.ndarray, "c k"], faults: Float[np.ndarray, "g f"]) -> _Votes:
    """Votes by what is observed, at both places and of the renderings."""
    first, second = (np.einsum("ls,rt,gf,stf->lrg", places, places, faults, one, optimize=True) for one in votes)
    return first, second


def _marked(votes: _Votes, share: float | None) -> _Votes:
    """Votes by what is observed and by which image is marked: in `share` of the pairs the preferred one."""
    assert share is not None  # training and test are of one world
    first, second = votes
    return np.stack([first * share, first * (1 - share)]), np.stack([second * (1 - share), second * share])


def _readers(population: Population, learned: Population) -> dict[str, float]:
    """Accuracies of who reads `facts_told` true facts, as if they had been drawn, and knows how pairs are drawn.

    Facts are told at random; or those after which the reader is surest, by somebody who has no side; or by an advocate
    of the side that most people do not prefer, who chooses the facts that make the reader err.
    """
    things = _unread(population.held_out).sum(axis=0).reshape(3, 3).sum(axis=1)
    renderings = np.array([*FAULT_CHANCES.values()])
    chances = np.einsum("a,b,c,d,e,f->abcdef", things, things, things, things, renderings, renderings)
    shape, facts = chances.shape, range(chances.ndim)
    believed = [chances * votes.reshape(shape) for votes in _votes(RATERS[learned.axis], _UNASKED)]
    true = [chances * votes.reshape(shape) for votes in _votes(RATERS[population.axis])]
    right, sure = [], []
    assert population.facts_told is not None
    for told in combinations(facts, population.facts_told):
        untold = tuple(fact for fact in facts if fact not in told)
        first, second = (votes.sum(axis=untold, keepdims=True) for votes in believed)
        says = _says(first, second)
        right.append(true[0] * (1 + says) / 2 + true[1] * (1 - says) / 2)
        sure.append(np.broadcast_to(np.abs(first - second) / (first + second), shape))
    every, surest = np.stack(right), np.round(sure, 9) == np.max(np.round(sure, 9), axis=0)
    most = (every * surest).sum(axis=0) / surest.sum(axis=0)  # of several that say as much, any
    told_so = {DRAWN: every.mean(axis=0), MOST: most, ADVOCATE: every.min(axis=0)}
    return {name: float(of.sum() / np.sum(true)) for name, of in told_so.items()}


def _right(believed: _Votes, true: _Votes) -> float:
    """How often the side is right that is believed to have most votes; where neither is, half of the time."""
    says = _says(*believed)
    return float(np.sum(true[0] * (1 + says) / 2 + true[1] * (1 - says) / 2) / np.sum(true))


def _says(first: Float[np.ndarray, ...], second: Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """The sign of the side that is believed to have most votes; 0 where neither is."""
    return np.where(np.abs(first - second) <= 1e-9 * (first + second), 0.0, np.sign(first - second))


def _told_apart(chances: Float[np.ndarray, " k"], *, each: bool) -> Float[np.ndarray, "c k"]:
    """Chances of every kind by what is observed: each of them for itself, or nothing."""
    return np.diag(chances) if each else chances[None]


def _places(
    judge: Judge, learned: Population, population: Population
) -> tuple[Float[np.ndarray, "c 9"], Float[np.ndarray, "c 9"]]:
    """By what is observed of a place in both images, the chances of what it is: as is believed, and as is so."""
    if judge.things != "alone":
        chances = _unread(population.held_out).sum(axis=0)  # the same whatever is asked for
        told = _told_apart(chances, each=judge.things == "with prompt")
        return told, told
    # Anything may be asked for, if hardly ever: who has learned from training pairs has not seen the other prompts.
    believed = _unread(learned.held_out) + _UNASKED * _unread(not learned.held_out)
    true = _unread(population.held_out)
    sure = np.round(believed / np.maximum(believed.sum(axis=1, keepdims=True), 1e-300), 9)
    groups = np.unique(sure, axis=0, return_inverse=True)[1].ravel()
    member = (groups == np.arange(groups.max() + 1)[:, None]).astype(float)
    return member @ believed, member @ true


@cache
def _unread(held_out: bool) -> Float[np.ndarray, "c 9"]:
    """For every two things, or nothing, that both images may show at a place: the chances of what they are to what was
    asked for (as asked, another, missing), where that is drawn as a population draws it.
    """
    every = [Thing(size, colour, shape) for size in SIZES for colour in COLOURS for shape in SHAPES]
    number: dict[Thing | None, int] = {thing: k for k, thing in enumerate([*every, None])}
    asked = [thing for thing in every if is_held_out(thing) == held_out]
    chances = np.zeros((len(number), len(number), 3, 3))
    for thing in asked:
        shown = [(number[one], _kind(one, thing), p) for one, p in thing_chances(thing).items()]
        for first, kind_first, p in shown:
            for second, kind_second, q in shown:
                chances[first, second, kind_first, kind_second] += p * q / len(asked)
    return chances.reshape(-1, 9)


def _kind(shown: Thing | None, asked: Thing) -> int:
    """The place of a thing's kind in `_KINDS`."""
    return 2 if shown is None else int(shown != asked)
