"""All rows of the given runs: followed while they are written, filtered, read."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from earshot.errors import DataError
from earshot.types import Side
from earshot.view.query import Query, listeners_of, select
from earshot.view.rows import MAX_LIST_CHARACTERS, Rows, Source
from earshot.view.sources import Sources

Kind = Literal["judged", "rollouts"]

PAGE_ROWS = 50
_OF_BOTH = ("index", "source", "id", "prompt", "votes", "preferred", "outcome", "malformed", "samples", "gap")
LISTED: Mapping[Kind, tuple[str, ...]] = {
    "judged": (*_OF_BOTH, "p_first", "flip"),
    "rollouts": (*_OF_BOTH, "step", "side", "reward"),
}
"""The columns that the list shows."""


class Library:
    """The judged pairs and the rollouts of some runs.

    `refresh` is for one thread (`follow` is that thread's work); everything else may be called from any number.
    """

    def __init__(self, sources: Sources) -> None:
        self.rows: dict[Kind, Rows] = {"judged": Rows(sources.judged), "rollouts": Rows(sources.rollouts)}
        self.ready = False
        """Whether everything that was there at the start has been read."""
        self.trouble: str | None = None
        """Why reading cannot go on, if it cannot."""
        self._no_pictures: dict[Kind, list[str]] = {"judged": [], "rollouts": []}

    def refresh(self, stop: threading.Event | None = None) -> int:
        """Reads what has been added since, unless told to stop, and returns how many rows that were."""
        added = sum(rows.refresh(stop) for rows in self.rows.values())
        if stop is not None and stop.is_set():
            return added
        if not self.ready:
            for kind, rows in self.rows.items():
                self._no_pictures[kind] = [
                    f"{source.run}, {source.name}: no pictures: {source.pairs.fault}"
                    for source in rows.sources
                    if source.pairs.folder is not None and source.pairs.fault
                ]
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
        return {"ready": self.ready, "trouble": self.trouble, **{kind: self._state_of(kind) for kind in self.rows}}

    def _state_of(self, kind: Kind) -> dict[str, Any]:
        rows, table = self.rows[kind], self.rows[kind].table()
        asked = {name for source in rows.sources for name in source.listeners}
        return {
            "sources": [{"run": source.run, "name": source.name} for source in rows.sources],
            "rows": len(table),
            "progress": rows.progress,
            "listeners": sorted(asked | set(listeners_of(table))),
            "notes": [*rows.notes, *self._no_pictures[kind]],
            "left_out": rows.left_out,
        }

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

    def detail(self, kind: Kind, index: int) -> dict[str, Any] | None:
        """Everything about a row; None where there is no such row, or its file was replaced meanwhile."""
        found = self._find(kind, index)
        if found is None:
            return None
        row, source = found
        try:
            detail = source.detail(row)
        except DataError:  # the set has changed since it was read
            return None
        place = {"run": source.run, "set": source.name, "fault": source.pairs.fault}
        return listed(kind, row) | place | detail

    def image(self, kind: Kind, index: int, side: Side) -> Path | None:
        """The file of one image of a row's pair; None where there is no such row or no pair set.

        Raises:
            DataError: The pair set cannot be read, or is another than the one the row was made with.
            ImageError: The image is missing or outside the set's folder.
        """
        found = self._find(kind, index)
        if found is None:
            return None
        row, source = found
        return None if source.pairs.folder is None else source.pairs.image(row["id"], side)

    def _find(self, kind: Kind, index: int) -> tuple[dict[str, Any], Source] | None:
        table = self.rows[kind].table()
        places = np.flatnonzero(table["index"].to_numpy() == index).tolist()
        if not places:
            return None
        row = row_at(table, places[0])
        return row, self.rows[kind].sources[row["source"]]


def row_at(table: pa.Table, place: int) -> dict[str, Any]:
    # Not `take`, which would put all chunks of a column together first.
    return table.slice(place, 1).to_pylist()[0]


def listed(kind: Kind, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the list shows of a row of the table."""
    return {name: row[name] for name in LISTED[kind]} | {"id": row["id"][:MAX_LIST_CHARACTERS]}
