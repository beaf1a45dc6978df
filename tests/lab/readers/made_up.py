"""Texts whose side is known, for readers."""

from collections.abc import Sequence

import numpy as np

from earshot.benchmarks.explanations import Explanations
from tests.benchmarks.judging import judged

SIDES = ("first", "second")


def praise(side: str, words: str = "") -> str:
    """A text that says of one image that it is sharp and of the other that it is blurry."""
    a, b = ("sharp", "blurry") if side == "first" else ("blurry", "sharp")
    return f"Image A looks {a}{words}. Image B looks {b}{words}."


def explanations(
    people: Sequence[str | None],
    choices: Sequence[str | None],
    texts: Sequence[str],
    prompts: Sequence[int] | None = None,
    turned: Sequence[bool] | None = None,
    margin: Sequence[float] | None = None,
) -> Explanations:
    """A text a pair; without prompts every pair is of its own."""
    n = len(people)
    answered = judged([side or "tie" for side in people], choices, prompts)
    return Explanations(
        name="made up",
        judged=answered,
        texts=tuple(texts),
        pair=np.arange(n),
        choice=answered.choice,
        turned=np.zeros(n, dtype=bool) if turned is None else np.array(turned),
        margin=np.full(n, np.nan) if margin is None else np.array(margin),
    )
