"""One test set as the page shows it: the runs' numbers side by side, their differences, plots, slices and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from earshot.benchmarks.protocols import PROTOCOLS
from earshot.metrics import PredictionTable, read_estimate
from earshot.metrics.blind import warnings_of
from earshot.metrics.calibration import ReliabilityBin, reliability_bins
from earshot.metrics.slices import SLICE_RESAMPLES, by_disagreement
from earshot.predictions.run import Evaluation
from earshot.report.calibrating import Calibrated, Fitted, calibrated
from earshot.report.comparing import Difference, NamedTable, Pooled, differences, pooled
from earshot.report.drawing import Chart
from earshot.report.examples import Chooser, Example, with_pairs
from earshot.report.plots import (
    RELIABILITY_MEANING,
    curve_of,
    disagreement_chart,
    disagreement_line,
    reliability_chart,
    risk_chart,
)
from earshot.report.slicing import RankingView, Strip, accuracy_strips, ranking_view, strip_of
from earshot.report.tables import Cell, Row, estimate_rows, format_estimate, quantity_of, summary_rows
from earshot.types import Estimate

COUNTS = ("n_pairs", "n_ties", "n_samples", "n_malformed", "n_listener_missing", "n_refused")


class Member(NamedTuple):
    """A run on the test set; its place in the report gives the colour."""

    place: int
    run: str
    evaluation: Evaluation
    table: PredictionTable | None
    examples: Mapping[str, list[Example]]
    fault: str | None
    """Why the examples have no pictures."""


class DifferenceRow(NamedTuple):
    """A quantity's differences; `clear` says of each whether its interval leaves 0 out."""

    row: Row
    clear: list[bool]


class ProtocolRow(NamedTuple):
    """A published metric of several runs."""

    name: str
    rules: str
    cells: list[Cell]
    counts: str


class PooledView(NamedTuple):
    """An arm's seeds together."""

    arm: str
    runs: list[str]
    means: list[Row]
    against: str | None
    differences: list[DifferenceRow]


class ReliabilityView(NamedTuple):
    run: str
    chart: Chart
    bins: list[ReliabilityBin]


class DisagreementView(NamedTuple):
    listener: str
    chart: Chart
    sides: Strip
    """Where the listener agrees and where it does not."""


class Analysis(NamedTuple):
    """What is computed from predictions, and a line for each thing that could not be."""

    differences: list[Difference]
    difference_rows: list[DifferenceRow]
    first: str
    pooled: list[PooledView]
    reliability: list[ReliabilityView]
    reliability_meaning: str
    temperatures: list[tuple[Calibrated, list[Cell]]]
    risk: Chart | None
    disagreement: list[DisagreementView]
    strips: list[Strip]
    ranking: RankingView | None
    absent: dict[str, list[str]]
    """By section, why something is not there."""


class SetView(NamedTuple):
    """One test set."""

    name: str
    members: list[Member]
    read: list[Member]
    """Those whose predictions are there; the columns of all that is computed from them."""
    counts: list[dict[str, int]]
    headline: list[Row]
    more: list[Row]
    calibration: list[Row]
    selective: list[Row]
    ceiling: bool
    warnings: list[tuple[str, str]]
    protocols: list[ProtocolRow]
    analysis: Analysis


def test_sets(evaluations: Sequence[Evaluation]) -> list[tuple[str, list[Evaluation]]]:
    """The evaluations by test set, those called `test…` first; of one set in the order of the runs."""
    ordered = sorted(evaluations, key=_set_order)
    return [(name, list(group)) for name, group in groupby(ordered, key=lambda e: e.set_name)]


def _set_order(evaluation: Evaluation) -> tuple[bool, str]:
    return not evaluation.set_name.startswith("test"), evaluation.set_name


def read_member(evaluation: Evaluation, index: int) -> Member:
    """A run's predictions on the set and its examples, in one pass over the file.

    Raises:
        DataError: The predictions are not what `earshot eval` writes.
    """
    if not evaluation.files():
        return Member(index, evaluation.run, evaluation, None, {}, None)
    chooser = Chooser()
    table = evaluation.table(chooser.passing)
    examples, fault = with_pairs(chooser.chosen(), evaluation.data_folder)
    return Member(index, evaluation.run, evaluation, table, examples, fault)


def set_view(name: str, members: Sequence[Member], fitted: Mapping[str, Fitted | str]) -> SetView:
    """Everything the page shows of a test set, but for its examples."""
    metrics = [m.evaluation.metrics for m in members]
    rows = summary_rows(metrics)
    by_place: dict[str, list[Row]] = {}
    for row in rows:
        if found := quantity_of(row.key):
            by_place.setdefault(found[0].place, []).append(row)
    return SetView(
        name=name,
        members=list(members),
        read=[m for m in members if m.table is not None],
        counts=[{key: count_of(m, key) for key in COUNTS} for m in metrics],
        headline=by_place.get("headline", []),
        more=by_place.get("more", []),
        calibration=[row for row in by_place.get("more", []) if row.key in ("brier", "ece", "nll")]
        + by_place.get("calibration", []),
        selective=by_place.get("selective", []),
        ceiling=any(read_estimate(m, "ceiling.leave_one_out").n for m in metrics),
        warnings=[(member.run, text) for member in members for text in warnings_of(member.evaluation.metrics)],
        protocols=protocol_rows(metrics),
        analysis=analyse(members, fitted),
    )


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


