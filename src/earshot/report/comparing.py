"""Runs judged on the same pairs, against one another: paired differences, and several seeds of one arm."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from earshot.errors import DataError
from earshot.metrics import PredictionTable
from earshot.metrics.estimates import table_statistics
from earshot.report.tables import quantity_of
from earshot.stats import LEVEL, RESAMPLES, Statistic, bootstrap, contrasts, difference
from earshot.types import Estimate

COMPARED = (
    "accuracy",
    "accuracy_macro",
    "disagreement.",
    "position_consistency",
    "false_claims",
    "malformed_rate",
    "brier",
    "nll",
    "ece",
)
"""Keys of metrics.json whose differences are told; one that ends in a dot is followed by a listener's name."""
MOST_PAIRED = 5
"""Runs of which every two are compared, in ten differences; of more, each with the first alone."""
POWER = 0.8
"""The chance of showing a difference, of which size is told what the pairs show."""
MOST_DRAWS = 200_000_000
"""Of prompts, over all resamples of one bootstrap: with more than twenty thousand prompts there are fewer resamples."""
_SEED = re.compile(r"^(?P<arm>.*?)[-_./ ]?(?:seed|(?<=[-_./ ])s)[-_= ]?(?P<seed>\d+)$", re.IGNORECASE)


class Difference(NamedTuple):
    """One run, or the seeds of one arm, minus another on the same pairs."""

    run: str
    against: str
    estimates: dict[str, Estimate]
    """By key of metrics.json; empty where the two cannot be compared."""
    fault: str | None = None
    """Why they cannot be compared."""


class Pooled(NamedTuple):
    """Several seeds of one arm."""

    arm: str
    runs: list[str]
    means: dict[str, Estimate]
    """Over seeds, with intervals that hold for other seeds and prompts."""


def resamples_for(n_clusters: int) -> int:
    """As many resamples as metrics.json rests on, and fewer where there are very many prompts; at least a thousand."""
    return max(1_000, min(RESAMPLES, MOST_DRAWS // max(1, n_clusters)))


def compared(names: Sequence[str]) -> list[tuple[str, str]]:
    """Which minus which: every later name minus every earlier one, or where they are many, minus the first alone."""
    found = combinations(names, 2)
    return [(later, earlier) for earlier, later in found if len(names) <= MOST_PAIRED or earlier == names[0]]


def differences(tables: Mapping[str, PredictionTable]) -> list[Difference]:
    """Every two runs, paired on the same pairs.

    Args:
        tables: The predictions on one test set, by run.
    """
    return [_difference(run, tables[run], against, tables[against]) for run, against in compared([*tables])]


def _difference(run: str, table: PredictionTable, against: str, other: PredictionTable) -> Difference:
    try:
        table = aligned(table, other)
    except DataError as error:
        return Difference(run, against, {}, str(error))
    a, b = statistics_of(table), statistics_of(other)
    gaps = {key: difference(a[key], b[key]) for key in a if key in b}
    return Difference(run, against, bootstrap(gaps, resamples=resamples_for(table.n_clusters)))


def aligned(table: PredictionTable, to: PredictionTable) -> PredictionTable:
    """The same predictions with the prompts numbered as in another table of the same pairs.

    Raises:
        DataError: The two are not of the same pairs, or hold different votes.
    """
    order = np.argsort(to.pair_hash)
    at = order[np.minimum(np.searchsorted(to.pair_hash[order], table.pair_hash), len(order) - 1)]
    shared = int((to.pair_hash[at] == table.pair_hash).sum())
    if not shared == len(table.pair_hash) == len(to.pair_hash):
        raise DataError(f"judged {len(table.pair_hash):,} and {len(to.pair_hash):,} pairs, {shared:,} of them the same")
    if (table.votes_first != to.votes_first[at]).any() or (table.votes_second != to.votes_second[at]).any():
        raise DataError("the same pairs have different votes")
    return dataclasses.replace(table, cluster=to.cluster[at], n_clusters=to.n_clusters)


def statistics_of(table: PredictionTable) -> dict[str, Statistic]:
    """What is compared, of the listeners that were heard."""
    statistics = table_statistics(table, sorted(table.listeners))
    return {key: s for key, s in statistics.items() if is_compared(key)}


def is_compared(key: str) -> bool:
    """Whether differences of this key of metrics.json are told."""
    found = quantity_of(key)
    return found is not None and found[0] in COMPARED


def shown_difference(gaps: Sequence[Estimate]) -> float | None:
    """The smallest difference that such pairs show with the chance `POWER`, by the widest of their intervals.

    It rests on the width alone and not on what was found, of which it says nothing; None without an interval.
    """
    halves = [(gap.high - gap.low) / 2 for gap in gaps if gap.low is not None and gap.high is not None]
    return max(halves, default=0.0) * (1 + float(ndtri(POWER) / ndtri((1 + LEVEL) / 2))) or None


def arms_of(runs: Sequence[str]) -> dict[str, list[str]]:
    """Runs that are named as seeds of one arm (`listener-seed0`, `listener/seed1`, `listener_s2`), by the arm's name.

    Arms of one seed are left out.
    """
    arms: dict[str, list[str]] = {}
    for run in runs:
        if found := _SEED.match(run):
            arms.setdefault(found["arm"] or "all seeds", []).append(run)
    return {arm: members for arm, members in arms.items() if len(members) > 1}


def pooled(tables: Mapping[str, PredictionTable]) -> tuple[list[Pooled], list[Difference], str | None]:
    """The seeds of each arm together, every two arms' differences; and why there are none, where there cannot be."""
    arms = arms_of(list(tables))
    if not arms:
        return [], [], None
    to = tables[next(iter(arms.values()))[0]]
    try:
        statistics = {r: statistics_of(aligned(tables[r], to)) for members in arms.values() for r in members}
    except DataError as error:
        return [], [], f"the seeds are not of the same pairs: {error}"
    resamples = resamples_for(to.n_clusters)

    def seeds_of(runs: Sequence[str], others: Sequence[str] = ()) -> dict[str, list[Statistic]]:
        """By quantity that all of them have, a statistic a seed of the former."""
        keys = [key for key in statistics[runs[0]] if all(key in statistics[r] for r in (*runs, *others))]
        return {key: [statistics[r][key] for r in runs] for key in keys}

    found = []
    for arm, runs in arms.items():
        means = contrasts(seeds_of(runs), resamples=resamples)
        found.append(Pooled(arm, runs, {key: within_range(key, mean.estimate()) for key, mean in means.items()}))
    gaps = []
    for arm, against in compared([*arms]):
        ours, theirs = seeds_of(arms[arm], arms[against]), seeds_of(arms[against], arms[arm])
        gap = contrasts(ours, theirs, resamples=resamples)
        gaps.append(Difference(arm, against, {key: one.estimate() for key, one in gap.items()}))
    return found, gaps, None


def within_range(key: str, estimate: Estimate) -> Estimate:
    """The estimate with its interval cut to what the quantity can be: with two seeds t reaches far beyond it."""
    found = quantity_of(key)
    if estimate.low is None or estimate.high is None or found is None:
        return estimate
    high = min(estimate.high, 1.0) if found[1].percent else estimate.high
    return Estimate(estimate.value, max(estimate.low, 0.0), high, estimate.n)
