"""One test set as the page shows it: the runs' numbers side by side, their differences, plots, slices and examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from earshot.benchmarks.protocols import PROTOCOLS
from earshot.metrics import PredictionTable, read_estimate
from earshot.metrics.blind import warnings_of
from earshot.metrics.calibration import ReliabilityBin, reliability_bins
from earshot.metrics.slices import SLICE_RESAMPLES, Slice, by_disagreement
from earshot.predictions.facts import Row as Prediction
from earshot.predictions.run import Evaluation
from earshot.report.calibrating import Calibrated, Fitted, calibrated
from earshot.report.comparing import Difference, Pooled, differences, pooled, shown_difference
from earshot.report.drawing import Chart
from earshot.report.examples import Chooser, find_pairs
from earshot.report.plots import (
    curve_of,
    disagreement_chart,
    distances,
    reliability_chart,
    risk_chart,
)
from earshot.report.slicing import SHARES, RankingView, Strip, accuracy_strips, ranking_view, strip_of
from earshot.report.tables import Cell, Row, format_estimate, label_of, summary_rows
from earshot.types import Estimate, Pair
from earshot.world.ceilings import ceiling_line

COUNTS = ("n_pairs", "n_ties", "n_samples", "n_malformed", "n_listener_missing", "n_refused")


class Member(NamedTuple):
    """A run's predictions on a test set, and the examples among them."""

    place: int
    run: str
    evaluation: Evaluation
    table: PredictionTable | None
    examples: Mapping[str, list[Prediction]]
    """By the title of their rule."""
    pairs: Mapping[str, Pair]
    """Those of the examples, by id."""
    fault: str | None
    """Why the examples have no pictures."""


class Head(NamedTuple):
    """A run at the head of a column; its place in the report gives the colour."""

    place: int
    run: str


class Judged(NamedTuple):
    """A run whose predictions are there."""

    place: int
    run: str
    table: PredictionTable


class Answer(NamedTuple):
    """What a report says first of a test set: who is right most often, and by how much."""

    best: str
    accuracy: Cell
    rivals: list[tuple[str, Cell]]
    """The others on the same pairs, and how far it is ahead of each."""
    blind: tuple[str, Cell] | None
    """The judge that does best without seeing anything."""
    levels: Strip
    gaps: Strip | None
    shown: str | None
    """What difference so many pairs show, in points."""


class ProtocolRow(NamedTuple):
    """A published metric of several runs."""

    name: str
    rules: str
    cells: list[Cell]
    counts: str


class ReliabilityView(NamedTuple):
    run: str
    chart: Chart
    bins: list[ReliabilityBin]


class DisagreementView(NamedTuple):
    listener: str
    chart: Chart
    sides: Strip
    """Where the listener agrees and where it does not."""


class SetView(NamedTuple):
    """One test set; what is computed from predictions, and a line for each thing that could not be."""

    name: str
    answer: Answer | None
    members: list[Head]
    read: list[Head]
    """Those whose predictions are there; the columns of all that is computed from them."""
    counts: list[dict[str, int]]
    headline: list[Row]
    more: list[Row]
    calibration: list[Row]
    selective: list[Row]
    ceiling: bool
    at_most: str | None
    """What anybody could reach, of a set of the world (`earshot.world.ceilings`)."""
    warnings: list[tuple[str, str]]
    protocols: list[ProtocolRow]
    differences: list[Difference]
    pooled: list[Pooled]
    pooled_differences: list[Difference]
    reliability: list[ReliabilityView]
    temperatures: list[tuple[Calibrated, list[Cell]]]
    risk: Chart | None
    disagreement: list[DisagreementView]
    strips: list[Strip]
    ranking: RankingView | None
    absent: dict[str, list[str]]
    """By section, why something is not there."""


def test_sets(evaluations: Sequence[Evaluation]) -> list[tuple[str, list[Evaluation]]]:
    """The evaluations by test set, those called `test…` first; of one set in the order of the runs."""
    ordered = sorted(evaluations, key=lambda e: (not e.set_name.startswith("test"), e.set_name))
    return [(name, list(group)) for name, group in groupby(ordered, key=lambda e: e.set_name)]


