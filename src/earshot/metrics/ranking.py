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
    strengths: Float[np.ndarray, " g"]
    """Of the generators in the order in which the pairs name them."""
    draws: Float[np.ndarray, "r g"]
    """The same in each resample; NaN where some beat others without ever losing, so that strengths are infinite."""

    @property
    def n_disconnected(self) -> int:
        """Resamples without finite strengths, which are left out."""
        return int(np.isnan(self.draws[:, 0]).sum())


class RankingComparison(NamedTuple):
    """People's ranking and the reasoner's, from the same pairs in the same resamples."""

    people: Ranking
    reasoner: Ranking
    kendall: Estimate
    """Kendall's tau-b of the two lists of strengths, in [-1, 1]; `n` counts generators."""
    spearman: Estimate


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
        DataError: No pair is left, or the generators fall into groups of which one never lost to another, so that the
            data do not say how far apart they are.

    Source: Bradley and Terry 1952 (Biometrika 39).
    """
    names = list(dict.fromkeys([*model_first, *model_second]))
    first, second = np.split(cluster_codes([*model_first, *model_second]), 2)
    differ = first != second
    if not differ.any():
        raise DataError("ranking: no pair of two different generators, expected at least one")
    first, second, clusters = first[differ], second[differ], clusters[differ]
    people, reasoner = (
        _ranking(names, first, second, p[differ], clusters, resamples=resamples, seed=seed) for p in (share, p_first)
    )
    finite = ~np.isnan(people.draws[:, 0] + reasoner.draws[:, 0])
    a, b = people.draws[finite], reasoner.draws[finite]

    def agreement(measure: Callable[[np.ndarray, np.ndarray], float]) -> Estimate:
        draws = np.array([measure(x, y) for x, y in zip(a, b, strict=True)], dtype=np.float64)
        value = measure(people.strengths, reasoner.strengths)
        if np.isnan(value):
            return Estimate.missing()
        return Estimate(value, *_interval(draws, len(np.unique(clusters))), len(names))

    return RankingComparison(people, reasoner, agreement(_kendall), agreement(_spearman))


def _kendall(a: Float[np.ndarray, " g"], b: Float[np.ndarray, " g"]) -> float:
    return float(stats.kendalltau(a, b).statistic)


def _spearman(a: Float[np.ndarray, " g"], b: Float[np.ndarray, " g"]) -> float:
    """Pearson's correlation of the ranks; NaN where all ranks of one are equal."""
    x, y = (ranks - ranks.mean() for ranks in (stats.rankdata(a), stats.rankdata(b)))
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / scale) if scale > 0 else float("nan")


def _ranking(
    names: Sequence[str],
    first: Int[np.ndarray, " n"],
    second: Int[np.ndarray, " n"],
    p_first: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    *,
    resamples: int,
    seed: int,
) -> Ranking:
    g, c = len(names), int(clusters.max()) + 1
    won = (signs_of(p_first) + 1) / 2
    # By prompt: how often the row's generator beat the column's, rows one after another.
    rows = cell_totals(won, clusters, first * g + second, c, g * g)
    rows += cell_totals(1 - won, clusters, second * g + first, c, g * g)
    wins = rows.sum(axis=0).reshape(g, g)
    value = fit_strengths(wins, prior=0.0).value
    if np.isnan(value).any():
        n, group = csgraph.connected_components(wins > 0, connection="strong")
        some = ", ".join(name for name, of in zip(names, group, strict=True) if of == group[0])
        raise DataError(
            f"ranking: the {g} generators fall into {n} groups of which one never lost to another (one is {some}), "
            "expected each to lose to another; leave out those that always win or lose"
        )
    drawn = resampled_totals(rows, resamples=resamples, seed=seed)
    draws = np.stack([fit_strengths(totals.reshape(g, g), prior=0.0).value for totals in drawn])
    finite = draws[~np.isnan(draws[:, 0])]
    played = np.rint((wins + wins.T).sum(axis=1)).astype(int)
    ranks, drawn_ranks = stats.rankdata(-value, method="min"), stats.rankdata(-finite, method="min", axis=1)
    n_clusters = len(np.unique(clusters))
    generators = []
    for i in np.argsort(-value, kind="stable"):
        strength = Estimate(float(value[i]), *_interval(finite[:, i], n_clusters), int(played[i]))
        rank_low, rank_high = _interval(drawn_ranks[:, i].astype(np.float64), n_clusters)
        bounds = (None, None) if rank_low is None or rank_high is None else (round(rank_low), round(rank_high))
        generators.append(Generator(names[i], strength, int(ranks[i]), *bounds))
    return Ranking(generators, value, draws)


def _interval(draws: np.ndarray, n_clusters: int) -> tuple[float | None, float | None]:
    return (None, None) if n_clusters < 2 else expanded_interval(draws, n_clusters)
