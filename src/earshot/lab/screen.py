"""What a reward would select: the best of each group of recorded rollouts, without training anything.

GRPO moves a policy towards the completions of a group that are paid more. What these have in common (are they right,
are they true?) can be counted on rollouts that are there, for rewards that nobody has trained with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from earshot.errors import DataError, InputError
from earshot.rewards import read_agreement_reward
from earshot.stats import Statistic, bootstrap, cluster_codes, difference, mean_statistic
from earshot.types import Estimate, Votes

CONTROLS: Final = ("random, once", "random, again")
"""Rewards that know nothing: what an A/A comparison shows."""
_TIED = 1e-9


@dataclass(frozen=True)
class Rollouts:
    """Recorded completions that can be compared: those of one pair in one step, well-formed, with a label.

    Attributes:
        groups: For each of n completions, the number of its group, from 0.
        clusters: For each group, the number of its prompt.
        parts: Of a reward, by name: n values, NaN where one was not recorded.
        outcomes: What is counted of the selected, by name: n values, NaN where it is not known.
        left_out: Completions that are malformed, or of pairs without a label.
    """

    groups: Int[np.ndarray, " n"]
    clusters: Int[np.ndarray, " g"]
    parts: Mapping[str, Float[np.ndarray, " n"]]
    outcomes: Mapping[str, Float[np.ndarray, " n"]]
    left_out: int = 0


@dataclass(frozen=True)
class Selected:
    """What one reward would select.

    Attributes:
        outcomes: By name, the mean over groups of the best completion's.
        changes: By name, the same less the mean of the group, paired.
    """

    outcomes: Mapping[str, Estimate]
    changes: Mapping[str, Estimate]


def gather(
    rows: Sequence[Mapping[str, Any]],
    *,
    count: Callable[[str, str], Mapping[str, int] | None] | None = None,
    more: Mapping[str, Float[np.ndarray, " n"]] | None = None,
    readers: Mapping[str, Float[np.ndarray, " n"]] | None = None,
) -> Rollouts:
    """Rows of rollout files as arrays.

    Args:
        rows: As `earshot.predictions.rollout.Rollout` has them.
        count: For a pair's id and a trace, how many of its claims are `true` and `false`; None where no truth is known.
        more: Further parts of a reward, one value for each row.
        readers: By name, the probability of the label that a listener has, one for each row: whether it would name the
            label is an outcome, and whether verdict and reader both do, `NAME.read_agreement`, a part.

    Raises:
        DataError: No group has two completions that can be compared.
    """
    keys = [(row["step"], row["pair_id"]) for row in rows]
    fit = np.array([row["malformed"] is None and row["votes_first"] != row["votes_second"] for row in rows], dtype=bool)
    sizes: dict[Any, int] = {}
    for key, good in zip(keys, fit, strict=True):
        sizes[key] = sizes.get(key, 0) + bool(good)
    fit &= np.array([sizes[key] > 1 for key in keys], dtype=bool)
    if not fit.any():
        raise DataError(f"none of {len(rows)} rollouts is one of several well-formed ones of a pair with a label")
    kept = [row for row, good in zip(rows, fit, strict=True) if good]
    numbers = {key: n for n, key in enumerate(dict.fromkeys(key for key, good in zip(keys, fit, strict=True) if good))}
    prompts = {(row["step"], row["pair_id"]): row["prompt"] for row in kept}
    names = [name.removeprefix("reward_") for name in rows[0] if name.startswith("reward_") or name == "reward"]
    parts = {name: np.array([_number(row[_column(name)]) for row in kept]) for name in names}
    groups = np.array([numbers[row["step"], row["pair_id"]] for row in kept])
    parts |= {"read_agreement": _agreement(kept), "claim_credit": _claim_credit(kept, groups)}
    parts |= {name: values[fit] for name, values in (more or {}).items()}
    label = ["first" if row["votes_first"] > row["votes_second"] else "second" for row in kept]
    outcomes = {"right": np.array([float(row["side"] == side) for row, side in zip(kept, label, strict=True)])}
    for name, values in (readers or {}).items():
        read = outcomes[f"right as {name} reads"] = (values[fit] > 0.5).astype(float)
        parts[f"{name}.read_agreement"] = outcomes["right"] * read
    if count is not None:
        told = [count(row["pair_id"], row["trace"]) or {} for row in kept]
        for name in ("false", "true"):
            outcomes[f"{name} claims"] = np.array([_number(one.get(name)) for one in told])
    outcomes["words"] = np.array([float(len(row["trace"].split())) for row in kept])
    clusters = cluster_codes([prompts[key] for key in numbers])
    return Rollouts(groups, clusters, parts, outcomes, len(rows) - len(kept))


def weighted(rollouts: Rollouts, weights: Mapping[str, float]) -> Float[np.ndarray, " n"]:
    """A reward as a weighted sum of recorded parts.

    Raises:
        InputError: A part is not there, or was not recorded for every completion.
    """
    total = np.zeros(len(rollouts.groups))
    for name, weight in weights.items():
        values = rollouts.parts.get(name)
        known = sorted(part for part, told in rollouts.parts.items() if np.isfinite(told).all())
        if values is None or not np.isfinite(values).all():
            raise InputError(f"--reward: no {name!r} is recorded of every rollout, expected some of {', '.join(known)}")
        total += weight * values
    return total


def screen(
    rollouts: Rollouts, rewards: Mapping[str, Float[np.ndarray, " n"]], *, resamples: int = 10_000, seed: int = 0
) -> dict[str, Selected]:
    """What each reward would select; equals at the top count in equal shares.

    Args:
        rollouts: What was recorded.
        rewards: By name, a number for each completion.
        resamples: Draws of the prompts, for the intervals.
        seed: Of the draws, and of the two `CONTROLS`, which are added.

    Returns:
        By name, the controls first; `best` at the end of it is what could be had: the fewest false claims, or the right
        verdict, wherever a group has it.
    """
    drawn = np.random.default_rng(seed).random((len(CONTROLS), len(rollouts.groups)))
    told = dict(zip(CONTROLS, drawn, strict=True)) | dict(rewards)
    shares = {name: _shares(values, rollouts.groups) for name, values in told.items()}
    found = {name: _selected(rollouts, share, resamples, seed) for name, share in shares.items()}
    best = {
        name: _shares(-values if name == "false claims" else values, rollouts.groups)
        for name, values in rollouts.outcomes.items()
        if name != "words" and np.isfinite(values).all()
    }
    ideal = {name: _selected(rollouts, share, resamples, seed) for name, share in best.items()}
    found["best"] = Selected(
        {name: one.outcomes[name] for name, one in ideal.items()},
        {name: one.changes[name] for name, one in ideal.items()},
    )
    return found


def _shares(values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """How far each completion is its group's best: equals in equal shares, the shares of a group sum to 1."""
    top = np.full(groups.max() + 1, -np.inf)
    np.maximum.at(top, groups, values)
    best = (values >= top[groups] - _TIED).astype(float)
    return best / np.bincount(groups, best)[groups]