def read_member(evaluation: Evaluation, index: int) -> Member:
    """A run's predictions on the set and its examples, in one pass over the file.

    Raises:
        DataError: The predictions are not what `earshot eval` writes.
    """
    if not evaluation.files():
        return Member(index, evaluation.run, evaluation, None, {}, {}, None)
    chooser = Chooser()
    table = evaluation.table(chooser.passing)
    examples = chooser.chosen()
    pairs, fault = find_pairs(evaluation.data_folder, {str(row["id"]) for rows in examples.values() for row in rows})
    return Member(index, evaluation.run, evaluation, table, examples, pairs, fault)


def set_view(name: str, members: Sequence[Member], fitted: Mapping[str, Fitted | str]) -> SetView:
    """Everything the page shows of a test set, but for its examples."""
    metrics = [m.evaluation.metrics for m in members]
    rows = summary_rows(metrics)
    judged = [Judged(m.place, m.run, m.table) for m in members if m.table is not None]
    tables = {j.run: j.table for j in judged}
    absent: defaultdict[str, list[str]] = defaultdict(list)
    if without := [m.run for m in members if m.table is None]:
        absent["results"].append(
            f"predictions.jsonl is not there, so there are no plots and examples: {', '.join(without)}"
        )
    gaps = differences(tables)
    absent["results"] += [f"{gap.run} is not compared with {gap.against}: {gap.fault}" for gap in gaps if gap.fault]
    gaps = [gap for gap in gaps if not gap.fault]
    seeds, seed_gaps, seeds_fault = pooled(tables)
    if seeds_fault:
        absent["results"].append(seeds_fault)
    curves = [(j.place, curve) for j in judged if (curve := curve_of(j.table)) is not None]
    if judged and not curves:
        absent["selective"].append("no pair has a majority, so there is no risk–coverage curve")
    ranking, ranking_fault = ranking_view(judged) if judged else (None, None)
    if ranking_fault:
        absent["ranking"].append(f"no ranking of generators: {ranking_fault}")
    heard = _disagreement(judged)
    if judged and not heard:
        absent["disagreement"].append("no listener was heard, so there is nothing to hold accuracy against")
    return SetView(
        name=name,
        answer=_answer(members, gaps, seeds, seed_gaps),
        members=[Head(m.place, m.run) for m in members],
        read=[Head(j.place, j.run) for j in judged],
        counts=[{key: count_of(m, key) for key in COUNTS} for m in metrics],
        headline=[row for row in rows if row.place == "headline"],
        more=[row for row in rows if row.place == "more"],
        calibration=[row for key in ("brier", "ece", "nll") for row in rows if row.key == key]
        + [row for row in rows if row.place == "calibration"],
        selective=[row for row in rows if row.place == "selective"],
        ceiling=any(read_estimate(m, "ceiling.leave_one_out").n for m in metrics),
        at_most=at_most([member.evaluation for member in members]),
        warnings=[(member.run, text) for member in members for text in warnings_of(member.evaluation.metrics)],
        protocols=protocol_rows(metrics),
        differences=gaps,
        pooled=seeds,
        pooled_differences=seed_gaps,
        reliability=[view for j in judged if (view := _reliability(j, absent)) is not None],
        temperatures=[told for j in judged if (told := _temperature(j, fitted[j.run], absent)) is not None],
        risk=risk_chart(curves) if curves else None,
        disagreement=heard,
        strips=accuracy_strips([(j.place, j.table) for j in judged]),
        ranking=ranking,
        absent=absent,
    )


def at_most(evaluations: Sequence[Evaluation]) -> str | None:
    """What anybody could reach on the set, if every dataset.json at hand calls it the same one of the world."""
    lines = {ceiling_line(evaluation.info) for evaluation in evaluations if evaluation.info}
    return lines.pop() if len(lines) == 1 else None


