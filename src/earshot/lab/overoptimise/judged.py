"""What a reward model makes of pictures: each one's mean probability of being preferred to others of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float
from PIL import Image

from earshot.judging.model import RewardModel
from earshot.lab.overoptimise.pictures import Drawn

OWN: Final = "its own verdict"
Games: TypeAlias = Sequence[tuple[int, int]]
"""Couples of pictures, by their places."""


class Judged(NamedTuple):
    """Scores of n pictures by judge: the author of the traces and each listener, as if it decided.

    Attributes:
        scores: In [0, 1], higher for what is preferred; NaN of a picture none of whose comparisons came out.
        asked: How many comparisons were made.
        lost: How many of them came to nothing, because an order had no well-formed sample.
    """

    scores: dict[str, Float[np.ndarray, " n"]]
    asked: int
    lost: int


def round_robin(model: RewardModel, drawn: Drawn, *, against: int | None = None, seed: int = 0) -> Judged:
    """The pictures of a prompt, each measured by others of them.

    Args:
        model: Who is asked, of either order of every comparison.
        drawn: The pictures.
        against: How many others each meets, those that follow it and those before it in equal shares; all by default.
        seed: Of the sampling.
    """
    n = len(drawn.images)
    reach = n // 2 if against is None else max(1, min(n // 2, against // 2))
    couples = [(i, (i + step) % n) for i in range(n) for step in range(1, reach + 1)]
    games = sorted({(min(couple), max(couple)) for couple in couples})
    return _judged(model, drawn.prompt, drawn.images, games, seed)


def by_references(model: RewardModel, drawn: Drawn, references: Sequence[Image.Image], *, seed: int = 0) -> Judged:
    """The pictures of a prompt, each measured by the same references, as `RewardModel.score` measures them.

    Args:
        model: Who is asked, of either order of every comparison.
        drawn: The pictures.
        references: Others of the same prompt.
        seed: Of the sampling.
    """
    n = len(drawn.images)
    games = [(i, n + j) for i in range(n) for j in range(len(references))]
    found = _judged(model, drawn.prompt, [*drawn.images, *references], games, seed)
    return found._replace(scores={name: scores[:n] for name, scores in found.scores.items()})


def _judged(model: RewardModel, prompt: str, images: Sequence[Image.Image], games: Games, seed: int) -> Judged:
    told = model.answer([model.question(prompt=prompt, first=images[i], second=images[j], seed=seed) for i, j in games])
    judges = {OWN: [one.p_author for one in told]} | {
        name: [one.p_read[name] for one in told] for name in model.listeners
    }
    found = {}
    for name, answers in judges.items():
        won, played = np.zeros(len(images)), np.zeros(len(images))
        for (i, j), p in zip(games, answers, strict=True):
            if p is not None:
                won[[i, j]] += p, 1 - p
                played[[i, j]] += 1
        found[name] = np.divide(won, played, out=np.full(len(images), np.nan), where=played > 0)
    return Judged(found, len(games), sum(one.p_author is None for one in told))
