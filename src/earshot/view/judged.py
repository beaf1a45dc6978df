"""Rows of predictions.jsonl: an index made in one pass, the rows themselves read when they are shown."""

from __future__ import annotations

import re
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earshot.errors import DataError
from earshot.predictions.facts import widest_gaps
from earshot.predictions.people import People
from earshot.predictions.run import Evaluation
from earshot.predictions.sides import flips, right
from earshot.predictions.table import BAD_ROW, TableBuilder
from earshot.rundir import RunDir, parse_jsonl_line
from earshot.types import hash_of
from earshot.view.columns import GAP, Columns, outcomes
from earshot.view.sources import Source

Identity = tuple[int, int, int]
FIRST_BATCH, BATCH = 64, 1024
"""Lines indexed at a time; the first batch is small, so that a page has rows to show at once."""


@dataclass
class _File:
    """One file of predictions, and how far it has been read."""

    source: int
    path: Path
    people: People
    there: bool = True
    """Whether its rows count; False once they stand in another file."""
    offset: int = 0
    line: int = 0
    file_id: tuple[int, int] | None = None
    size: int = 0


class JudgedIndex:
    """The judged pairs of some evaluations. `refresh` is for one thread; all else may be called beside it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.columns = Columns({"pair_hash": "i8", "offset": "i8", "file": "u4", "confidence": "f4", "order_gap": "f4"})
        self.notes: list[str] = []
        """What was left out, and why; the first of a file."""
        self._files: list[_File] = []
        self._people: dict[int, tuple[Identity | None, People]] = {}
        self._left_out = [0 for _ in sources]

    @property
    def progress(self) -> float:
        """The share of the bytes that are in the index, in [0, 1]."""
        there = [file for file in self._files if file.there]
        total = sum(file.size for file in there)
        return sum(file.offset for file in there) / total if total else 0.0

    @property
    def left_out(self) -> int:
        return sum(self._left_out)

    def refresh(self, stop: threading.Event | None = None) -> int:
        """Indexes what has been added since, and returns how many rows that were. A half-written line waits."""
        before = len(self.columns)
        for number, source in enumerate(self.sources):
            self._find_files(number, source)
        for number, file in enumerate(self._files):
            if file.there:
                self._look(number)
                self._read_on(number, stop)
        return len(self.columns) - before

    def _find_files(self, number: int, source: Source) -> None:
        """Takes up files that are new. Parts that were put together are read anew, as one file."""
        judged = Evaluation(source.run, source.path)
        found = judged.files()
        if not found:  # gone: what was read of them stays in the index until others stand there
            return
        mine = {file.path: place for place, file in enumerate(self._files) if file.source == number}
        if new := [path for path in found if path not in mine or not self._files[mine[path]].there]:
            people = self._people_of(number)
            for path in new:
                self._files.append(_File(number, path, people))
        for path, place in mine.items():
            if path in new or path not in found:
                self.columns.drop("file", place)
                self._files[place].there = False

    def _people_of(self, number: int) -> People:
        """What people say of a source's pairs, read anew where a vote was put right since."""
        folder = self.sources[number].path
        identity = identity_of(RunDir(folder).people)
        if number not in self._people or self._people[number][0] != identity:
            self._people[number] = identity, Evaluation("", folder).people()
        return self._people[number][1]

    def _look(self, number: int) -> None:
        """Sees how large a file is now; one that was replaced or cut is read anew."""
        file = self._files[number]
        try:
            status = file.path.stat()
        except OSError:  # gone: what was read of it stays in the index until another stands there
            return
        replaced = file.file_id not in (None, (status.st_dev, status.st_ino)) or status.st_size < file.offset
        people = self._people_of(file.source)
        if replaced or people is not file.people:
            self.columns.drop("file", number)
            file.offset = file.line = 0
            file.people = people
        file.file_id, file.size = (status.st_dev, status.st_ino), status.st_size

    def _read_on(self, number: int, stop: threading.Event | None) -> None:
        file = self._files[number]
        if file.offset >= file.size:
            return
        try:
            lines = file.path.open("rb")
        except OSError:
            return
        builder = _Builder(file, number)
        with lines:
            lines.seek(file.offset)
            try:
                for line in lines:
                    if not line.endswith(b"\n") or is_set(stop):
                        break
                    self._take(builder, line, file)
                    if len(builder) >= (BATCH if len(self.columns) else FIRST_BATCH):
                        builder.flush_into(self.columns)
            finally:  # the place is behind what the builder holds
                builder.flush_into(self.columns)

    def _take(self, builder: _Builder, line: bytes, file: _File) -> None:
        file.line += 1
        try:
            builder.add(line, file.offset)
        except BAD_ROW as error:
            self._leave_out(file, error)
        file.offset += len(line)

    def _leave_out(self, file: _File, error: Exception) -> None:
        self._left_out[file.source] += 1
        if self._left_out[file.source] == 1:
            source = self.sources[file.source]
            place = f"{source.run}, {source.name}: line {file.line}"
            self.notes.append(f"{place}: {type(error).__name__}: {error}; expected a row as 'earshot eval' writes it")

    def read(self, rows: Sequence[int]) -> list[dict[str, Any] | None]:
        """The rows of the files, with what people say of their pairs; None where a file no longer holds them."""
        columns = self.columns.snapshot()
        found: list[dict[str, Any] | None] = [None] * len(rows)
        by_file: dict[int, list[int]] = {}
        for position, row in enumerate(rows):
            by_file.setdefault(int(columns["file"][row]), []).append(position)
        for number, positions in by_file.items():
            try:
                with self._files[number].path.open("rb") as lines:
                    for position in positions:
                        found[position] = self._read_one(number, lines, columns, rows[position])
            except OSError:
                continue
        return found

    def _read_one(self, number: int, lines: Any, columns: Mapping[str, np.ndarray], row: int) -> dict[str, Any] | None:
        lines.seek(int(columns["offset"][row]))
        value = parse_jsonl_line(lines.readline())
        # Another file may stand there by now, in which another row begins at this byte.
        if not isinstance(value, dict) or hash_of(str(value.get("id"))) != int(columns["pair_hash"][row]):
            return None
        try:
            return self._files[number].people.joined(value)
        except DataError:
            return None

    def search(self, text: str, start: int, stop: int) -> np.ndarray:
        """Which of the rows from `start` to before `stop` have the text in their id, prompt, traces or names."""
        columns = self.columns.snapshot()
        needle, hits = text.lower(), np.zeros(stop - start, bool)
        for number, file in enumerate(self._files):
            rows = np.flatnonzero((columns["file"][start:stop] == number) & columns["alive"][start:stop])
            if rows.size:
                offsets = columns["offset"][start:stop][rows]
                found = _lines_with(file, needle, int(offsets.min()), int(offsets.max()))
                hits[rows[np.isin(offsets, np.fromiter(found, np.int64))]] = True
        return hits


