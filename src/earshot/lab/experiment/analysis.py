"""What a summary shows: every arm, every arm against the reference, and the comparisons that were chosen beforehand.

The design, in five lines:

1. Arms are compared on the same pairs and, seed by seed, with the same order of training pairs and the same random
   numbers: of each seed the difference (or log ratio) of the two arms is taken, and averaged over seeds. Where the plan
   says that seeds are not paired, the difference is of the means over all seeds that each arm has, and each arm's own
   spread between seeds counts; two endpoints of one arm are compared seed by seed even then.
2. Its variance is put together from prompts (resampled), seeds, and chance, which counts once (`earshot.stats.seeds`);
   the interval is ± t, with Satterthwaite's degrees of freedom, so that it holds for other prompts and other seeds.
3. Rates of faults (disagreement, false claims) are compared as ratios: the geometric mean over seeds, minus one.
4. The plan's primary comparisons stand in families: in each, p-values by Holm and intervals at Bonferroni's level.
5. Everything else is shown with plain 95 % intervals and without p-values, and is exploratory.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from earshot.lab.experiment.endpoints import endpoint
from earshot.lab.experiment.summary import Summary
from earshot.stats import Contrast, Statistic, contrasts, difference, holm, log_ratio, logarithm, simultaneous_level
from earshot.types import Estimate

ALPHA = 0.05


class Comparison(NamedTuple):
    """One arm against another, on one set, in one endpoint."""

    arm: str
    against: str
    set_name: str
    endpoint: str
    relative: bool
    goal: float | None = None
    family: str = "primary"
    against_endpoint: str | None = None
    """What is measured of the other arm, where it is another thing."""


class Decision(NamedTuple):
    """What a family of comparisons says of one of them."""

    estimate: Estimate
    """With its own 95 % interval."""
    simultaneous: Estimate
    """With an interval that holds together with the whole family's."""
    p_value: float | None
    adjusted_p: float | None
    """By Holm, over the family."""
    seeds: int

    @property
    def shown(self) -> bool:
        """Whether the difference is shown, at 5 % for the whole family."""
        return self.adjusted_p is not None and self.adjusted_p < ALPHA


def paired(arm: Sequence[Statistic], against: Sequence[Statistic], *, relative: bool) -> list[Statistic]:
    """Seed by seed, what an arm differs by: in units, or as the logarithm of a ratio."""
    compare = log_ratio if relative else difference
    return [compare(a, b) for a, b in zip(arm, against, strict=True)]


def as_ratio(estimate: Estimate) -> Estimate:
    """A log ratio as a relative difference: log 0.7 is -0.3."""
    value, low, high = (None if x is None else math.expm1(x) for x in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, estimate.n)


def decide(family: Sequence[Contrast], relative: Sequence[bool]) -> list[Decision]:
    """The decisions of a family of comparisons, corrected for their number.

    A comparison that cannot be made (no data, one seed) still counts: it was chosen.
    """
    p_values = [contrast.p_value for contrast in family]
    adjusted = holm(np.array([1.0 if p is None else p for p in p_values]))
    level = simultaneous_level(max(1, len(family)), 1 - ALPHA)
    out = []
    for contrast, p, holms, ratio in zip(family, p_values, adjusted.tolist(), relative, strict=True):
        own, together = contrast.estimate(1 - ALPHA), contrast.estimate(level)
        if ratio:
            own, together = as_ratio(own), as_ratio(together)
        out.append(Decision(own, together, p, None if p is None else holms, contrast.seeds))
    return out


def absolute(summary: Summary) -> dict[tuple[str, str, str], Estimate]:
    """By arm, set and endpoint: the mean over seeds, with an interval over prompts and seeds."""
    found: dict[tuple[str, str, str], Estimate] = {}
    for name in summary.sets:
        runs = {
            (arm, name, key): [summary.statistic(arm, seed, name, key) for seed in seeds]
            for arm in summary.arms
            if (seeds := summary.seeds(arm, name))
            for key in summary.endpoints
        }
        found |= {key: within_range(contrast.estimate(), key[2]) for key, contrast in contrasts(runs).items()}
    return found


