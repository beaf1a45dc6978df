"""What is measured of a run on a pair set, told as totals per prompt.

Most are the quantities of metrics.json under the same names. Those that are defined here are about single completions:
whether a right verdict stands on true reasons, and whether verdicts that a listener disagrees with are the wrong ones.

Axes: s samples (completions), c clusters (prompts).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from earshot.lab.experiment.marks import CLEAN, FALSE_CLAIMS, gap_of_means
from earshot.metrics import PredictionTable
from earshot.metrics.calibration import ece_statistic
from earshot.metrics.estimates import listener_statistics, pair_statistics, sample_statistics
from earshot.predictions.sides import differ
from earshot.stats import Statistic, mean_statistic, ratio_of_totals


class Endpoint(NamedTuple):
    """How a quantity is read."""

    label: str
    percent: bool
    relative: bool
    """Whether a ratio of two arms means something: a rate of faults, or a mean that is above 0."""
    lowest: float = 0.0
    """What it cannot be below: below 0 where it is a difference already."""


ENDPOINTS = {
    "accuracy": Endpoint("accuracy", True, False),
    "false_claims": Endpoint("false claims per trace", False, True),
    "right_verdict_wrong_reasons": Endpoint("right verdict, wrong reasons", True, True),
    "right_reasons_wrong_verdict": Endpoint("right reasons, wrong verdict", True, True),
    "position_consistency": Endpoint("same side in both orders", True, False),
    "brier": Endpoint("Brier score", False, False),
    "ece": Endpoint("calibration error", False, False),
    "trace_length": Endpoint("words per trace", False, True),
    "malformed_rate": Endpoint("malformed", True, False),
    FALSE_CLAIMS: Endpoint("false claims, marked − other picture", False, False, -math.inf),
    CLEAN: Endpoint("clean pictures called clean, marked − other", True, False, -1.0),
}
PER_LISTENER = {
    "accuracy.read": Endpoint("accuracy as {} reads", True, False),
    "disagreement": Endpoint("disagreement with {}", True, True),
    "disagreement_gap": Endpoint("gap to {}", False, True),
    "accuracy_agree": Endpoint("accuracy where {} agrees", True, False),
    "accuracy_disagree": Endpoint("accuracy where {} disagrees", True, False),
}


def endpoint_names(listeners: Iterable[str]) -> list[str]:
    """All endpoints of an evaluation with these listeners, in the order of tables."""
    return [*ENDPOINTS, *(f"{kind}.{name}" for name in listeners for kind in PER_LISTENER)]


def endpoint(name: str) -> Endpoint:
    """How the quantity of that name is read."""
    if name in ENDPOINTS:
        return ENDPOINTS[name]
    kind, listener = of_listener(name)
    found = PER_LISTENER[kind]
    return found._replace(label=found.label.format(f"the {listener} listener"))


def of_listener(name: str) -> tuple[str, str]:
    """The kind of an endpoint and the listener that it is about; no listener of one that is about none."""
    kinds = (kind for kind in PER_LISTENER if name.startswith(f"{kind}."))
    kind = next(kinds, name)
    return kind, name.removeprefix(kind).removeprefix(".")


def endpoint_statistics(
    table: PredictionTable, listeners: Iterable[str], marks: Mapping[str, Statistic]
) -> dict[str, Statistic]:
    """Every endpoint of one run on one set, with what `MarkTally` found.

    - `right_verdict_wrong_reasons`: of the well-formed completions on strict pairs whose claims were checked, the share
      that name the majority's side with at least one false claim.
    - `right_reasons_wrong_verdict`: of the same, the share without a false claim that name the other side.
    - `accuracy_agree.NAME`, `accuracy_disagree.NAME`: of the well-formed completions on strict pairs whose verdict is,
      or is not, that listener's side, the share that name the majority's. A p of exactly 0.5 is on no side.
    """
    found = {**pair_statistics(table), **sample_statistics(table), **_reasons(table), **marks}
    found = {name: found[name] for name in ENDPOINTS}
    for name in listeners:
        heard = {**listener_statistics(table, name), **_conditional(table, name)}
        found |= {f"{kind}.{name}": heard[f"{kind}.{name}"] for kind in PER_LISTENER}
    return found


def _judged(table: PredictionTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """By completion: whether it is well-formed on a strict pair, whether it is right, and its prompt."""
    majority = table.people[table.sample_pair]
    return ~table.malformed & (majority != 0), table.side_sign == majority, table.cluster[table.sample_pair]


def _share(table: PredictionTable, values: np.ndarray, where: np.ndarray, clusters: np.ndarray) -> Statistic:
    return mean_statistic(values[where].astype(np.float64), clusters[where], table.n_clusters)


def _reasons(table: PredictionTable) -> dict[str, Statistic]:
    strict, right, clusters = _judged(table)
    checked = strict & ~np.isnan(table.false_claims)
    sound = table.false_claims == 0
    return {
        "right_verdict_wrong_reasons": _share(table, right & ~sound, checked, clusters),
        "right_reasons_wrong_verdict": _share(table, ~right & sound, checked, clusters),
    }


def _conditional(table: PredictionTable, name: str) -> dict[str, Statistic]:
    strict, right, clusters = _judged(table)
    p_listener = table.listeners.get(name, np.full(len(clusters), np.nan))
    heard = strict & ~np.isnan(p_listener)
    agrees = ~differ(p_listener, table.side_sign.astype(np.float64))
    return {
        f"accuracy_agree.{name}": _share(table, right, heard & agrees, clusters),
        f"accuracy_disagree.{name}": _share(table, right, heard & ~agrees, clusters),
    }


def rebuilt(name: str, totals: Float[np.ndarray, "c k"]) -> Statistic:
    """The statistic of an endpoint from its totals per prompt, as a summary keeps them."""
    combine: Callable[[np.ndarray], np.ndarray] = gap_of_means if name in (FALSE_CLAIMS, CLEAN) else ratio_of_totals
    if name == "ece":
        nothing = np.zeros(0)
        combine = ece_statistic(nothing, nothing, np.zeros(0, dtype=np.int64), 1).combine
    return Statistic(totals, combine, round(float(totals[:, -1].sum())))
