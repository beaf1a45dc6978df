"""Which generator people prefer, and which the reasoner does: Bradley–Terry strengths with intervals.

Each pair of images is a match between the two models that made them. Strengths are fitted without a prior to wins
added up over pairs, in log-odds: a generator that is x stronger is preferred with probability 1 / (1 + e^-x).

Axes: n pairs, c clusters (prompts), g generators, r resamples.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats
from scipy.sparse import csgraph

from earshot.errors import DataError
from earshot.predictions.sides import signs_of
from earshot.stats import cluster_codes, resampled_totals
from earshot.stats.bradley_terry import fit_strengths
from earshot.stats.intervals import expanded_interval
from earshot.stats.totals import cell_totals
from earshot.types import Estimate

# Strengths are found anew in each resample, by iteration.
RANKING_RESAMPLES = 1_000


class Generator(NamedTuple):
    """A generator's place."""

    name: str
    strength: Estimate
    """Log-odds against the average generator; `n` counts its pairs."""
    rank: int
    """1 is the strongest."""
    rank_low: int | None
    """The interval of its rank over resamples of the prompts; None where there is none."""
    rank_high: int | None


class Ranking(NamedTuple):
    """Generators from strongest to weakest."""

    generators: list[Generator]
    n_disconnected: int
    """Resamples left out, in which some generators beat others without ever losing, so that strengths are infinite."""


class RankingComparison(NamedTuple):
    """People's ranking and the reasoner's, from the same pairs in the same resamples."""

    people: Ranking
    reasoner: Ranking
    kendall: Estimate
    """Kendall's tau-b of the two lists of strengths, in [-1, 1]; `n` counts generators."""
    spearman: Estimate


class _Fit(NamedTuple):
    value: Float[np.ndarray, " g"]
    draws: Float[np.ndarray, "r g"]
    """NaN in a resample without finite strengths."""


def compare_rankings(
    model_first: Sequence[str],
    model_second: Sequence[str],
    share: Float[np.ndarray, " n"],
    p_first: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    *,
    resamples: int = RANKING_RESAMPLES,
    seed: int = 0,
) -> RankingComparison:
    """People's ranking of the generators beside the reasoner's, and how well they agree.

    Who wins a pair is the side above one half; at exactly one half, half a win each.

    Args:
        model_first: The generator of each pair's first image.
        model_second: The generator of the second; the same one on both sides says nothing and is left out.
        share: Share of votes for the first image.
        p_first: The reasoner's probability of the first image, of the same pairs.
        clusters: The number of each pair's prompt.
        resamples: Of the prompts; both rankings see the same.
        seed: Of the resamples.

    Raises:
        DataError: No pair is left, a p_first is no probability, or the generators fall into groups of which one never
            lost to another, so that the data do not say how far apart they are.

    Source: Bradley and Terry 1952 (Biometrika 39).
    """
    both = [_matches(model_first, model_second, wins, clusters) for wins in (share, p_first)]
    fits = [_fit(matches, resamples, seed) for matches in both]
    people, reasoner = (_ranking(matches, fit) for matches, fit in zip(both, fits, strict=True))
    finite = ~np.isnan(fits[0].draws[:, 0] + fits[1].draws[:, 0])
    a, b = (fit.draws[finite] for fit in fits)
    n_clusters = both[0].n_clusters

    def agreement(measure: Callable[[np.ndarray, np.ndarray], float]) -> Estimate:
        draws = np.array([measure(x, y) for x, y in zip(a, b, strict=True)], dtype=np.float64)
        value = measure(fits[0].value, fits[1].value)
        if np.isnan(value):
            return Estimate.missing()
        return Estimate(value, *_interval(draws, n_clusters), len(people.generators))

    return RankingComparison(people, reasoner, agreement(_kendall), agreement(_spearman))


def _kendall(a: Float[np.ndarray, " g"], b: Float[np.ndarray, " g"]) -> float:
    return float(stats.kendalltau(a, b).statistic)


