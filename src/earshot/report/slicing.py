"""Accuracy by slice and generators by rank, as rows of dots with intervals beside their numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

from earshot.errors import DataError
from earshot.metrics import PredictionTable
from earshot.metrics.ranking import RANKING_RESAMPLES, Generator, Ranking, RankingComparison, compare_rankings
from earshot.metrics.slices import (
    Slice,
    by_axis,
    by_category,
    by_generators,
    by_margin,
    by_trace_length,
    hard_pairs,
    trace_length_edges,
)
from earshot.report.drawing import line_style
from earshot.report.tables import Cell, format_estimate
from earshot.types import Estimate

MOST_ROWS = 15
MOST_GENERATORS = 30
"""Beyond these a ranking takes longer than anyone waits, and is longer than anyone reads."""


class Slicing(NamedTuple):
    """What pairs or completions are told apart by."""

    title: str
    meaning: str
    slices: Callable[[PredictionTable], list[Slice]]
    fewest: int
    """Fewer slices are not shown: votes of one person are all unanimous, and tell nothing apart."""


def slicings(tables: Sequence[PredictionTable]) -> list[Slicing]:
    """All there are; traces are told apart by lengths that the tables share."""
    by_length = partial(by_trace_length, edges=trace_length_edges(tables))
    return [
        Slicing("Vote margin", "|first − second| / all votes; 1 is unanimous. n counts pairs", by_margin, 2),
        Slicing(
            "Hard pairs",
            "votes at most 0.2 apart; the reasoner's side changing with the order. n counts pairs",
            hard_pairs,
            1,
        ),
        Slicing("Question asked", "what the raters were asked for. n counts pairs", by_axis, 2),
        Slicing("Category of the prompt", "the publisher's kind of prompt. n counts pairs", by_category, 2),
        Slicing("Generators compared", "which two models made the images. n counts pairs", by_generators, 1),
        Slicing(
            "Words of the trace", "fifths of the runs' completions. n counts well-formed completions", by_length, 1
        ),
    ]


class Mark(NamedTuple):
    """A dot with its interval, in percent of the width of a strip and in pixels of its height."""

    x: float
    low: float | None
    high: float | None
    y: float
    colour: str


class StripRow(NamedTuple):
    """A line of a table of dots."""

    name: str
    cells: list[Cell]
    marks: list[Mark]


class Strip(NamedTuple):
    """A table of which every line has its dots on one common scale."""

    title: str
    meaning: str
    rows: list[StripRow]
    left_out: int
    ticks: list[tuple[float, str]]
    """Percent of the width, and labels of the scale."""
    middle: float | None
    """Where an even guess or no difference lies, in percent of the width."""
    height: int


Line: TypeAlias = tuple[str, Sequence[tuple[int, Estimate]]]
"""A name and its dots, each with the place of its run in the report, which gives the colour; -1 is none's own."""

SHARES = (0.0, 1.0)
"""The scale of all slices, so that they can be held against one another."""
ROOM = 20.0
"""Percent of the width between two labels of a scale."""


def accuracy_strips(tables: Sequence[tuple[int, PredictionTable]]) -> list[Strip]:
    """A strip for each thing that some run's pairs or completions can be told apart by.

    Args:
        tables: Of the runs, each with its place in the report.
    """
    strips = []
    for by in slicings([table for _, table in tables]):
        found = [by.slices(table) for _, table in tables]
        if any(len(slices) >= by.fewest for slices in found):
            strips.append(_strip(by.title, by.meaning, [place for place, _ in tables], found))
    return strips


def _strip(title: str, meaning: str, places: Sequence[int], found: Sequence[Sequence[Slice]]) -> Strip:
    by_name = [{s.name: s.accuracy for s in slices} for slices in found]
    every = [s for slices in found for s in slices]
    if all(s.high is not None for s in every):  # a run may lack a bin that another one has
        every.sort(key=lambda s: s.high or 0.0)
    names = list(dict.fromkeys(s.name for s in every))
    lines = [
        (name, [(place, column.get(name, Estimate.missing())) for place, column in zip(places, by_name, strict=True)])
        for name in names[:MOST_ROWS]
    ]
    return strip_of(title, meaning, lines, percent=True, scale=SHARES, left_out=len(names) - len(lines))