def _answer(
    members: Sequence[Member], gaps: Sequence[Difference], seeds: Sequence[Pooled], seed_gaps: Sequence[Difference]
) -> Answer | None:
    """Of the arms where seeds were told together, else of the runs; None where no pair has a majority."""
    place, metrics = {member.run: member.place for member in members}, members[0].evaluation.metrics
    levels = {m.run: (m.place, read_estimate(m.evaluation.metrics, "accuracy")) for m in members}
    shown = shown_difference([gap.estimates["accuracy"] for gap in gaps])
    if seeds:
        levels = {one.arm: (place[one.runs[0]], one.means["accuracy"]) for one in seeds}
        gaps, shown = seed_gaps, None  # whose intervals are over seeds too
    known = {run: level for run, level in levels.items() if level[1].value is not None}
    if not known:
        return None
    best = max(known, key=lambda run: known[run][1].value or 0.0)
    rivals = {
        gap.against if gap.run == best else gap.run: _ahead(gap, best)
        for gap in gaps if best in (gap.run, gap.against)
    }  # fmt: skip
    blind = [(key, read_estimate(metrics, key)) for key in metrics if key.startswith("blind.")]
    sightless = max(blind, key=lambda one: one[1].value or 0.0, default=None)
    lines = [(f"{g.run} − {g.against}", [(-1, g.estimates["accuracy"])]) for g in gaps]
    return Answer(
        best,
        format_estimate(known[best][1], percent=True),
        [(run, format_estimate(gap, percent=True, signed=True)) for run, gap in rivals.items()],
        None if sightless is None else (label_of(sightless[0]), format_estimate(sightless[1], percent=True)),
        strip_of("", "", [(run, [level]) for run, level in known.items()], percent=True),
        strip_of("", "", lines, percent=True, signed=True) if lines else None,
        None if shown is None else f"{100 * shown:.1f}",
    )


def _ahead(gap: Difference, run: str) -> Estimate:
    """How far the run is ahead of the other one of a difference."""
    found = gap.estimates["accuracy"]
    if gap.run == run or found.value is None:
        return found
    low, high = (None if end is None else -end for end in (found.high, found.low))
    return Estimate(-found.value, low, high, found.n)


def count_of(metrics: Mapping[str, Any], key: str) -> int:
    value = metrics.get(key)
    return int(value) if isinstance(value, int | float) else 0


def protocol_rows(metrics: Sequence[Mapping[str, Any]]) -> list[ProtocolRow]:
    """The published metrics that some run was measured by, with their rules."""
    keys = sorted({key for m in metrics for key in m if key.startswith("protocol.")})
    rows = []
    for key in keys:
        name = key.removeprefix("protocol.")
        known = PROTOCOLS.get(name)
        rules = "" if known is None else f"{known.source}. Ties: {known.ties}. No answer: {known.missing}"
        record: Mapping[str, Any] = next((m[key] for m in metrics if isinstance(m.get(key), Mapping)), {})
        parts = [f"{record[f'n_{w}']:,} {w}" for w in ("pairs", "ties", "missing") if record.get(f"n_{w}") is not None]
        if record.get("threshold") is not None:
            parts.append(f"equal up to {record['threshold']:g}")
        cells = [format_estimate(read_estimate(m, key), percent=True) for m in metrics]
        rows.append(ProtocolRow(name, rules, cells, ", ".join(parts)))
    return rows


def _reliability(judged: Judged, absent: dict[str, list[str]]) -> ReliabilityView | None:
    table, voted = judged.table, judged.table.voted
    if not voted.any():
        absent["calibration"].append(f"{judged.run}: no pair has both votes and an answer")
        return None
    p, share, clusters = table.p_first[voted], table.share[voted], table.cluster[voted]
    bins = reliability_bins(p, share, clusters, resamples=SLICE_RESAMPLES)
    return ReliabilityView(judged.run, reliability_chart(bins, judged.place), [b for b in bins if b.share.n])


def _temperature(
    judged: Judged, fitted: Fitted | str, absent: dict[str, list[str]]
) -> tuple[Calibrated, list[Cell]] | None:
    if isinstance(fitted, str):
        absent["temperature"].append(fitted)
        return None
    told = calibrated(judged.run, judged.table, fitted)
    if told is None:
        return None
    cells = [
        format_estimate(e[key], percent=False) for key in ("nll", "ece", "brier") for e in (told.before, told.after)
    ]
    return told, cells


def _disagreement(judged: Sequence[Judged]) -> list[DisagreementView]:
    views = []
    places = [j.place for j in judged]
    for listener in sorted({name for j in judged for name in j.table.listeners}):
        found = [by_disagreement(j.table, listener) for j in judged]
        lines = [(place, distances(slices)) for place, slices in zip(places, found, strict=True) if slices]
        if not lines:
            continue
        sides = [
            (words, [(place, _named(slices, side)) for place, slices in zip(places, found, strict=True)])
            for words, side in (("it agrees with the verdict", "agrees"), ("it does not", "disagrees"))
        ]
        strip = strip_of("", "", sides, percent=True, scale=SHARES)
        views.append(DisagreementView(listener, disagreement_chart(lines), strip))
    return views


def _named(slices: Sequence[Slice], name: str) -> Estimate:
    return next((s.accuracy for s in slices if s.name == name), Estimate.missing())
