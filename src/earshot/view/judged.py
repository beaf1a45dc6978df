"""Rows of predictions.jsonl: an index made in one pass, the rows themselves read when they are shown."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from earshot.rundir import parse_jsonl_line
from earshot.types import hash_of
from earshot.view.columns import GAP, OPEN, RIGHT, WRONG, Columns
from earshot.view.sources import Source

FIRST_BATCH, BATCH = 64, 1024
"""Lines indexed at a time; the first batch is small, so that a page has rows to show at once."""


@dataclass
class _Place:
    """How far a source has been read."""

    offset: int = 0
    line: int = 0
    file_id: tuple[int, int] | None = None
    size: int = 0


class JudgedIndex:
    """The judged pairs of some evaluations. `refresh` is for one thread; all else may be called beside it."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.columns = Columns({"pair_hash": "i8", "offset": "i8", "confidence": "f4", "order_gap": "f4"})
        self.notes: list[str] = []
        """What was left out, and why; the first of a file."""
        self._places = [_Place() for _ in sources]
        self._left_out = [0 for _ in sources]

    @property
    def progress(self) -> float:
        """The share of the bytes that are in the index, in [0, 1]."""
        total = sum(place.size for place in self._places)
        return sum(place.offset for place in self._places) / total if total else 0.0

    @property
    def left_out(self) -> int:
        return sum(self._left_out)

    def refresh(self, stop: threading.Event | None = None) -> int:
        """Indexes what has been added since, and returns how many rows that were. A half-written line waits."""
        before = len(self.columns)
        for number in range(len(self.sources)):
            self._look(number)
        for number in range(len(self.sources)):
            self._read_on(number, stop)
        return len(self.columns) - before

    def _look(self, number: int) -> None:
        """Sees how large a file is now; one that was replaced or cut is read anew."""
        place = self._places[number]
        try:
            status = self.sources[number].path.stat()
        except OSError:  # gone: what was read of it stays in the index until another stands there
            return
        if place.file_id not in (None, (status.st_dev, status.st_ino)) or status.st_size < place.offset:
            self.columns.drop("source", number)
            place.offset = place.line = 0
        place.file_id, place.size = (status.st_dev, status.st_ino), status.st_size

    def _read_on(self, number: int, stop: threading.Event | None) -> None:
        place = self._places[number]
        if place.offset >= place.size:
            return
        try:
            file = self.sources[number].path.open("rb")
        except OSError:
            return
        builder = _Builder(number)
        with file:
            file.seek(place.offset)
            try:
                for line in file:
                    if not line.endswith(b"\n") or is_set(stop):
                        break
                    self._take(builder, line, number)
                    if len(builder) >= (BATCH if len(self.columns) else FIRST_BATCH):
                        builder.flush_into(self.columns)
            finally:  # the place is behind what the builder holds
                builder.flush_into(self.columns)

    def _take(self, builder: _Builder, line: bytes, number: int) -> None:
        place = self._places[number]
        place.line += 1
        try:
            builder.add(line, place.offset)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._leave_out(number, error)
        place.offset += len(line)

    def _leave_out(self, number: int, error: Exception) -> None:
        self._left_out[number] += 1
        if self._left_out[number] == 1:
            place = f"{self.sources[number].run}, {self.sources[number].name}: line {self._places[number].line}"
            self.notes.append(f"{place}: {type(error).__name__}: {error}; expected a row as 'earshot eval' writes it")

    def read(self, rows: Sequence[int]) -> list[dict[str, Any] | None]:
        """The rows of the file; None where it no longer holds them."""
        columns = self.columns.snapshot()
        found: list[dict[str, Any] | None] = [None] * len(rows)
        by_source: dict[int, list[int]] = {}
        for position, row in enumerate(rows):
            by_source.setdefault(int(columns["source"][row]), []).append(position)
        for number, positions in by_source.items():
            try:
                with self.sources[number].path.open("rb") as file:
                    for position in positions:
                        found[position] = self._read_one(file, columns, rows[position])
            except OSError:
                continue
        return found

    def _read_one(self, file: Any, columns: Mapping[str, np.ndarray], row: int) -> dict[str, Any] | None:
        file.seek(int(columns["offset"][row]))
        value = parse_jsonl_line(file.readline())
        # Another file may stand there by now, in which another row begins at this byte.
        same = isinstance(value, dict) and hash_of(str(value.get("id"))) == int(columns["pair_hash"][row])
        return value if isinstance(value, dict) and same else None

    def search(self, text: str, start: int, stop: int) -> np.ndarray:
        """Which of the rows from `start` to before `stop` have the text in their id, prompt, traces or names."""
        columns = self.columns.snapshot()
        needle, hits = text.lower(), np.zeros(stop - start, bool)
        for number, source in enumerate(self.sources):
            rows = np.flatnonzero((columns["source"][start:stop] == number) & columns["alive"][start:stop])
            if rows.size:
                offsets = columns["offset"][start:stop][rows]
                found = _lines_with(source, needle, int(offsets.min()), int(offsets.max()))
                hits[rows[np.isin(offsets, np.fromiter(found, np.int64))]] = True
        return hits


