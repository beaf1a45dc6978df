"""Best of n: what is chosen from n pictures of the generator by a judge's score, in expectation, exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from earshot.lab.overoptimise.pictures import Drawn
from earshot.lab.overoptimise.reached import Reached


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


def kl_of_best(n: int) -> float:
    """How many nats best-of-n goes from the generator: log n − (n − 1) / n, and less where pictures may be equal.

    Source: Stiennon et al. 2020 (arXiv 2009.01325), Gao, Schulman and Hilton 2023 (arXiv 2210.10760); a bound, as
    Beirami et al. 2024 show (arXiv 2401.01879).
    """
    return math.log(n) - (n - 1) / n


def sizes(many: int) -> list[int]:
    """The n that are looked at: 1, 2, 4 … and all."""
    return sorted({*(2**k for k in range(int(math.log2(many)) + 1)), many})


def choose(drawn: Sequence[Drawn], scores: Sequence[Float[np.ndarray, " N"]]) -> list[Reached]:
    """What a judge gains from the best of n = 1, 2, 4 … up to all pictures.

    Args:
        drawn: Prompts with their pictures, as many for each.
        scores: For each prompt, the judge's scores of its pictures; NaN where it has none.
    """
    return [_chosen(n, drawn, scores) for n in sizes(len(drawn[0].gold))]


def _chosen(n: int, drawn: Sequence[Drawn], scores: Sequence[Float[np.ndarray, " N"]]) -> Reached:
    gold = [best_of(n, score, one.gold) for score, one in zip(scores, drawn, strict=True)]
    reward = [_reward(n, score) for score in scores]
    best = [best_of(n, one.gold, one.gold) for one in drawn]
    start = [one.gold.mean() for one in drawn]
    return Reached(n, np.full(len(drawn), kl_of_best(n)), *map(np.array, (reward, gold, best, start)))


def _reward(n: int, score: Float[np.ndarray, " N"]) -> float:
    """The mean score of the chosen, where it has one; NaN where none has."""
    known = ~np.isnan(score)
    chance = best_of(n, score, known.astype(np.float64))
    return best_of(n, score, np.where(known, score, 0.0)) / chance if chance > 0 else math.nan


def _log_choose(n: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))