def _lines_with(file: _File, needle: str, first: int, last: int) -> Iterator[int]:
    """The offsets, from `first` to `last`, of the lines whose text holds the needle, which is in lower case."""
    # Most lines are ruled out by the longest part that JSON writes as it is, whatever writer it was.
    plain = max(re.findall(r"[a-z0-9 .,;:_-]+", needle), key=len, default="").encode()
    try:
        lines = file.path.open("rb")
    except OSError:
        return
    with lines:
        lines.seek(first)
        offset = first
        for line in lines:
            if offset > last:
                return
            if plain in line.lower() and needle in _text_of(parse_jsonl_line(line)):
                yield offset
            offset += len(line)


def _text_of(row: dict[str, Any] | str) -> str:
    """Everything in a row that people or models wrote, in lower case."""
    if isinstance(row, str):
        return ""
    words = [row.get(name) for name in ("id", "prompt_id", "label", "axis", "category", "model_first", "model_second")]
    for sample in row.get("samples") or ():
        words += [sample.get("trace"), sample.get("malformed")]
    return "\n".join(str(word) for word in words if word).lower()


def identity_of(path: Path) -> Identity | None:
    """What tells a file from one that took its place: inode, time and size; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def is_set(stop: threading.Event | None) -> bool:
    return stop is not None and stop.is_set()


class _Builder:
    """Rows on their way into the columns, refused and counted by the rules of metrics.json."""

    def __init__(self, file: _File, number: int) -> None:
        self._file, self._number = file, number
        self._rows, self._offsets = TableBuilder(), array("q")

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, line: bytes, offset: int) -> None:
        """Takes in a line.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, DataError: The line is no row of predictions.jsonl.
        """
        row = parse_jsonl_line(line)
        if isinstance(row, str):
            raise ValueError(row)
        if "error" in row:  # a bad row of the set, of which there is no prediction
            return
        self._rows.add(self._file.people.joined(row))
        self._offsets.append(offset)

    def flush_into(self, columns: Columns) -> None:
        if not len(self):
            return
        table = self._rows.table()
        malformed = np.bincount(table.sample_pair, weights=table.malformed, minlength=len(self)) > 0
        columns.append(
            {
                "source": np.full(len(self), self._file.source),
                "file": np.full(len(self), self._number),
                "offset": np.array(self._offsets),
                "pair_hash": table.pair_hash,
                "outcome": outcomes(right(table.p_first, table.people), table.people),
                "malformed": malformed,
                "flip": flips(table.p_forward, table.p_swapped),
                "confidence": np.abs(table.p_first - 0.5),
                "order_gap": np.abs(table.p_forward - table.p_swapped),
                **{GAP + name: gaps for name, gaps in widest_gaps(table).items() if not np.isnan(gaps).all()},
            }
        )
        self._rows, self._offsets = TableBuilder(), array("q")
