"""What supervised fine-tuning teaches for each pair: the reference trace of its id, or the majority's side alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from earshot.config import SftDataConfig
from earshot.data.pairset import PairSet
from earshot.data.rows import TRACES_FILE, read_traces
from earshot.errors import DataError, InputError
from earshot.protocol.defuse import defuse
from earshot.types import Verdict

_SCHEMA = pa.schema([("id", pa.string()), ("trace", pa.string()), ("side", pa.string())])
_BATCH = 8192


@dataclass(frozen=True)
class Targets:
    """The pairs that have a target and the targets, in Arrow's memory: a million take as much as their text.

    Attributes:
        chosen: Positions in the pair set, in its order.
        table: `trace` and `side` of each of them.
    """

    chosen: Int[np.ndarray, " n"]
    table: pa.Table

    def verdict(self, index: int, control_tokens: Collection[str]) -> Verdict:
        """The target of the chosen pair at an index; `control_tokens` in its trace are defused."""
        trace, side = (self.table[name][index].as_py() for name in ("trace", "side"))
        return Verdict(side, defuse(trace, control_tokens))


def read_targets(pairs: PairSet, data: SftDataConfig) -> Targets:
    """The targets of a pair set, the first `data.max_pairs` of them.

    Raises:
        InputError: There is no `traces.jsonl` beside the pair set.
        DataError: A line of it is no trace, an id stands there twice, or no pair has a target.
    """
    found = _by_trace(pairs) if data.targets == "traces" else _by_majority(pairs)
    if len(found.chosen) == 0:
        wanted = f"a trace in {TRACES_FILE}" if data.targets == "traces" else "a majority"
        raise DataError(f"{pairs.folder}: none of its {len(pairs)} pairs has {wanted}; expected at least one")
    return Targets(found.chosen[: data.max_pairs], found.table.slice(0, data.max_pairs))


def _by_trace(pairs: PairSet) -> Targets:
    path = pairs.folder / TRACES_FILE
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a trace for each pair; or set data.targets: verdict")
    traces = pa.Table.from_batches(_batches(path), _SCHEMA)
    counts = pc.value_counts(traces["id"])
    repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(repeated):
        raise DataError(f"{path}: the id {repeated[0].as_py()!r} stands there more than once; expected one trace an id")
    at = pc.index_in(pairs.column("id"), value_set=traces["id"].combine_chunks())
    chosen = np.flatnonzero(pc.is_valid(at).to_numpy())
    return Targets(chosen, traces.take(pc.drop_null(at)))


def _by_majority(pairs: PairSet) -> Targets:
    first, second = (pairs.column(f"votes_{side}").to_numpy() for side in ("first", "second"))
    chosen = np.flatnonzero(first != second)
    sides = pa.array(np.where(first > second, "first", "second")[chosen], pa.string())
    return Targets(chosen, pa.table({"trace": pa.repeat("", len(chosen)), "side": sides}))


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    rows: list[dict[str, Any]] = []
    for row in read_traces(path, sides=True):
        rows.append({name: row[name] for name in _SCHEMA.names})
        if len(rows) == _BATCH:
            yield pa.RecordBatch.from_pylist(rows, _SCHEMA)
            rows.clear()
    yield pa.RecordBatch.from_pylist(rows, _SCHEMA)
