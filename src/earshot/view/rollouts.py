"""Rows of rollouts/*.parquet: a few columns indexed, whole rows read a row group at a time when they are shown."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from earshot.predictions.sides import differ
from earshot.rundir import TEMPORARY_PREFIX
from earshot.view.columns import GAP, Columns, outcomes
from earshot.view.judged import Identity, identity_of, is_set
from earshot.view.sources import Source

LISTENER = "listener"
"""How the one listener of a training run is called here; its rows do not name it."""

INDEXED = ("step", "votes_first", "votes_second", "side", "malformed", "reward", "listener_p_first")
SEARCHED = ("pair_id", "prompt", "completion")
_KEPT_GROUPS = 8


class _File(NamedTuple):
    source: int
    path: Path
    identity: Identity
    """Inode, time and size: a resumed run writes a file of the same name again."""


class RolloutIndex:
    """The rollouts of some training runs. `refresh` is for one thread; all else may be called beside it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.columns = Columns({"file": "u4", "group": "u4", "row": "u4", "step": "i4", "reward": "f4"})
        self.notes: list[str] = []
        self._files: list[_File] = []
        self._known: dict[Path, int] = {}
        self._refused: dict[Path, Identity] = {}
        self._waiting = 0
        self._groups: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def progress(self) -> float:
        """The share of the files that are in the index, in [0, 1]."""
        return len(self._known) / (len(self._known) + self._waiting) if self._known else 0.0

    @property
    def left_out(self) -> int:
        return len(self._refused)

    def refresh(self, stop: threading.Event | None = None) -> int:
        """Indexes the files that are new or were written again, and returns how many rows those have."""
        before = len(self.columns)
        for path in [path for path in self._known if not path.exists()]:
            self._forget(path)
        new = list(self._new_files())
        self._waiting = len(new)
        for file in new:
            if is_set(stop):
                break
            self._forget(file.path)
            self._index(file)
            self._waiting -= 1
        return len(self.columns) - before

    def _new_files(self) -> Iterator[_File]:
        for number, source in enumerate(self.sources):
            for path in sorted(source.path.glob("*.parquet")):
                identity = None if path.name.startswith(TEMPORARY_PREFIX) else identity_of(path)
                known = self._known.get(path)
                seen = (self._refused.get(path), None if known is None else self._files[known].identity)
                if identity is not None and identity not in seen:
                    yield _File(number, path, identity)

    def _forget(self, path: Path) -> None:
        self._refused.pop(path, None)
        known = self._known.pop(path, None)
        if known is not None:
            self.columns.drop("file", known)

    def _index(self, file: _File) -> None:
        try:
            with pq.ParquetFile(file.path) as parquet:
                parts = [
                    _facts(parquet.read_row_group(group, [*INDEXED, "pair_id"]), group)
                    for group in range(parquet.num_row_groups)
                ]
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
            self._refused[file.path] = file.identity
            if len(self._refused) == 1:
                what = str(error).partition("\n")[0]
                self.notes.append(f"{self.sources[file.source].run}: {file.path.name} cannot be read ({what})")
            return
        number = len(self._files)
        self._files.append(file)
        self._known[file.path] = number
        for part in parts:
            count = len(part["step"])
            self.columns.append({**part, "source": np.full(count, file.source), "file": np.full(count, number)})

    def read(self, rows: Sequence[int]) -> list[dict[str, Any] | None]:
        """Whole rows of the files; None where a file was written again or is gone."""
        columns = self.columns.snapshot()
        found: list[dict[str, Any] | None] = []
        for row in rows:
            table = self._group(int(columns["file"][row]), int(columns["group"][row]))
            position = int(columns["row"][row])
            known = table is not None and position < table.num_rows
            found.append(table.slice(position, 1).to_pylist()[0] if table is not None and known else None)
        return found

    def _group(self, number: int, group: int) -> pa.Table | None:
        with self._lock:
            if (number, group) in self._groups:
                self._groups.move_to_end((number, group))
                return self._groups[number, group]
        file = self._files[number]
        try:
            with pq.ParquetFile(file.path) as parquet:
                table = parquet.read_row_group(group)
        except (pa.ArrowException, OSError):
            return None
        if identity_of(file.path) != file.identity:
            return None
        with self._lock:
            self._groups[number, group] = table
            while len(self._groups) > _KEPT_GROUPS:
                self._groups.popitem(last=False)
        return table

    def search(self, text: str, start: int, stop: int) -> np.ndarray:
        """Which of the rows from `start` to before `stop` have the text in their pair's id, prompt or completion."""
        columns = self.columns.snapshot()
        files, groups = columns["file"][start:stop], columns["group"][start:stop]
        hits = np.zeros(stop - start, bool)
        wanted = columns["alive"][start:stop]
        for number, group in np.unique(np.stack([files[wanted], groups[wanted]]), axis=1).T:
            here = np.flatnonzero((files == number) & (groups == group))
            try:
                with pq.ParquetFile(self._files[number].path) as parquet:
                    table = parquet.read_row_group(int(group), list(SEARCHED))
            except (pa.ArrowException, OSError):
                continue
            matches = np.zeros(table.num_rows, bool)
            for name in SEARCHED:
                found = pc.match_substring(table[name], text, ignore_case=True)
                matches |= pc.fill_null(found, False).to_numpy()
            positions = columns["row"][start:stop][here]
            hits[here] = matches[np.minimum(positions, table.num_rows - 1)]
        return hits


def _facts(table: pa.Table, group: int) -> dict[str, Any]:
    """The index columns of a row group."""
    numbers = {
        name: table[name].cast(pa.float64()).to_numpy()
        for name in ("step", "votes_first", "votes_second", "reward", "listener_p_first")
    }
    side = np.zeros(table.num_rows, np.int8)
    for sign, name in ((1, "first"), (-1, "second")):
        side[pc.fill_null(pc.equal(table["side"], name), False).to_numpy()] = sign
    people = np.sign(numbers["votes_first"] - numbers["votes_second"])
    heard = numbers["listener_p_first"]
    apart = differ(heard, side.astype(np.float64))
    return {
        "outcome": outcomes(side == people, people),
        "malformed": pc.is_valid(table["malformed"]).to_numpy(),
        "flip": np.zeros(table.num_rows, bool),
        "group": np.full(table.num_rows, group),
        "row": np.arange(table.num_rows),
        "step": numbers["step"].astype(np.int32),
        "reward": numbers["reward"].astype(np.float32),
        # The reasoner's own probability is not in a rollout: its verdict stands for 1 or 0.
        GAP + LISTENER: np.where(apart, np.abs((side > 0) - heard), np.nan).astype(np.float32),
    }