def within_range(estimate: Estimate, name: str) -> Estimate:
    """The part of an interval in which the endpoint can lie: shares from 0 to 1, everything else from 0."""
    top, bottom = 1.0 if endpoint(name).percent else math.inf, endpoint(name).lowest
    low, high = (None if end is None else min(max(end, bottom), top) for end in (estimate.low, estimate.high))
    return Estimate(estimate.value, low, high, estimate.n)


def compared(summary: Summary, comparisons: Sequence[Comparison]) -> list[Contrast]:
    """The contrasts of these comparisons, in their order; over the seeds that both arms have."""
    found: dict[int, Contrast] = {}
    for name in dict.fromkeys(one.set_name for one in comparisons):
        runs: dict[int, list[Statistic]] = {}
        arms: dict[int, list[Statistic]] = {}
        others: dict[int, list[Statistic]] = {}
        for number, one in enumerate(comparisons):
            if one.set_name != name:
                continue
            arm, other = _sides(summary, one)
            if not (arm and other):
                found[number] = Contrast(None, 0, 0, 0, None)
            elif _by_seed(summary, one):
                runs[number] = paired(arm, other, relative=one.relative)
            else:
                arms[number], others[number] = (
                    [logarithm(s) for s in side] if one.relative else side for side in (arm, other)
                )
        found |= contrasts(runs) | contrasts(arms, others)
    return [found[number] for number in range(len(comparisons))]


def _by_seed(summary: Summary, one: Comparison) -> bool:
    return bool(summary.about.get("paired_seeds", True)) or one.arm == one.against


def _sides(summary: Summary, one: Comparison) -> tuple[list[Statistic], list[Statistic]]:
    """What is compared, a statistic a seed: seeds that both have, or all that each has."""
    both = ((one.arm, one.endpoint), (one.against, one.against_endpoint or one.endpoint))
    seeds = [summary.seeds(arm, one.set_name) for arm, _ in both]
    if _by_seed(summary, one):
        shared = sorted(set(seeds[0]) & set(seeds[1]))
        seeds = [shared, shared]
    arm, other = (
        [summary.statistic(arm, seed, one.set_name, name) for seed in own]
        for (arm, name), own in zip(both, seeds, strict=True)
    )
    return arm, other


def primary(summary: Summary) -> list[tuple[Comparison, Decision]]:
    """The plan's primary comparisons and what they show, family by family."""
    found: list[tuple[Comparison, Decision]] = []
    for comparisons in families(summary):
        decisions = decide(compared(summary, comparisons), [one.relative for one in comparisons])
        found += zip(comparisons, decisions, strict=True)
    return found


def families(summary: Summary) -> list[list[Comparison]]:
    """The plan's primary comparisons, one a set and arm; those that are corrected together in one list."""
    grouped: dict[str, list[Comparison]] = {}
    for entry in summary.about["primary"]:
        shared = {key: entry[key] for key in ("against", "endpoint", "relative", "goal", "family")}
        shared["against_endpoint"] = entry.get("against_endpoint", entry["endpoint"])
        grouped.setdefault(entry["family"], []).extend(
            Comparison(arm=arm, set_name=name, **shared)
            for name in entry["sets"]
            for arm in entry["arms"]
            if (arm, shared["endpoint"]) != (shared["against"], shared["against_endpoint"])
        )
    return list(grouped.values())


def differences(summary: Summary) -> dict[Comparison, Estimate]:
    """Every arm minus the reference in every endpoint on every set; where it means something, as a ratio too."""
    reference = summary.about["reference"]
    comparisons = [
        Comparison(arm, reference, name, key, relative)
        for name in summary.sets
        for arm in summary.arms
        if arm != reference
        for key in summary.endpoints
        for relative in ((False, True) if endpoint(key).relative else (False,))
    ]
    found = compared(summary, comparisons)
    return {
        one: as_ratio(contrast.estimate()) if one.relative else contrast.estimate()
        for one, contrast in zip(comparisons, found, strict=True)
    }