def strip_of(
    title: str,
    meaning: str,
    lines: Sequence[Line],
    *,
    percent: bool = False,
    signed: bool = False,
    scale: tuple[float, float] | None = None,
    left_out: int = 0,
) -> Strip:
    """A table of dots.

    Args:
        title: Above it.
        meaning: Beside the title.
        lines: What it shows.
        percent: The estimates are shares, told in percent, whose middle is one half.
        signed: They are differences, whose middle is 0; on the scale in any case.
        scale: Its ends; by default whole steps around the estimates and their intervals.
        left_out: Lines that are not shown.
    """
    numbers = [v for _, dots in lines for _, e in dots for v in (e.value, e.low, e.high) if v is not None]
    low, high = scale or _around(numbers + [0.0] * signed, 0.05 if signed else 0.1 if percent else 0.5)

    def x(value: float) -> float:
        return round(4 + 92 * (value - low) / (high - low), 2)

    rows = []
    for name, dots in lines:
        marks = [
            Mark(x(e.value), None if e.low is None else x(e.low), None if e.high is None else x(e.high), 7 + 8 * i,
                 "currentColor" if place < 0 else line_style(place)[0])
            for i, (place, e) in enumerate(dots) if e.value is not None
        ]  # fmt: skip
        rows.append(StripRow(name, [format_estimate(e, percent=percent, signed=signed) for _, e in dots], marks))
    middle = 0.0 if signed or not percent else 0.5
    ends = [low, high]
    if min(x(middle) - x(low), x(high) - x(middle)) > ROOM:
        ends.insert(1, middle)
    ticks = [(x(v), _tick(v, percent=percent, signed=signed)) for v in ends]
    height = 8 * max((len(dots) for _, dots in lines), default=1) + 6
    return Strip(title, meaning, rows, left_out, ticks, x(middle) if low <= middle <= high else None, height)


def _around(numbers: Sequence[float], step: float) -> tuple[float, float]:
    """Whole steps that the numbers lie between."""
    low, high = (math.floor(min(numbers, default=0.0) / step), math.ceil(max(numbers, default=0.0) / step))
    return step * low, step * max(high, low + 1)


def _tick(value: float, *, percent: bool, signed: bool) -> str:
    if signed and percent:
        return f"{100 * value:+.0f}".replace("-", "−") if round(100 * value) else "0"
    return f"{100 * value:.0f} %" if percent else f"{value:.1f}".replace("-", "−")


class RankingView(NamedTuple):
    """The generators as people rank them and as the runs do."""

    places_of_runs: list[int]
    """In the report, of the runs that could be ranked by."""
    ranks: dict[str, list[str]]
    """By generator, among people and in each run."""
    strip: Strip
    agreement: list[tuple[Cell, Cell]]
    """For each run, Kendall's tau-b and Spearman's rho of its ranking with people's."""
    notes: list[str]


def ranking_view(tables: Sequence[tuple[int, str, PredictionTable]]) -> tuple[RankingView | None, str | None]:
    """People's ranking of the generators beside each run's; or why there is none.

    Args:
        tables: Index, name and predictions of each run on one test set.
    """
    named = {name for _, _, t in tables for name in t.models}
    if len(named) < 2:
        return None, "the pairs do not name the generators of their images"
    if len(named) > MOST_GENERATORS:
        return None, f"{len(named)} generators are more than the {MOST_GENERATORS} that are ranked here"
    compared: list[tuple[int, str, RankingComparison]] = []
    notes = []
    for index, run, table in tables:
        try:
            compared.append((index, run, _compared(table)))
        except DataError as error:
            notes.append(f"{run}: {error}")
    if not compared:
        return None, "; ".join(dict.fromkeys(note.partition(": ")[2] for note in notes))
    for _, run, one in compared:
        if infinite := max(one.people.n_disconnected, one.reasoner.n_disconnected):
            notes.append(
                f"{run}: {infinite} of {RANKING_RESAMPLES} resamples, in which some generators never lost to the others"
            )
    people = compared[0][2].people
    rankings: list[Ranking] = [people, *(c.reasoner for _, _, c in compared)]
    places = [{g.name: g for g in ranking.generators} for ranking in rankings]
    names = [g.name for g in people.generators]
    indices = [-1, *(index for index, _, _ in compared)]
    lines = [
        (name, [(index, by[name].strength if name in by else Estimate.missing())
                for index, by in zip(indices, places, strict=True)])
        for name in names
    ]  # fmt: skip
    meaning = (
        "Bradley–Terry strength in log-odds against the average generator; ranks with 95 % intervals. n counts pairs"
    )
    strip = strip_of("Strength", meaning, lines)
    agreement = [
        (format_estimate(c.kendall, percent=False), format_estimate(c.spearman, percent=False)) for _, _, c in compared
    ]
    ranks = {name: [_rank(by.get(name)) for by in places] for name in names}
    return RankingView([index for index, _, _ in compared], ranks, strip, agreement, notes), None


def _compared(table: PredictionTable) -> RankingComparison:
    use = (table.model_first >= 0) & (table.model_second >= 0) & table.voted
    first, second = ([table.models[code] for code in codes[use]] for codes in (table.model_first, table.model_second))
    return compare_rankings(first, second, table.share[use], table.p_first[use], table.cluster[use])


def _rank(generator: Generator | None) -> str:
    if generator is None:
        return "–"
    rank, low, high = generator.rank, generator.rank_low, generator.rank_high
    return f"{rank}" if low is None or (low == high == rank) else f"{rank} ({low} to {high})"
