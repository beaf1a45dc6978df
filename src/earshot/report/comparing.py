"""Runs judged on the same pairs, against one another: paired differences, power, and several seeds of one arm."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from earshot.errors import DataError
from earshot.metrics import PredictionTable
from earshot.metrics.estimates import table_statistics
from earshot.predictions.sides import right
from earshot.report.tables import quantity_of
from earshot.stats import (
    POWER,
    RESAMPLES,
    PairedPower,
    Statistic,
    bootstrap,
    contrasts,
    difference,
    paired_power,
)
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
MOST_DRAWS = 200_000_000
"""Of prompts, over all resamples of one bootstrap: with more than twenty thousand prompts there are fewer resamples."""
_SEED = re.compile(r"^(?P<arm>.*?)[-_./ ]?(?:seed|(?<=[-_./ ])s)[-_= ]?(?P<seed>\d+)$", re.IGNORECASE)


class Difference(NamedTuple):
    """A run minus the first one."""

    run: str
    estimates: dict[str, Estimate]
    """By key of metrics.json; empty where the two cannot be compared."""
    power: PairedPower | None
    fault: str | None
    """Why they cannot be compared."""


class Pooled(NamedTuple):
    """Several seeds of one arm."""

    arm: str
    runs: list[str]
    means: dict[str, Estimate]
    """Over seeds, with intervals that hold for other seeds and prompts."""
    against: str | None
    """The arm that the differences are from; None for that arm itself and where it has one seed only."""
    differences: dict[str, Estimate]


def resamples_for(n_clusters: int) -> int:
    """As many resamples as metrics.json rests on, and fewer where there are very many prompts; at least a thousand."""
    return max(1_000, min(RESAMPLES, MOST_DRAWS // max(1, n_clusters)))


def differences(tables: Mapping[str, PredictionTable]) -> list[Difference]:
    """Every run after the first against it, paired on the same pairs.

    Args:
        tables: The predictions on one test set, by run.
    """
    first, *others = tables
    return [_difference(other, tables[other], tables[first]) for other in others]


def _difference(run: str, table: PredictionTable, first: PredictionTable) -> Difference:
    try:
        table = aligned(table, first)
    except DataError as error:
        return Difference(run, {}, None, str(error))
    a, b = statistics_of(table), statistics_of(first)
    gaps = {key: difference(a[key], b[key]) for key in a if key in b}
    estimates = bootstrap(gaps, resamples=resamples_for(table.n_clusters))
    return Difference(run, estimates, power_of(table, first), None)


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


def power_of(table: PredictionTable, first: PredictionTable) -> PairedPower | None:
    """What these pairs can show of the two runs' difference; None without strict pairs."""
    order, other = np.argsort(first.pair_hash), np.argsort(table.pair_hash)
    strict = first.strict[order]
    a, b = (right(t.p_first, t.people)[i][strict].astype(np.float64) for t, i in ((table, other), (first, order)))
    return paired_power(a, b, first.cluster[order][strict])


def power_words(power: PairedPower) -> str:
    """What a set could show, in a sentence."""
    size = f"{power.pairs:,} strict pairs of {power.prompts:,} prompts"
    if not power.discordance:
        return f"both are right on the same ones of {size}, so that nothing tells them apart."
    shown = (
        f"exactly one of the two is right on {100 * power.discordance:.1f} % of {size}; an accuracy difference of "
        + ("no size" if power.detectable is None else f"{100 * power.detectable:.1f} points")
        + f" would be shown with a chance of {100 * POWER:.0f} %."
    )
    if power.needed is None:
        return shown
    return f"{shown} To show the difference seen, a set like this one would need about {power.needed:,} pairs."


def arms_of(runs: Sequence[str]) -> dict[str, list[str]]:
    """Runs that are named as seeds of one arm (`listener-seed0`, `listener/seed1`, `listener_s2`), by the arm's name.

    Arms of one seed are left out.
    """
    arms: dict[str, list[str]] = {}
    for run in runs:
        if found := _SEED.match(run):
            arms.setdefault(found["arm"] or "all seeds", []).append(run)
    return {arm: members for arm, members in arms.items() if len(members) > 1}


def pooled(tables: Mapping[str, PredictionTable]) -> tuple[list[Pooled], str | None]:
    """The seeds of each arm together, against the first arm's; and why they are not, where they cannot be."""
    arms = arms_of(list(tables))
    if not arms:
        return [], None
    base = next(iter(arms))
    to = tables[arms[base][0]]
    try:
        statistics = {r: statistics_of(aligned(tables[r], to)) for members in arms.values() for r in members}
    except DataError as error:
        return [], f"the seeds are not of the same pairs: {error}"
    resamples = resamples_for(to.n_clusters)

    def seeds_of(runs: Sequence[str], others: Sequence[str] = ()) -> dict[str, list[Statistic]]:
        """By quantity that all of them have, a statistic a seed of the former."""
        keys = [key for key in statistics[runs[0]] if all(key in statistics[r] for r in (*runs, *others))]
        return {key: [statistics[r][key] for r in runs] for key in keys}

    found = []
    for arm, runs in arms.items():
        means = contrasts(seeds_of(runs), resamples=resamples)
        told = {key: within_range(key, mean.estimate()) for key, mean in means.items()}
        if arm == base:
            found.append(Pooled(arm, runs, told, None, {}))
            continue
        gaps = contrasts(seeds_of(runs, arms[base]), seeds_of(arms[base], runs), resamples=resamples)
        found.append(Pooled(arm, runs, told, base, {key: gap.estimate() for key, gap in gaps.items()}))
    return found, None


def within_range(key: str, estimate: Estimate) -> Estimate:
    """The estimate with its interval cut to what the quantity can be: with two seeds t reaches far beyond it."""
    found = quantity_of(key)
    if estimate.low is None or estimate.high is None or found is None:
        return estimate
    high = min(estimate.high, 1.0) if found[1].percent else estimate.high
    return Estimate(estimate.value, max(estimate.low, 0.0), high, estimate.n)
