"""A small policy over scenes, trained against a reward with REINFORCE, whose KL to the generator is known exactly.

For each prompt it has a distribution for each thing that the generator decides (what becomes of the left thing, of the
right one, and of the rendering), and begins as the generator. A policy a prompt, and not one for all: what a reward
wrongly likes in one prompt is what a large generator would find, and a policy of few numbers for all prompts would
average it away before it saw it. It also keeps prompts independent, so that they can be resampled.

Axes: k coefficients of the KL, p prompts, b samples, v values of one decision, s scenes (all combinations of values,
the last decision running fastest).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from scipy.special import rel_entr, softmax

from earshot.lab.overoptimise.reached import Reached

Chances: TypeAlias = Sequence[Float[np.ndarray, "*_ _"]]
"""Of the values of each decision."""

_ROUNDING = 1e-9


class Training(NamedTuple):
    """How REINFORCE is run.

    Attributes:
        coefficients: What a nat of KL costs, in standard deviations of the reward over the generator's own scenes: from
            hardly leaving the generator to hardly minding.
        steps: Of the gradient.
        batch: Scenes sampled for each prompt at a step.
        rate: Of the first step; it falls to 0 in a line.
        seed: Of the sampling, which is the same for every reward and coefficient.
    """

    coefficients: Sequence[float] = (2.0, 1.0, 0.5, 0.25, 0.1, 0.05)
    steps: int = 300
    batch: int = 32
    rate: float = 1.0
    seed: int = 0


def joint(chances: Chances) -> Float[np.ndarray, "*_ s"]:
    """The probability of each scene."""
    scenes = np.ones((*chances[0].shape[:-1], 1))
    for one in chances:
        scenes = (scenes[..., :, None] * one[..., None, :]).reshape(*one.shape[:-1], -1)
    return scenes


def kl_between(chances: Chances, start: Chances) -> Float[np.ndarray, "*_"]:
    """KL(policy ‖ start) in nats, exactly: of independent decisions it is the sum over them."""
    parts = [rel_entr(one, other).sum(axis=-1) for one, other in zip(chances, start, strict=True)]
    return np.asarray(np.sum(parts, axis=0))


def expected(scenes: Float[np.ndarray, "*k p s"], worth: Float[np.ndarray, "p s"]) -> Float[np.ndarray, "*k p"]:
    """What a scene of the policy is worth in the mean; scenes whose worth is not known (NaN) are left out.

    NaN where the policy makes none whose worth is known.
    """
    known = ~np.isnan(worth)
    weight = (scenes * known).sum(axis=-1)
    total = (scenes * np.where(known, worth, 0.0)).sum(axis=-1)
    return np.divide(total, weight, out=np.full(weight.shape, np.nan), where=weight > 0)


def attainable(
    gold: Float[np.ndarray, "p s"], start: Chances, kl: Float[np.ndarray, "*k p"]
) -> Float[np.ndarray, "*k p"]:
    """The most that a policy may be worth that goes so many nats from the start: its scenes in proportion to
    start · exp(λ gold).

    No policy over scenes does better, and where the gold is a sum over the decisions, as that of the world's raters is,
    this one decides each by itself.
    """
    begin = joint(start)
    low, high = np.zeros(kl.shape), np.full(kl.shape, 1e4)  # of λ; so many tell the best scene from all others
    best = gold.max(axis=-1, keepdims=True)
    for _ in range(60):
        middle = (low + high) / 2
        scenes = begin * np.exp(middle[..., None] * (gold - best))
        scenes /= scenes.sum(axis=-1, keepdims=True)
        too_far = rel_entr(scenes, begin).sum(axis=-1) > kl
        low, high = np.where(too_far, low, middle), np.where(too_far, middle, high)
    return expected(scenes, gold)


def spread(worth: Float[np.ndarray, "p s"], start: Chances) -> float:
    """The standard deviation of what the start's scenes are worth, within prompts; 1 where all are worth the same."""
    begin = np.broadcast_to(joint(start), worth.shape)
    variances = expected(begin, (worth - expected(begin, worth)[:, None]) ** 2)
    known = variances[~np.isnan(variances)]
    found = float(np.sqrt(known.mean())) if known.size else 0.0
    return found if found > _ROUNDING * np.abs(worth[~np.isnan(worth)]).max(initial=1.0) else 1.0


