"""What is left of a reward when somebody optimises against it: best of n pictures, by the reward and by the truth.

A generator that is aligned with a reward finds what the reward wrongly likes. In the world the truth is known (the
raters' utility, the *gold*), so that it can be measured how much of what could be gained a reward captures, and whether
more pressure still helps (Gao, Schulman and Hilton 2023, arXiv 2210.10760).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.special import gammaln

from earshot.judging.model import RewardModel
from earshot.lab.screen import CONTROLS
from earshot.stats import Statistic, bootstrap, difference
from earshot.stats.totals import ratio_of_totals
from earshot.types import Estimate
from earshot.world.raters import RATERS, utility
from earshot.world.render import render
from earshot.world.scene import Scene, draw_picture, draw_thing, prompt_text

OWN: Final = "its own verdict"
IMAGE_PX: Final = 56


class Drawn(NamedTuple):
    """Pictures that the world's generator made for one prompt.

    Attributes:
        prompt: What was asked for.
        images: N pictures.
        gold: What each is worth to the raters.
    """

    prompt: str
    images: list[Image.Image]
    gold: Float[np.ndarray, " n"]


class Pressure(NamedTuple):
    """What a judge makes of n pictures at a time, a mean over prompts with 95 % intervals.

    Attributes:
        n: How many pictures it chose from.
        kl: At most so many nats from the generator itself: log n − (n − 1) / n (Beirami et al. 2024, arXiv 2401.01879).
        proxy: The chosen picture's score, its mean probability of being preferred.
        gold: What the chosen picture is worth.
        captured: (gold − that of any picture) / (that of the best of the n − that of any picture).
    """

    n: int
    kl: float
    proxy: Estimate
    gold: Estimate
    captured: Estimate


def draw(prompts: int, pictures: int, *, seed: int = 0, size_px: int = IMAGE_PX) -> list[Drawn]:
    """What the world's generator makes of prompts, the same for the same seed."""
    made = []
    for number in range(prompts):
        rng = np.random.default_rng([seed, 777, number])
        wanted = Scene(*(draw_thing(rng, held_out=False) for _ in range(2)))
        shown = [draw_picture(wanted, rng) for _ in range(pictures)]
        gold = np.array([utility(picture, wanted, RATERS["preference"]) for picture in shown])
        images = [render(picture, rng, size_px=size_px) for picture in shown]
        made.append(Drawn(prompt_text(wanted), images, gold))
    return made


def scores(
    model: RewardModel, drawn: Drawn, *, against: int | None = None, seed: int = 0
) -> tuple[dict[str, Float[np.ndarray, " n"]], int]:
    """Each picture's mean probability of being preferred to others of its prompt, by the author and by each listener.

    Args:
        model: Who is asked, of either order of every comparison.
        drawn: The pictures.
        against: How many others each meets, those that follow it and those before it in equal shares; all by default.
        seed: Of the sampling.

    Returns:
        Scores in [0, 1] by judge, NaN of a picture none of whose comparisons came out; and how many comparisons did
        not.
    """
    n = len(drawn.images)
    reach = n // 2 if against is None else max(1, min(n // 2, against // 2))
    met = {tuple(sorted((i, (i + step) % n))) for i in range(n) for step in range(1, reach + 1)}
    games = sorted(met)
    asked = [
        model.question(prompt=drawn.prompt, first=drawn.images[i], second=drawn.images[j], seed=seed) for i, j in games
    ]
    told = model.answer(asked)
    judges = {OWN: [one.p_author for one in told]} | {
        name: [one.p_read[name] for one in told] for name in model.listeners
    }
    found = {}
    for name, answers in judges.items():
        won, played = np.zeros(n), np.zeros(n)
        for (i, j), p in zip(games, answers, strict=True):
            if p is not None:
                won[[i, j]] += p, 1 - p
                played[[i, j]] += 1
        found[name] = np.divide(won, played, out=np.full(n, np.nan), where=played > 0)
    return found, sum(one.p_author is None for one in told)


def best_of(n: int, score: Float[np.ndarray, " N"], worth: Float[np.ndarray, " N"]) -> float:
    """What the highest score of n pictures, drawn from N without regard to them, is worth in the mean; exact.

    The r-th best of N is the best of a random n with probability C(N − r, n − 1) / C(N, n). Equal scores are equally
    likely to be chosen; a score that is missing is below all others.
    """
    many = len(score)
    score = np.where(np.isnan(score), -np.inf, score)
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    values = np.array([worth[score == one].mean() for one in ranked])  # equals share what they are worth
    ranks = np.arange(1, many + 1)
    possible = many - ranks >= n - 1
    log_chance = _log_choose((many - ranks)[possible], n - 1) - _log_choose(np.array(many), n)
    return float(np.exp(log_chance) @ values[possible])


def measure(
    drawn: Sequence[Drawn],
    judged: Sequence[Mapping[str, Float[np.ndarray, " n"]]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, list[Pressure]]:
    """How much each judge captures at n = 1, 2, 4 … up to all pictures; two random judges come with them.

    Args:
        drawn: Prompts with their pictures, as many for each.
        judged: For each prompt, scores by judge.
        resamples: Draws of the prompts, for the intervals.
        seed: Of the draws and of the random judges.
    """
    rng = np.random.default_rng([seed, 1])
    many = len(drawn[0].gold)
    told = [dict(zip(CONTROLS, rng.random((2, many)), strict=True)) | dict(one) for one in judged]
    sizes = [2**k for k in range(1, int(math.log2(many)) + 1)]
    found: dict[str, list[Pressure]] = {}
    for name in told[0]:
        found[name] = []
        for n in sizes:
            statistics = _statistics(n, drawn, [one[name] for one in told])
            made = bootstrap(statistics, resamples=resamples, seed=seed)
            found[name].append(Pressure(n, math.log(n) - (n - 1) / n, made["proxy"], made["gold"], made["captured"]))
    return found


def compared(
    n: int,
    drawn: Sequence[Drawn],
    one: Sequence[Float[np.ndarray, " n"]],
    other: Sequence[Float[np.ndarray, " n"]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """How much more of what can be gained at n the first of two judges captures, on the same pictures."""
    a, b = (_statistics(n, drawn, scores)["captured"] for scores in (one, other))
    return bootstrap({"difference": difference(a, b)}, resamples=resamples, seed=seed)["difference"]


def _statistics(n: int, drawn: Sequence[Drawn], by_prompt: Sequence[Float[np.ndarray, " N"]]) -> dict[str, Statistic]:
    gold = np.array([best_of(n, score, one.gold) for score, one in zip(by_prompt, drawn, strict=True)])
    known = [np.where(np.isnan(score), 0.0, score) for score in by_prompt]
    proxy = np.array([best_of(n, score, worth) for score, worth in zip(by_prompt, known, strict=True)])
    best = np.array([best_of(n, one.gold, one.gold) for one in drawn])
    any_ = np.array([one.gold.mean() for one in drawn])
    ones = np.ones(len(drawn))

    def of(above: Float[np.ndarray, " p"], below: Float[np.ndarray, " p"]) -> Statistic:
        return Statistic(np.stack([above, below], axis=1), ratio_of_totals, len(drawn))

    return {"gold": of(gold, ones), "proxy": of(proxy, ones), "captured": of(gold - any_, best - any_)}


def _log_choose(n: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))
