"""Rows in memory: files that come, grow and are replaced, in one table that requests read while it is added to."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from earshot.predictions.facts import outcomes
from earshot.predictions.sides import majority, signs_of
from earshot.view.pictures import Pairs

GAP = "gap."
"""Columns of this prefix hold, by listener, how far a listener is from the reasoner where they are on different
sides, and NaN where they are not."""

_SIDES = pa.array(["second", None, "first"])
"""By the sign of a side, and one."""
_EMPTY = pa.schema(
    [
        ("index", pa.int64()),
        ("source", pa.int64()),
        ("outcome", pa.string()),
        ("malformed", pa.int64()),
        ("flip", pa.bool_()),
        ("gap", pa.float64()),
        ("confidence", pa.float64()),
        ("order_gap", pa.float64()),
        ("reward", pa.float64()),
        ("text", pa.binary()),
    ]
).empty_table()
"""What a query asks of rows. `index` is a row's number, which no other row ever gets."""

MAX_LIST_CHARACTERS = 300
"""Of a text in the list, and of a name."""
MAX_TRACE_CHARACTERS = 200_000
"""Of a text in the detail of a row; the page says how much more there is."""


@dataclass
class File:
    """A file, and what has been read of it."""

    source: int
    path: Path
    offset: int = 0
    """Where reading goes on."""
    lines: int = 0
    share: float = 0.0
    """How much of it has been read, in [0, 1]."""
    tables: list[pa.Table] = field(default_factory=list)
    left_out: int = 0
    note: str | None = None
    """What was left out first, and why."""

    def leave_out(self, note: str) -> None:
        self.left_out += 1
        self.note = self.note or note


class Source(ABC):
    """Where rows are read: an evaluation of a run, or the rollouts of its training.

    Attributes:
        run: The run's name.
        name: The set that was judged, or `rollouts`.
        pairs: The pair set that the rows are of.
        weights: What a reward is the sum of, in words.
    """

    run: str
    name: str
    pairs: Pairs
    weights: str = ""

    @abstractmethod
    def files(self) -> list[tuple[Path, Hashable]]:
        """Those that are there, in the order of the rows; each with what is another where it has to be read anew."""

    @abstractmethod
    def read(self, file: File) -> Iterator[pa.Table]:
        """What is new in a file, some rows at a time; what cannot be read is left out.

        A table has those columns of `_EMPTY` that are known of its rows, what the list shows, and what `detail` takes.
        """

    @abstractmethod
    def detail(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the page shows of a row of the table besides what the list does."""


class Rows:
    """The rows of some sources. `refresh` is for one thread; all else may be called beside it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self._files: dict[tuple[int, Path, Hashable], File] = {}
        self._count = 0
        self._version = 0
        self._table = (0, _EMPTY)

    def state(self) -> dict[str, Any]:
        """What there is, how much of it has been read, and what is missing."""
        files = self._files.values()
        return {
            "sources": [{"run": source.run, "name": source.name} for source in self.sources],
            "rows": len(self.table()),
            "progress": sum(file.share for file in files) / len(files) if files else 0.0,
            "notes": self._notes(),
            "left_out": sum(file.left_out for file in files),
        }

    def _notes(self) -> list[str]:
        """What is missing of each source: the first of what was left out, and pictures."""
        first = {file.source: file.note for file in reversed(self._files.values()) if file.note}
        found = []
        for number, source in enumerate(self.sources):
            lost = f"no pictures: {source.pairs.fault}" if source.pairs.folder and source.pairs.fault else None
            found += [f"{source.run}, {source.name}: {note}" for note in (first.get(number), lost) if note]
        return found

    def refresh(self, stop: threading.Event | None = None) -> int:
        """Reads what is new until told to stop, and returns how many rows that were. What is gone is forgotten."""
        before = self._count
        for source in self.sources:
            source.pairs.open()
        found = [(number, *file) for number, source in enumerate(self.sources) for file in source.files()]
        if found != list(self._files):
            self._files = {key: self._files.get(key) or File(*key[:2]) for key in found}
            self._version += 1
        for file in self._files.values():
            for table in self.sources[file.source].read(file):
                self._add(table, file)
                if stop is not None and stop.is_set():
                    return self._count - before
        return self._count - before

    def _add(self, table: pa.Table, file: File) -> None:
        n = table.num_rows
        table = table.append_column("index", pa.array(np.arange(self._count, self._count + n)))
        file.tables.append(table.append_column("source", pa.array(np.full(n, file.source))))
        self._count += n
        self._version += 1

    def table(self) -> pa.Table:
        """All rows as far as they are read: sources one after another, and in them file after file."""
        version = self._version
        if self._table[0] != version:
            tables = [table for file in self._files.values() for table in list(file.tables)]
            self._table = version, pa.concat_tables([_EMPTY, *tables], promote_options="default")
        return self._table[1]


def identity_of(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from one that took its place: inode, time and size; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def columns_of(
    p_first: Float[np.ndarray, " n"], votes_first: Float[np.ndarray, " n"], votes_second: Float[np.ndarray, " n"]
) -> dict[str, pa.Array]:
    """The sides that some answers name, what people say of their pairs, and whether an answer is right."""
    people = majority(votes_first, votes_second)
    return {
        "side": _SIDES.take(pa.array(np.nan_to_num(signs_of(p_first)) + 1).cast(pa.int64())),
        "votes": pa.FixedSizeListArray.from_arrays(np.stack([votes_first, votes_second], axis=1).ravel(), 2),
        "preferred": _SIDES.take(pa.array(people + 1).cast(pa.int64())),
        "outcome": pa.array(outcomes(p_first, people), pa.string()),
    }


def searchable(texts: Iterable[Any]) -> bytes:
    """Texts as they are searched: in lower case, and in bytes, for models write half an emoji, which UTF-8 has not."""
    return "\n".join(str(text) for text in texts if text).lower().encode("utf-8", "surrogatepass")


def utf8(value: Any) -> str:
    """A text for a column, which has a question mark for half an emoji."""
    return str(value).encode("utf-8", "replace").decode()


def cut(value: Any, limit: int = MAX_TRACE_CHARACTERS) -> dict[str, Any] | None:
    """A text to show, and how many characters of it are left out; None stays None."""
    if value is None:
        return None
    text = str(value)
    return {"text": text[:limit], "more": max(0, len(text) - limit)}
