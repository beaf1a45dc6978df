"""Texts of the world: what a tokenizer for it is trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from earshot.types import Side, other
from earshot.world.language import Corruption, write_trace
from earshot.world.pairs import POPULATIONS, Population, WorldPair, draw_pair


def corpus(n: int = 400, seed: int = 0, of: Population = POPULATIONS["train"]) -> Iterator[str]:
    """Texts of the world, from which the tiny models' tokenizers are trained."""
    rng = np.random.default_rng(seed)
    yield from ["prompt : which better ? describe user assistant USER ASSISTANT"] * (n // 4)
    for _ in range(n):
        pair = draw_pair(rng, of)
        yield f"{'edit' if of.edits else 'prompt'} : {pair.truth.prompt} . which better ?"
        yield " " + write_trace(pair.truth, label(pair), rng, Corruption(facts=0.3)) + " "


def label(pair: WorldPair, *, flipped: bool = False) -> Side:
    """The side that the majority of the raters preferred (their number is odd: there are no ties), or the other."""
    side = pair.votes.majority
    assert side is not None
    return other(side) if flipped else side
