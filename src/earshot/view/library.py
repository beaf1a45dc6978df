"""All rows of the given runs: followed while they are written, filtered, read."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from earshot.errors import InputError
from earshot.predictions.run import hint_of_runs_below, read_runs
from earshot.rundir import RunDir
from earshot.view.judged import JudgedSource
from earshot.view.pictures import Pairs, Shown
from earshot.view.query import Query, select
from earshot.view.rollouts import RolloutSource
from earshot.view.rows import MAX_LIST_CHARACTERS, Rows, Source

Kind = Literal["judged", "rollouts"]

PAGE_ROWS = 50
_OF_BOTH = ("index", "source", "id", "prompt", "votes", "preferred", "side", "outcome", "malformed", "samples", "gap")
LISTED: Mapping[Kind, tuple[str, ...]] = {
    "judged": (*_OF_BOTH, "p_first", "flip"),
    "rollouts": (*_OF_BOTH, "step", "reward"),
}
"""The columns that the list shows."""


class Library:
    """The judged pairs and the rollouts of some runs.

    `refresh` is for one thread (`follow` is that thread's work); everything else may be called from any number.

    Args:
        paths: Run directories; an evaluation's own folder is one too. A run is named by its folder, and by more of its
            path where two folders have the same name.

    Raises:
        InputError: No path was given, one holds no run, or one has neither predictions nor rollouts yet.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        judged: list[Source] = []
        rollouts: list[Source] = []
        sets: dict[Path | None, Pairs] = {}
        for run in read_runs(paths, who="view", strict=False):
            evaluations = [one for one in run.evaluations if one.files()]
            if not evaluations and not run.rollout_files:
                beside = RunDir(run.path).overoptimise.is_file() and not run.done  # the runs of a folder that was named
                if run.path not in paths or beside:
                    continue
                raise _nothing_in(run.path)
            for one in evaluations:
                judged.append(JudgedSource(one, sets.setdefault(one.data_folder, Pairs(one.data_folder))))
            if run.rollout_files:
                rollouts.append(RolloutSource(run, sets.setdefault(run.training_set, Pairs(run.training_set))))
        if not judged and not rollouts:
            raise _nothing_in(Path(paths[0]))
        self.rows: dict[Kind, Rows] = {"judged": Rows(judged), "rollouts": Rows(rollouts)}
        self.ready = False
        """Whether everything that was there at the start has been read."""
        self.trouble: str | None = None
        """Why reading cannot go on, if it cannot."""

    def refresh(self, stop: threading.Event | None = None) -> int:
        """Reads what has been added since, unless told to stop, and returns how many rows that were."""
        added = sum(rows.refresh(stop) for rows in self.rows.values())
        self.ready = True
        return added

    def follow(self, stop: threading.Event, every_s: float = 2.0) -> None:
        """Reads, and goes on reading what a run that is being written adds, until told to stop."""
        while not stop.is_set():
            try:
                self.refresh(stop)
            except Exception as error:  # the page goes on with what is read, and says so
                self.trouble = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            stop.wait(every_s)

    def state(self) -> dict[str, Any]:
        """What there is, and how much of it has been read."""
        kinds: dict[str, Any] = {kind: rows.state() for kind, rows in self.rows.items()}
        return {"ready": self.ready, "trouble": self.trouble, **kinds}

    def page(self, kind: Kind, query: Query) -> dict[str, Any]:
        """What the list shows of a query's rows, among those read so far."""
        table = self.rows[kind].table()
        found = select(table, query)
        places = found.rows[query.offset : query.offset + PAGE_ROWS].tolist()
        return {
            "total": len(found.rows),
            "offset": query.offset,
            "rows": [listed(kind, row_at(table, place)) for place in places],
            "counts": found.counts,
            "ready": self.ready,
        }

    def detail(self, kind: Kind, index: int) -> dict[str, Any]:
        """Everything about a row.

        Raises:
            LookupError: There is no such row, or its file was replaced meanwhile.
            DataError: What people said of its pair was replaced meanwhile.
        """
        row, source = self._find(kind, index)
        place = {"run": source.run, "set": source.name, "fault": source.pairs.fault}
        shown = {"original": source.pairs.has_original(row["id"])}
        beside = self._elsewhere(row) if kind == "judged" else []
        return listed(kind, row) | place | shown | {"beside": beside} | source.detail(row)

    def _elsewhere(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of other runs that judged the same pair of the same set, each with the name of its run."""
        rows = self.rows["judged"]
        table, name = rows.table(), rows.sources[row["source"]].name
        (places,) = np.nonzero(pc.equal(table["id"], row["id"]).to_numpy(zero_copy_only=False))
        others = (row_at(table, int(place)) for place in places)
        same = (one for one in others if all(one[key] == row[key] for key in ("prompt", "votes")))
        found = {rows.sources[one["source"]]: one["index"] for one in same if one["source"] != row["source"]}
        return [{"run": source.run, "index": index} for source, index in found.items() if source.name == name]

    def steps(self) -> list[dict[str, Any]]:
        """Of each training, by step: the mean reward, and the share of verdicts on the listener's side."""
        rows = self.rows["rollouts"]
        table = rows.table()
        if not len(table):
            return []
        columns = ("reward", "agrees")
        means = table.select(["source", "step", *columns]).group_by(["source", "step"], use_threads=False)
        found = means.aggregate([(name, "mean") for name in columns]).sort_by("step").to_pylist()
        return [
            {
                "run": source.run,
                "weights": source.weights,
                "steps": [one["step"] for one in found if one["source"] == k],
            }
            | {name: [one[f"{name}_mean"] for one in found if one["source"] == k] for name in columns}
            for k, source in enumerate(rows.sources)
        ]

    def image(self, kind: Kind, index: int, shown: Shown) -> Path:
        """The file of one image of a row's pair.

        Raises:
            LookupError: There is no such row.
            DataError: The pair set cannot be read, or is another than the one the row was made with.
            ImageError: The image is missing or outside the set's folder.
        """
        row, source = self._find(kind, index)
        return source.pairs.image(row["id"], shown)

    def _find(self, kind: Kind, index: int) -> tuple[dict[str, Any], Source]:
        table = self.rows[kind].table()
        (places,) = np.nonzero(table["index"].to_numpy() == index)
        row = row_at(table, int(places[0]))
        return row, self.rows[kind].sources[row["source"]]


def row_at(table: pa.Table, place: int) -> dict[str, Any]:
    # Not `take`, which would put all chunks of a column together first.
    return table.slice(place, 1).to_pylist()[0]


def listed(kind: Kind, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the list shows of a row of the table."""
    return {name: row[name] for name in LISTED[kind]} | {"id": row["id"][:MAX_LIST_CHARACTERS]}


def _nothing_in(path: Path) -> InputError:
    if not path.is_dir():
        return InputError(f"{path}: is no folder, expected a run directory; check the path")
    if not RunDir(path).exists() and (hint := hint_of_runs_below(path, "view")):
        return InputError(f"{path}: holds no run; {hint}")
    model = path / "model" if (path / "model").is_dir() else "MODEL"
    return InputError(
        f"{path}: holds no predictions.jsonl, here or in eval/*/, and no rollouts/*.parquet, expected either; "
        f"'earshot eval --model {model} --data PAIRS --out {path / 'eval' / 'NAME'}' makes predictions"
    )
