"""Rows of rollouts/*.parquet."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earshot.predictions.rollout import SCHEMA, parts_of, weighted_parts
from earshot.predictions.run import Run
from earshot.predictions.sides import differ, signs_of
from earshot.view.judged import heard
from earshot.view.pictures import Pairs
from earshot.view.rows import GAP, MAX_LIST_CHARACTERS, File, Source, columns_of, cut, identity_of, searchable

LISTENER = "listener"
"""How the one listener of a training run is called here; its rows do not name it."""

Row = Mapping[str, Any]


class RolloutSource(Source):
    """The rollouts of a training run."""

    name = "rollouts"

    def __init__(self, run: Run, pairs: Pairs) -> None:
        self.run = run.name
        self.pairs = pairs
        self.weights = weighted_parts(run.weights)
        self._run = run

    def files(self) -> list[tuple[Path, Hashable]]:
        return [(path, identity_of(path)) for path in self._run.rollout_files]

    def read(self, file: File) -> Iterator[pa.Table]:
        if file.share:
            return
        try:
            yield _table(pq.read_table(file.path, partitioning=None))
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            what = str(error).partition("\n")[0]
            file.leave_out(f"{file.path.name} cannot be read ({what})")
        file.share = 1.0

    def detail(self, row: Row) -> dict[str, Any]:
        row = row["row"]
        p = row["listener_p_first"]
        return {
            "id": cut(row["pair_id"]),
            "prompt": cut(row["prompt"]),
            "malformed_reason": cut(row["malformed"]),
            "completion": cut(row["completion"]),
            "heard": cut(row["trace_redacted"]),
            "listeners": [] if p is None else [heard(row["listener"] or LISTENER, p, row["side"])],
            "p_no_trace": row["listener_p_first_no_trace"],
            "parts": [{**part._asdict(), "paid": part.paid} for part in parts_of(row, self._run.weights)],
        }


def _table(rollouts: pa.Table) -> pa.Table:
    """The columns of a file."""
    # Files of earlier runs have fewer columns.
    rows = pa.concat_tables([SCHEMA.empty_table(), rollouts], promote_options="permissive").select(SCHEMA.names)
    votes_first, votes_second, listener = (
        rows[name].to_numpy() for name in ("votes_first", "votes_second", "listener_p_first")
    )
    # The reasoner's own probability is not in a rollout: its verdict stands for 1 or 0.
    p_first = pc.equal(rows["side"], "first").cast(pa.float64()).to_numpy()
    apart = differ(listener, np.nan_to_num(signs_of(p_first)))
    gap = np.where(apart, np.abs(p_first - listener), np.nan)
    heard_of = pc.and_(pc.is_valid(rows["listener_p_first"]), pc.is_valid(rows["side"]))
    searched = zip(*(rows[name].to_pylist() for name in ("pair_id", "prompt", "completion")), strict=True)
    return pa.table(
        {
            "id": pc.fill_null(rows["pair_id"], ""),
            "prompt": pc.utf8_slice_codeunits(pc.fill_null(rows["prompt"], ""), 0, MAX_LIST_CHARACTERS),
            "step": rows["step"],
            **columns_of(p_first, votes_first, votes_second),
            "malformed": pc.is_valid(rows["malformed"]).cast(pa.int64()),
            "samples": np.ones(len(rows), np.int64),
            "flip": np.zeros(len(rows), bool),
            "reward": rows["reward"],
            "gap": gap,
            GAP + LISTENER: gap,
            "agrees": pc.if_else(heard_of, pa.array((~apart).astype(float)), None),
            "text": pa.array([searchable(values) for values in searched], pa.binary()),
            "row": pa.StructArray.from_arrays([rows[name].combine_chunks() for name in SCHEMA.names], SCHEMA.names),
        }
    )