def reinforce(
    reward: Float[np.ndarray, "p s"],
    start: Chances,
    training: Training,
) -> list[Float[np.ndarray, "k p v"]]:
    """Policies that were paid the reward less coefficient · KL(policy ‖ start), one for each coefficient and prompt.

    The reward is taken in its own standard deviations over the start's scenes (`spread`), so that a coefficient means
    the same for every reward. The baseline is the mean of the batch's other samples. The KL's gradient is exact. A
    sample whose reward is missing is left out of its batch.

    Source: Williams 1992 (Machine Learning 8); the baseline is Kool, van Hoof and Welling 2019 (ICLR workshop).
    """
    price = np.asarray(training.coefficients)[:, None, None]
    scaled = reward / spread(reward, start)
    logits = [np.tile(np.log(one), (len(price), len(reward), 1)) for one in start]
    widths = [len(one) for one in start]
    rng = np.random.default_rng([training.seed, 779])
    for step in range(training.steps):
        rate = training.rate * (1 - step / training.steps)
        drawn = rng.random((len(start), 1, len(reward), training.batch))
        chances = [softmax(one, axis=-1) for one in logits]
        sampled = [_sample(one, u) for one, u in zip(chances, drawn, strict=True)]
        advantage = _advantages(_look_up(scaled, np.ravel_multi_index(sampled, widths)))
        for one, logit, chance, begin in zip(sampled, logits, chances, start, strict=True):
            scores = np.eye(len(begin))[one] - chance[:, :, None, :]
            ratio = np.log(np.maximum(chance, 1e-300) / begin)
            of_kl = chance * (ratio - (chance * ratio).sum(axis=-1, keepdims=True))
            logit += rate * ((advantage[..., None] * scores).mean(axis=2) - price * of_kl)
    return [softmax(one, axis=-1) for one in logits]


def optimise(
    reward: Float[np.ndarray, "p s"],
    gold: Float[np.ndarray, "p s"],
    start: Chances,
    training: Training,
) -> list[Reached]:
    """What a reward gains at the start, which is a coefficient without end, and at each coefficient."""
    trained = reinforce(reward, start, training)
    scenes, kl = joint(trained), kl_between(trained, start)
    begin = np.broadcast_to(joint(start), gold.shape)
    first = expected(begin, gold)
    told = [(np.inf, np.zeros(len(gold)), begin), *zip(training.coefficients, kl, scenes, strict=True)]
    return [
        Reached(price, far, expected(made, reward), expected(made, gold), attainable(gold, start, far), first)
        for price, far, made in told
    ]


def _sample(chances: Float[np.ndarray, "k p v"], drawn: Float[np.ndarray, "1 p b"]) -> Int[np.ndarray, "k p b"]:
    return np.asarray((np.cumsum(chances, axis=-1)[:, :, None, :-1] < drawn[..., None]).sum(axis=-1))


def _look_up(reward: Float[np.ndarray, "p s"], scenes: Int[np.ndarray, "k p b"]) -> Float[np.ndarray, "k p b"]:
    return reward[np.arange(len(reward))[None, :, None], scenes]


def _advantages(reward: Float[np.ndarray, "k p b"]) -> Float[np.ndarray, "k p b"]:
    """Each less the mean of the others; 0 of one that is missing, or alone."""
    known = ~np.isnan(reward)
    filled = np.where(known, reward, 0.0)
    others = known.sum(axis=-1, keepdims=True) - 1
    total = filled.sum(axis=-1, keepdims=True)
    return np.where(known & (others > 0), filled - (total - filled) / np.maximum(others, 1), 0.0)
