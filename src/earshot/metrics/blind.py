"""What can be told of a pair without looking at it: baselines that stand beside every accuracy, and their warnings.

A blind judge without an opinion (files of one size, a generator never seen elsewhere) tosses a coin: the pair counts
one half, which is what it would get on average. That is for baselines only; an answer of a model that names no side
is wrong. Pairs of which the baseline has nothing to go by (no file, no generator's name) are not counted at all.

Axes: p pairs, n strict pairs that a baseline has something to go by for, m generators.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.predictions.table import PredictionTable
from earshot.stats import Statistic, mean_statistic
from earshot.types import Estimate

BASELINES: Mapping[str, str] = {
    "blind.always_first": "always the first image",
    "blind.larger_file": "the larger file",
    "blind.larger_picture": "the picture of more pixels",
    "blind.generator_prior": "the generator that wins more often in other prompts",
}


class Guess(NamedTuple):
    """A baseline's opinion of the strict pairs that it has something to go by for."""

    pair: Int[np.ndarray, " n"]
    lean: Float[np.ndarray, " n"]
    """Above 0 for the first image, below for the second, 0 for no opinion."""


def blind_statistics(table: PredictionTable) -> dict[str, Statistic]:
    """The accuracy of every baseline on the strict pairs, by the names of `BASELINES`."""
    strict = np.flatnonzero(table.votes_first != table.votes_second)
    guesses = {
        "blind.always_first": Guess(strict, np.ones(len(strict))),
        "blind.larger_file": larger(strict, table.first_bytes, table.second_bytes),
        "blind.larger_picture": larger(strict, table.first_pixels, table.second_pixels),
        "blind.generator_prior": generator_prior(table),
    }
    statistics = {}
    for name, guess in guesses.items():
        truth = np.sign(table.votes_first - table.votes_second)[guess.pair]
        right = (1 + np.sign(guess.lean) * truth) / 2
        statistics[name] = mean_statistic(right, table.cluster[guess.pair], table.n_clusters)
    return statistics


def larger(pairs: Int[np.ndarray, " k"], first: Float[np.ndarray, " p"], second: Float[np.ndarray, " p"]) -> Guess:
    """The side with the larger number, over those of the pairs that have both; over none where no two differ."""
    known = pairs[~np.isnan(first[pairs]) & ~np.isnan(second[pairs])]
    lean = first[known] - second[known]
    return Guess(known, lean) if lean.any() else Guess(known[:0], lean[:0])  # all are alike: there is nothing to go by


def generator_prior(table: PredictionTable) -> Guess:
    """For each pair the generator that wins a larger share of its strict pairs in all other prompts.

    Leaving out the pair's own prompt keeps the pair's own votes out of the prior. A generator without a strict pair
    in another prompt wins half of none: it is taken for even.
    """
    named = (table.model_first >= 0) & (table.model_second >= 0)
    pair = np.flatnonzero(named & (table.votes_first != table.votes_second))
    n_models = max(1, len(table.models))
    first, second, cluster = table.model_first[pair], table.model_second[pair], table.cluster[pair]
    first_won = (table.votes_first > table.votes_second)[pair]
    # One row a side: which generator in which prompt, and whether it won.
    cell = np.concatenate([cluster, cluster]) * n_models + np.concatenate([first, second])
    won = np.concatenate([first_won, ~first_won]).astype(np.float64)
    cells, at = np.unique(cell, return_inverse=True)
    played_here, won_here = np.bincount(at), np.bincount(at, weights=won)
    model = cells % n_models
    played = np.bincount(model, weights=played_here, minlength=n_models)[model] - played_here
    wins = np.bincount(model, weights=won_here, minlength=n_models)[model] - won_here
    share = np.divide(wins, played, out=np.full(len(cells), 0.5), where=played > 0)
    n = len(pair)
    return Guess(pair, share[at[:n]] - share[at[n:]])


def leak_warnings(estimates: Mapping[str, Estimate]) -> list[str]:
    """What the baselines give away, in words: ordered sides, and a judge that does no better than one who is blind.

    Sides are ordered where the interval of always-first does not hold 50 %. The generators' own difference in
    quality is no fault of a set, so of the other baselines only one that does as well as the judge is told.
    """
    warnings = []
    first = estimates.get("blind.always_first", Estimate.missing())
    if (
        first.low is not None
        and first.high is not None
        and first.value is not None
        and not first.low <= 0.5 <= first.high
    ):
        warnings.append(
            f"sides are ordered: the first image is the preferred one in {first.value:.1%} of {first.n} strict pairs "
            f"(95 % interval {first.low:.1%} to {first.high:.1%}, expected to hold 50 %); import the set with "
            "shuffled sides"
        )
    accuracy = estimates.get("accuracy", Estimate.missing())
    for name, meaning in BASELINES.items():
        blind = estimates.get(name, Estimate.missing())
        if accuracy.value is not None and blind.value is not None and blind.value >= accuracy.value:
            warnings.append(
                f"a judge that sees nothing does as well: {meaning} is right in {blind.value:.1%} of {blind.n} pairs, "
                f"the accuracy is {accuracy.value:.1%}"
            )
    return warnings


def warnings_of(metrics: Mapping[str, Any]) -> Sequence[str]:
    """The warnings in the content of a metrics.json; none where an older one has no such list."""
    found = metrics.get("warnings", [])
    return [str(text) for text in found] if isinstance(found, list) else []