def _spearman(a: Float[np.ndarray, " g"], b: Float[np.ndarray, " g"]) -> float:
    """Pearson's correlation of the ranks; NaN where all ranks of one are equal."""
    x, y = (ranks - ranks.mean() for ranks in (stats.rankdata(a), stats.rankdata(b)))
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / scale) if scale > 0 else float("nan")


class _Matches(NamedTuple):
    names: list[str]
    wins: Float[np.ndarray, "c gg"]
    """By prompt: how often the row's generator beat the column's, rows one after another."""

    @property
    def n_clusters(self) -> int:
        return int(np.count_nonzero(self.wins.sum(axis=1)))


def _matches(
    model_first: Sequence[str], model_second: Sequence[str], p_first: np.ndarray, clusters: np.ndarray
) -> _Matches:
    if not len(model_first) == len(model_second) == len(p_first) == len(clusters):
        raise DataError(
            f"ranking: {len(model_first)} and {len(model_second)} generators of {len(p_first)} pairs, expected as many"
        )
    if not ((p_first >= 0) & (p_first <= 1)).all():
        raise DataError("ranking: a p_first is outside [0, 1] or NaN; leave out what is missing")
    codes = cluster_codes([*model_first, *model_second])
    first, second = codes[: len(p_first)], codes[len(p_first) :]
    differ = first != second
    if not differ.any():
        raise DataError("ranking: no pair of two different generators, expected at least one")
    names = list(dict.fromkeys([*model_first, *model_second]))
    first, second, wins, clusters = (
        first[differ],
        second[differ],
        (signs_of(p_first[differ]) + 1) / 2,
        clusters[differ],
    )
    g, c = len(names), int(clusters.max()) + 1
    cells = [(wins, first * g + second), (1 - wins, second * g + first)]
    totals = sum(cell_totals(won, clusters, cell, c, g * g) for won, cell in cells)
    return _Matches(names, np.asarray(totals))


def _fit(matches: _Matches, resamples: int, seed: int) -> _Fit:
    g = len(matches.names)
    wins = matches.wins.sum(axis=0).reshape(g, g)
    value = fit_strengths(wins, prior=0.0).value
    if np.isnan(value).any():
        n, group = csgraph.connected_components(wins > 0, connection="strong")
        some = ", ".join(name for name, of in zip(matches.names, group, strict=True) if of == group[0])
        raise DataError(
            f"ranking: the {g} generators fall into {n} groups of which one never lost to another (one is {some}), "
            "expected each to lose to another; leave out those that always win or lose"
        )
    drawn = resampled_totals(matches.wins, resamples=resamples, seed=seed)
    return _Fit(value, np.stack([fit_strengths(totals.reshape(g, g), prior=0.0).value for totals in drawn]))


def _ranking(matches: _Matches, fit: _Fit) -> Ranking:
    finite = fit.draws[~np.isnan(fit.draws[:, 0])]
    g = len(matches.names)
    wins = matches.wins.sum(axis=0).reshape(g, g)
    played = np.rint((wins + wins.T).sum(axis=1)).astype(int)
    ranks, drawn_ranks = stats.rankdata(-fit.value, method="min"), stats.rankdata(-finite, method="min", axis=1)
    rows = []
    for i in np.argsort(-fit.value, kind="stable"):
        low, high = _interval(finite[:, i], matches.n_clusters)
        rank_low, rank_high = _interval(drawn_ranks[:, i].astype(np.float64), matches.n_clusters)
        strength = Estimate(float(fit.value[i]), low, high, int(played[i]))
        bounds = (None, None) if rank_low is None or rank_high is None else (round(rank_low), round(rank_high))
        rows.append(Generator(matches.names[i], strength, int(ranks[i]), *bounds))
    return Ranking(rows, len(fit.draws) - len(finite))


def _interval(draws: np.ndarray, n_clusters: int) -> tuple[float | None, float | None]:
    return (None, None) if n_clusters < 2 else expanded_interval(draws, n_clusters)
