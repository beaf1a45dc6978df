"""What every judge gains under growing pressure: by the best of n pictures, and by a policy over scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from earshot.judging.model import RewardModel
from earshot.lab.overoptimise.best_of import choose
from earshot.lab.overoptimise.judged import Judged, by_references, round_robin
from earshot.lab.overoptimise.pictures import START, Drawn, every_scene
from earshot.lab.overoptimise.policy import Training, optimise
from earshot.lab.overoptimise.reached import Reached, best, gained, points
from earshot.lab.screen import CONTROLS
from earshot.predictions.overoptimised import GOLD, METHODS, Curve, Gain, Method

Scores: TypeAlias = Sequence[Float[np.ndarray, " n"]]
Tell: TypeAlias = Callable[[int, int], None]


class Asked(NamedTuple):
    """What a model and its listeners made of all pictures, those of each prompt together.

    Attributes:
        drawn: Of the pictures that the best are chosen from.
        scenes: Of every scene that a policy may make; of the first prompts, or of none.
    """

    drawn: list[Judged]
    scenes: list[Judged]

    def scores(self, method: Method) -> dict[str, Scores]:
        """By judge."""
        told = self.drawn if method == "best-of-n" else self.scenes
        return {judge: [one.scores[judge] for one in told] for judge in told[0].scores}

    @property
    def lost(self) -> tuple[int, int]:
        """How many comparisons came to nothing, and how many were made."""
        told = [*self.drawn, *self.scenes]
        return sum(one.lost for one in told), sum(one.asked for one in told)


class Measured(NamedTuple):
    """A curve, and what it is the means of: a value a prompt, for each of its points."""

    curve: Curve
    reached: list[Reached]


def scenes_of(drawn: Sequence[Drawn], *, seed: int = 0) -> list[Drawn]:
    """Every scene that a policy may make of each prompt."""
    return [every_scene(one.wanted, seed=seed, number=number) for number, one in enumerate(drawn)]


def ask(
    model: RewardModel,
    drawn: Sequence[Drawn],
    scenes: Sequence[Drawn],
    *,
    against: int | None = None,
    references: int = 2,
    seed: int = 0,
    tell: Tell = lambda done, total: None,
) -> Asked:
    """What a model makes of all pictures; of every scene it is asked once, and the policies look its score up.

    Args:
        model: Who is asked.
        drawn: The pictures that the best are chosen from.
        scenes: Every scene of the first of the same prompts.
        against: How many others each drawn picture meets; all by default.
        references: How many of the drawn pictures each scene is measured by.
        seed: Of the sampling.
        tell: Is told how many prompts are done, and of how many.
    """
    total = len(drawn) + len(scenes)
    chosen, made = [], []
    for number, one in enumerate(drawn):
        chosen.append(round_robin(model, one, against=against, seed=seed + number))
        tell(number + 1, total)
    for number, one in enumerate(scenes):
        made.append(by_references(model, one, drawn[number].images[:references], seed=seed + number))
        tell(len(drawn) + number + 1, total)
    return Asked(chosen, made)


def measure(
    drawn: Sequence[Drawn],
    scenes: Sequence[Drawn],
    asked: Mapping[str, Asked],
    *,
    training: Training,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Measured]:
    """The curves of the baselines and of all judges of each model, for each method.

    Args:
        drawn: The pictures that the best are chosen from.
        scenes: Every scene of the first of the same prompts, or nothing: no policy is trained.
        asked: By model.
        training: How policies are trained.
        resamples: Draws of the prompts, for the intervals.
        seed: Of the draws, and of the two rewards that know nothing.
    """
    found = []
    for number, (method, pictures) in enumerate(zip(METHODS, (drawn, scenes), strict=True), 1):
        if not pictures:
            continue
        noise = np.random.default_rng([seed, number]).random((len(pictures), len(CONTROLS), len(pictures[0].gold)))
        judged: list[tuple[str | None, str, Scores]] = [(None, GOLD, [one.gold for one in pictures])]
        judged += [(None, name, list(noise[:, place])) for place, name in enumerate(CONTROLS)]
        judged += [(model, *one) for model, told in asked.items() for one in told.scores(method).items()]
        for model, judge, scores in judged:
            if method == "best-of-n":
                reached = choose(pictures, scores)
            else:
                gold = np.stack([one.gold for one in pictures])
                reached = optimise(np.stack(scores), gold, START, training)
            told = points(reached, resamples=resamples, seed=seed)
            found.append(Measured(Curve(method, model, judge, best(reached), told), reached))
    return found


def gains(measured: Sequence[Measured], *, resamples: int = 10_000, seed: int = 0) -> list[Gain]:
    """How much more each model gains than the first, judge by judge, on the same prompts."""
    first = next((curve.model for curve, _ in measured if curve.model is not None), None)
    rivals = {(one.curve.method, one.curve.judge): one for one in measured if one.curve.model == first}
    found = []
    for curve, reached in measured:
        if curve.model is None or first is None or curve.model == first:
            continue
        rival = rivals[curve.method, curve.judge]
        what: Literal["captured", "gold"] = "captured"
        couples = list(zip(reached[1:], rival.reached[1:], strict=True))
        if curve.method == "policy":
            # Not the captured share: either's is of what could be had at a KL of its own.
            what, couples = "gold", [(reached[curve.best], rival.reached[rival.curve.best])]
        for one, other in couples:
            more = gained(one, other, what, resamples=resamples, seed=seed)
            pressure = None if curve.method == "policy" else one.pressure
            found.append(Gain(curve.method, curve.judge, curve.model, first, what, pressure, more))
    return found