def _selected(rollouts: Rollouts, share: Float[np.ndarray, " n"], resamples: int, seed: int) -> Selected:
    even = 1.0 / np.bincount(rollouts.groups)[rollouts.groups]
    n_clusters = int(rollouts.clusters.max()) + 1
    statistics: dict[str, Statistic] = {}
    for name, values in rollouts.outcomes.items():
        if not np.isfinite(values).all():
            continue
        of_groups = (np.bincount(rollouts.groups, weight * values) for weight in (share, even))
        best, mean = (mean_statistic(one, rollouts.clusters, n_clusters) for one in of_groups)
        statistics |= {name: best, f"change of {name}": difference(best, mean)}
    told = bootstrap(statistics, resamples=resamples, seed=seed)
    changes = {name.removeprefix("change of "): one for name, one in told.items() if name.startswith("change of ")}
    return Selected({name: told[name] for name in changes}, changes)


def _agreement(rows: Sequence[Mapping[str, Any]]) -> Float[np.ndarray, " n"]:
    """`rewards.read_agreement_reward` by the listener of the run, which need not have been paid for it."""
    return np.array(
        [
            _number(
                read_agreement_reward(
                    row["side"], row.get("listener_p_first"), Votes(row["votes_first"], row["votes_second"])
                )
            )
            for row in rows
        ]
    )


def _claim_credit(rows: Sequence[Mapping[str, Any]], groups: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """What the claims of each completion are told in sum: how far each is believed, less the mean of its group's."""
    heard = [row.get("claims_heard") for row in rows]
    believed = [[] if told is None else [float(claim[-1]) for claim in json.loads(told)] for told in heard]
    many, told = np.array([len(one) for one in believed]), np.array([sum(one) for one in believed])
    means = np.bincount(groups, told) / np.maximum(np.bincount(groups, many), 1)
    credit = told - many * means[groups]
    return np.where([one is None for one in heard], np.nan, credit)


def _column(name: str) -> str:
    return name if name == "reward" else f"reward_{name}"


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
