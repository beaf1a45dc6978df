"""Rows of predictions.jsonl: an index made in one pass, the rows themselves read when they are shown."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earshot.errors import DataError
from earshot.predictions.facts import is_flipped, listener_gaps, outcome_of
from earshot.predictions.people import People
from earshot.predictions.run import Evaluation
from earshot.rundir import parse_jsonl_line
from earshot.types import hash_of
from earshot.view.columns import GAP, OUTCOMES, Columns
from earshot.view.sources import Source

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
        judged = Evaluation(source.run, source.path, {}, {})
        found = judged.files()
        if not found:  # gone: what was read of them stays in the index until others stand there
            return
        mine = {file.path: place for place, file in enumerate(self._files) if file.source == number}
        if new := [path for path in found if path not in mine or not self._files[mine[path]].there]:
            people = judged.people()
            for path in new:
                self._files.append(_File(number, path, people))
        for path, place in mine.items():
            if path in new or path not in found:
                self.columns.drop("file", place)
                self._files[place].there = False

    def _look(self, number: int) -> None:
        """Sees how large a file is now; one that was replaced or cut is read anew."""
        file = self._files[number]
        try:
            status = file.path.stat()
        except OSError:  # gone: what was read of it stays in the index until another stands there
            return
        if file.file_id not in (None, (status.st_dev, status.st_ino)) or status.st_size < file.offset:
            self.columns.drop("file", number)
            file.offset = file.line = 0
            file.people = Evaluation("", self.sources[file.source].path, {}, {}).people()
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
        except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
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


def is_set(stop: threading.Event | None) -> bool:
    return stop is not None and stop.is_set()


class _Builder:
    """Rows on their way into the columns."""

    def __init__(self, file: _File, number: int) -> None:
        self._file, self._number = file, number
        self._rows: list[tuple[Any, ...]] = []
        self._gaps: list[tuple[int, str, float]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, line: bytes, offset: int) -> None:
        """Takes in a line.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: The line is no row of predictions.jsonl.
        """
        row = parse_jsonl_line(line)
        if isinstance(row, str):
            raise ValueError(row)
        if "error" in row:  # a bad row of the set, of which there is no prediction
            return
        row = self._file.people.joined(row)
        samples = row["samples"]
        p_first, forward, swapped = (_p(row[name]) for name in ("p_first", "p_first_forward", "p_first_swapped"))
        malformed = any(sample["malformed"] is not None for sample in samples)
        gaps = listener_gaps(samples)
        for sample in samples:
            for p in (sample["p_first"], *(sample.get("listener") or {}).values()):
                _p(p)
        self._rows.append(
            (
                OUTCOMES[outcome_of(row)],
                malformed,
                hash_of(str(row["id"])),
                is_flipped(row),
                offset,
                abs(p_first - 0.5),
                abs(forward - swapped),
            )
        )
        self._gaps += [(len(self._rows) - 1, name, gap) for name, gap in gaps.items()]

    def flush_into(self, columns: Columns) -> None:
        if not self._rows:
            return
        names = ("outcome", "malformed", "pair_hash", "flip", "offset", "confidence", "order_gap")
        values: dict[str, Any] = dict(zip(names, zip(*self._rows, strict=True), strict=True))
        values["source"] = np.full(len(self._rows), self._file.source)
        values["file"] = np.full(len(self._rows), self._number)
        for row, name, gap in self._gaps:
            column = values.get(GAP + name)
            if column is None:
                column = values[GAP + name] = np.full(len(self._rows), np.nan, np.float32)
            column[row] = gap
        columns.append(values)
        self._rows, self._gaps = [], []


def _p(value: Any) -> float:
    """A probability, NaN for null."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"a probability is {str(value)[:40]!r}, expected a number in [0, 1] or null")
    return float(value)