def analyse(members: Sequence[Member], fitted: Mapping[str, Fitted | str]) -> Analysis:
    """What predictions tell beyond metrics.json."""
    judged = [(m.place, NamedTable(m.run, m.table)) for m in members if m.table is not None]
    without = [m.run for m in members if m.table is None]
    absent: dict[str, list[str]] = {}
    if without:
        absent["results"] = [
            f"predictions.jsonl is not there, so there are no plots and examples: {', '.join(without)}"
        ]
    gaps = differences([j for _, j in judged]) if len(judged) > 1 else []
    absent.setdefault("results", []).extend(f"{gap.run} is not compared: {gap.fault}" for gap in gaps if gap.fault)
    seeds, seeds_fault = pooled([j for _, j in judged])
    if seeds_fault:
        absent["results"].append(seeds_fault)
    reliability = [_reliability(index, j, absent) for index, j in judged]
    temperatures = [_temperature(j, fitted, absent) for _, j in judged]
    curves = [(index, curve) for index, j in judged if (curve := curve_of(j.table)) is not None]
    if judged and not curves:
        absent.setdefault("selective", []).append("no pair has a majority, so there is no risk–coverage curve")
    ranking, ranking_fault = ranking_view([(i, j.run, j.table) for i, j in judged]) if judged else (None, None)
    if ranking_fault:
        absent["ranking"] = [f"no ranking of generators: {ranking_fault}"]
    heard = _disagreement(judged)
    if judged and not heard:
        absent["disagreement"] = ["no listener was heard, so there is nothing to hold accuracy against"]
    return Analysis(
        differences=[gap for gap in gaps if not gap.fault],
        difference_rows=difference_rows([gap.estimates for gap in gaps if not gap.fault]),
        first=judged[0][1].run if judged else "",
        pooled=[_pooled_view(arm) for arm in seeds],
        reliability=[view for view in reliability if view is not None],
        reliability_meaning=RELIABILITY_MEANING,
        temperatures=[found for found in temperatures if found is not None],
        risk=risk_chart(curves) if curves else None,
        disagreement=heard,
        strips=accuracy_strips([(i, j.table) for i, j in judged]),
        ranking=ranking,
        absent=absent,
    )


def difference_rows(columns: Sequence[Mapping[str, Estimate]]) -> list[DifferenceRow]:
    """A row for each quantity that can be compared, with what is clear of chance."""
    return [
        DifferenceRow(row, [is_clear(column.get(row.key)) for column in columns])
        for row in estimate_rows(columns, signed=True)
    ]


def is_clear(estimate: Estimate | None) -> bool:
    """Whether the interval leaves 0 out."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return False
    return estimate.low > 0 or estimate.high < 0


def _pooled_view(arm: Pooled) -> PooledView:
    gaps = difference_rows([arm.differences]) if arm.differences else []
    means = {key: within_range(key, estimate) for key, estimate in arm.means.items()}
    return PooledView(arm.arm, arm.runs, estimate_rows([means]), arm.against, gaps)


def within_range(key: str, estimate: Estimate) -> Estimate:
    """The estimate with its interval cut to what the quantity can be: with two seeds t reaches far beyond it."""
    found = quantity_of(key)
    if estimate.low is None or estimate.high is None or found is None:
        return estimate
    high = min(estimate.high, 1.0) if found[0].percent else estimate.high
    return Estimate(estimate.value, max(estimate.low, 0.0), high, estimate.n)


def _reliability(index: int, judged: NamedTable, absent: dict[str, list[str]]) -> ReliabilityView | None:
    table, voted = judged.table, judged.table.voted
    if not voted.any():
        absent.setdefault("calibration", []).append(f"{judged.run}: no pair has both votes and an answer")
        return None
    p, share, clusters = table.p_first[voted], table.share[voted], table.cluster[voted]
    bins = reliability_bins(p, share, clusters, resamples=SLICE_RESAMPLES)
    return ReliabilityView(judged.run, reliability_chart(bins, index), [b for b in bins if b.share.n])


def _temperature(
    judged: NamedTable, fitted: Mapping[str, Fitted | str], absent: dict[str, list[str]]
) -> tuple[Calibrated, list[Cell]] | None:
    found = fitted[judged.run]
    if isinstance(found, str):
        absent.setdefault("temperature", []).append(found)
        return None
    told = calibrated(judged.run, judged.table, found)
    if told is None:
        return None
    cells = [
        format_estimate(e[key], percent=False) for key in ("nll", "ece", "brier") for e in (told.before, told.after)
    ]
    return told, cells


def _disagreement(judged: Sequence[tuple[int, NamedTable]]) -> list[DisagreementView]:
    views = []
    for listener in sorted({name for _, j in judged for name in j.table.listeners}):
        found = [(index, by_disagreement(j.table, listener)) for index, j in judged]
        heard = [(index, slices) for index, slices in found if slices]
        if not heard:
            continue
        chart = disagreement_chart([disagreement_line(index, slices) for index, slices in heard])
        sides = ["agrees", "disagrees"]
        rows = [[_named(slices, side) for _, slices in found] for side in sides]
        words = ["it agrees with the verdict", "it does not"]
        strip = strip_of("", "", [index for index, _ in found], words, rows, share=True)
        views.append(DisagreementView(listener, chart, strip))
    return views


def _named(slices: Sequence[Any], name: str) -> Estimate:
    return next((s.accuracy for s in slices if s.name == name), Estimate.missing())