def _lines_with(source: Source, needle: str, first: int, last: int) -> Iterator[int]:
    """The offsets, from `first` to `last`, of the lines whose text holds the needle, which is in lower case."""
    # Most lines are ruled out by the longest part that JSON writes as it is, whatever writer it was.
    plain = max(re.findall(r"[a-z0-9 .,;:_-]+", needle), key=len, default="").encode()
    try:
        file = source.path.open("rb")
    except OSError:
        return
    with file:
        file.seek(first)
        offset = first
        for line in file:
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

    def __init__(self, source: int) -> None:
        self._source = source
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
        samples = row["samples"]
        p_first, forward, swapped = (_p(row[name]) for name in ("p_first", "p_first_forward", "p_first_swapped"))
        malformed = any(sample["malformed"] is not None for sample in samples)
        gaps = listener_gaps(samples)
        self._rows.append(
            (
                outcome(side_of_people(row), p_first),
                malformed,
                hash_of(str(row["id"])),
                is_flip(forward, swapped),
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
        values["source"] = np.full(len(self._rows), self._source)
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


def side_of_people(row: Mapping[str, Any]) -> str | None:
    """`first` or `second`: the publisher's own verdict, and where there is none the majority's; None for no side."""
    if row.get("label") is not None:
        return row["label"] if row["label"] in ("first", "second") else None
    votes = row["votes_first"] - row["votes_second"]
    return None if votes == 0 else "first" if votes > 0 else "second"


def outcome(side: str | None, p_first: float) -> int:
    """RIGHT, WRONG or OPEN; a pair without a p_first, or with exactly 0.5, is on no side and wrong (see `metrics`)."""
    if side is None:
        return OPEN
    return RIGHT if (p_first > 0.5 if side == "first" else p_first < 0.5) else WRONG


def is_flip(forward: float, swapped: float) -> bool:
    """Whether the two orders were judged to different sides; exactly 0.5 is on no side and so not consistent."""
    if math.isnan(forward) or math.isnan(swapped):
        return False
    return not (forward - 0.5) * (swapped - 0.5) > 0


def differs(side: str | None, p_listener: float | None) -> bool:
    """Whether a listener is not on a verdict's side; at exactly 0.5 it is on none and so differs."""
    return (
        side is not None and p_listener is not None and not (p_listener > 0.5 if side == "first" else p_listener < 0.5)
    )


def listener_gaps(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By listener, the widest |p_reasoner - p_listener| among the samples in which they are on different sides."""
    gaps: dict[str, float] = {}
    for sample in samples:
        side, p_reasoner = sample["side"], sample["p_first"]
        for name, p in (sample.get("listener") or {}).items():
            if differs(side, p):
                own = float(side == "first") if p_reasoner is None else p_reasoner
                gaps[name] = max(gaps.get(name, 0.0), abs(own - _p(p)))
    return gaps
