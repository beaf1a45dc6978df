"""A rollout: a completion that training sampled, and what it was paid; a row of `rollouts/*.parquet`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.errors import DataError
from earshot.files import whole
from earshot.rewards import RewardParts

PART_NAMES = tuple(name for name in RewardParts._fields if name != "total")
"""The parts of the reward."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion and what became of it; a row of `rollouts/*.parquet`."""

    step: int
    pair_id: str
    prompt: str
    first_file: str
    second_file: str
    votes_first: float
    votes_second: float
    completion: str
    trace: str | None
    trace_redacted: str | None
    side: str | None
    malformed: str | None
    reward: float | None
    reward_format: float
    reward_accuracy: float | None
    reward_listener: float | None
    listener_p_first: float | None
    listener_p_first_no_trace: float | None
    reward_claims: float | None = None
    claims: int | None = None
    """How many distinct claims the trace makes; None where nobody was asked about them."""
    claims_believed: float | None = None
    """Mean probability that they are true; None without a claim."""
    claims_heard: str | None = None
    """JSON: `[image, text, denied, believed]` of each claim."""
    weight_format: float | None = None
    weight_accuracy: float | None = None
    weight_listener: float | None = None
    weight_claims: float | None = None
    reward_speaker: float | None = None
    listener_likelihood: float | None = None
    """Geometric mean of the probabilities that the listener gives the trace's tokens; None where that was not asked."""
    weight_speaker: float | None = None
    reward_read_agreement: float | None = None
    weight_read_agreement: float | None = None
    listener: str | None = None
    """Who was to read the trace, as logs call it: also whether its weights were frozen."""
    """What each part counted for; in files of earlier runs the configuration alone says it."""


_ARROW = {"int": pa.int64(), "str": pa.string(), "float": pa.float64()}
SCHEMA = pa.schema([(name, _ARROW[str(kind).split(" ")[0]]) for name, kind in Rollout.__annotations__.items()])


def write_rollouts(path: Path, rollouts: Sequence[Rollout]) -> None:
    """A file of rollouts, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(one) for one in rollouts], SCHEMA), temporary)


class Part(NamedTuple):
    """One part of a reward.

    Attributes:
        name: Such as `listener`.
        value: What it came to; None where it is missing or was not asked for.
        weight: What it counts for; None where nothing says it.
    """

    name: str
    value: float | None
    weight: float | None

    @property
    def paid(self) -> float | None:
        """What it adds to the reward."""
        if self.weight == 0:
            return 0.0
        return None if self.value is None or self.weight is None else self.weight * self.value


def parts_of(row: Mapping[str, Any], weights: Mapping[str, Any]) -> list[Part]:
    """The parts that a rollout's reward is made of; what they pay sums to the reward, where none is missing.

    Args:
        row: Of a rollout file.
        weights: `rewards` of the run's configuration, for rows that do not say their weights.
    """
    found = []
    for name in PART_NAMES:
        value, weight = row.get(f"reward_{name}"), row.get(f"weight_{name}")
        weight = weights.get(name) if weight is None else weight
        if value is not None or weight:
            found.append(Part(name, value, float(weight) if isinstance(weight, int | float) else None))
    return found


def weighted_parts(weights: Mapping[str, Any]) -> str:
    """What a reward is the sum of, in words; empty where `rewards` of a configuration does not say."""
    told = [(name, weights.get(name)) for name in PART_NAMES]
    return " + ".join(f"{weight:g} × {name}" for name, weight in told if isinstance(weight, int | float) and weight)


class Paid(NamedTuple):
    """What rollouts were paid in the mean.

    Attributes:
        parts: Of the mean reward.
        reward: Their sum; None where no rollout has a reward.
        n: The rollouts that have one.
    """

    parts: list[Part]
    reward: float | None
    n: int


def read_rollouts(files: Iterable[Path]) -> list[dict[str, Any]]:
    """The rows of some files, such as those of all processes of a step.

    Raises:
        DataError: A file cannot be read.
    """
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            rows += pq.read_table(file).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file}: a rollout file cannot be read ({error}), expected parquet; remove it") from error
        if rows and "reward" not in rows[-1]:
            raise DataError(f"{file}: a rollout file cannot be read ('reward'), expected parquet; remove it")
    return rows


def mean_parts(files: Sequence[Path], weights: Mapping[str, Any]) -> Paid:
    """What the rollouts of some files, such as those of all processes of a step, were paid in the mean.

    Raises:
        DataError: A file cannot be read.
    """
    rows = [row for row in read_rollouts(files) if row["reward"] is not None]
    by_row = [{part.name: part for part in parts_of(row, weights)} for row in rows]
    names = [name for name in PART_NAMES if any(name in parts for parts in by_row)]
    means = []
    for name in names:
        asked = [parts[name] for parts in by_row if name in parts]
        values = [part.value for part in asked if part.value is not None]
        # A malformed completion earns nothing of a part that it was not asked about.
        means.append(Part(name, sum(values) / len(rows) if values else None, asked[0].weight))
    return Paid(means, sum(row["reward"] for row in rows) / len(rows) if rows else None, len(rows))
