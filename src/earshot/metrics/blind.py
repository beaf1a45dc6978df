"""What can be told of a pair without reading its prompt: baselines that stand beside every accuracy, their warnings.

Some look at nothing, some at one number of each picture (`earshot.measured`). A blind judge without an opinion (files
of one size, a generator never seen elsewhere) tosses a coin: the pair counts one half, which is what it would get on
average. That is for baselines only; an answer of a model that names no side is wrong. Pairs of which the baseline has
nothing to go by (no file, no generator's name) are not counted at all.

Axes: p pairs, n strict pairs that a baseline has something to go by for, m generators.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.data.pairset import read_pairs
from earshot.images import NO_IMAGE, load_image
from earshot.measured import compared
from earshot.predictions.people import unjudged_row
from earshot.predictions.table import PredictionTable
from earshot.stats import RESAMPLES, Statistic, bootstrap, mean_statistic
from earshot.types import Estimate

BASELINES: Mapping[str, str] = {
    "blind.always_first": "always the first image",
    "blind.larger_file": "the larger file",
    "blind.larger_picture": "the picture of more pixels",
    "blind.generator_prior": "the generator that wins more often in other prompts",
    "blind.sharper": "the sharper picture",
    "blind.brighter": "the brighter picture",
    "blind.contrast": "the picture of more contrast",
    "blind.colourful": "the more colourful picture",
}
_LARGER: Mapping[str, str] = {
    "blind.larger_file": "bytes",
    "blind.larger_picture": "pixels",
    "blind.sharper": "sharpness",
    "blind.brighter": "luminance",
    "blind.contrast": "contrast",
    "blind.colourful": "colourfulness",
}
"""Of which number the baseline names the larger."""
_FEWEST: Final = 6
"""Pairs of which all are alike by chance in less than 5 % of cases; the bootstrap sees no spread there."""
_WIDEST: Final = max(map(len, BASELINES.values()))
_REMEMBERED: Final = 200_000


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
        "blind.generator_prior": generator_prior(table),
        **{name: larger(strict, *table.pictures[column]) for name, column in _LARGER.items()},
    }
    statistics = {}
    for name, guess in guesses.items():
        truth = np.sign(table.votes_first - table.votes_second)[guess.pair]
        right = (1 + np.sign(guess.lean) * truth) / 2
        statistics[name] = mean_statistic(right, table.cluster[guess.pair], table.n_clusters)
    return statistics


def blind_of_set(
    folder: Path, *, resamples: int = RESAMPLES, seed: int = 0, on_pair: Callable[[int], None] | None = None
) -> dict[str, Estimate]:
    """The accuracy of every baseline on a pair set, which may be without images; each image is decoded once.

    Args:
        folder: The pair set.
        resamples: Of the prompts.
        seed: Of the bootstrap.
        on_pair: Told how many pairs have been measured.

    Raises:
        DataError: There is no sound pair set, or an image of it is refused.
    """
    measure = lru_cache(_REMEMBERED)(lambda file: compared(load_image(file)))  # one that is in many pairs, once

    def rows() -> Iterator[dict[str, Any]]:
        for done, pair in enumerate(read_pairs(folder, require_images=False), start=1):
            yield unjudged_row(pair, [measure(image) for image in (pair.first, pair.second) if image is not NO_IMAGE])
            if on_pair is not None:
                on_pair(done)

    table = PredictionTable.from_rows(rows(), where=str(folder))
    return blind_estimates(table, resamples=resamples, seed=seed)


def blind_estimates(table: PredictionTable, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Estimate]:
    """The accuracy of every baseline with its interval, in the order of `BASELINES`."""
    found = bootstrap(blind_statistics(table), resamples=resamples, seed=seed)
    return {name: found[name] for name in BASELINES}


def tells(blind: Estimate) -> bool | None:
    """Whether a baseline does better or worse than a coin, its interval leaving out 50 %; None where too few tell."""
    if blind.low is None or blind.high is None or blind.n < _FEWEST:
        return None
    return not blind.low <= 0.5 <= blind.high


def blind_notes(estimates: Mapping[str, Estimate]) -> list[str]:
    """Each baseline that tells, in words."""
    return [
        f"by {BASELINES[name]} alone a judge would be right in {blind.text(percent=True)} % of {blind.n} strict pairs"
        for name, blind in estimates.items()
        if tells(blind)
    ]


def blind_lines(estimates: Mapping[str, Estimate]) -> list[str]:
    """A line for each baseline that has something to go by: its accuracy, and whether its interval holds 50 %."""
    said = {True: "tells", False: "at chance", None: "too few pairs to say"}
    return [
        f"{BASELINES[name]:<{_WIDEST}}  {blind.text(percent=True)} %, n {blind.n:,}: {said[tells(blind)]}"
        for name, blind in estimates.items()
        if blind.n
    ]


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
    quality is no fault of a set, so of the other baselines only the best is told, where it does as well as the judge.
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
    found = {name: estimates[name].value or 0.0 for name in BASELINES if name in estimates and estimates[name].n}
    best = max(found, key=found.__getitem__, default=None)
    if best is not None and accuracy.value is not None and found[best] >= accuracy.value:
        warnings.append(
            f"a judge who does not read the prompt does as well: {BASELINES[best]} is right in {found[best]:.1%} of "
            f"{estimates[best].n} pairs, the accuracy is {accuracy.value:.1%}"
        )
    return warnings


def warnings_of(metrics: Mapping[str, Any]) -> Sequence[str]:
    """The warnings in the content of a metrics.json; none where an older one has no such list."""
    found = metrics.get("warnings", [])
    return [str(text) for text in found] if isinstance(found, list) else []
