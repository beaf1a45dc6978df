"""Plots: named for screen readers, in the page's ink, with ids of their own and no text of users."""

import re
from typing import Any

import numpy as np

from earshot.metrics.calibration import reliability_bins
from earshot.metrics.selective import RiskCoverage
from earshot.metrics.slices import by_disagreement
from earshot.report.drawing import COLOURS, draw, numbered, percent_axis
from earshot.report.plots import (
    FEWEST_ANSWERED,
    MOST_POINTS,
    curve_of,
    disagreement_chart,
    distances,
    reliability_chart,
    risk_chart,
    thinned_curve,
)
from earshot.types import Estimate
from tests.report.runs import row, table


def charts() -> list[object]:
    predictions = table([row(f"p{i}", (i % 10) / 10, heard={"<b>zebra</b>": 0.3}) for i in range(40)])
    bins = reliability_bins(predictions.p_first, np.full(40, 0.75), predictions.cluster, resamples=50)
    line = (0, distances(by_disagreement(predictions, "<b>zebra</b>")))
    curve = curve_of(predictions)
    assert curve is not None
    return [reliability_chart(bins, 0), risk_chart([(0, curve)]), disagreement_chart([line])]


def test_every_chart_is_named_and_takes_the_pages_ink():
    for chart in charts():
        assert chart.svg.startswith('<svg role="img"')
        assert f"<title id={re.search('aria-labelledby=(.*?)-t ', chart.svg)[1]}-t" in chart.svg
        assert "<desc" in chart.svg
        assert "currentColor" in chart.svg
        assert "#010203" not in chart.svg
        assert "zebra" not in chart.svg
        assert not re.search("<(metadata|style|script|a |image)| style=", chart.svg)


def test_ids_are_used_and_not_shared_between_charts():
    seen: set[str] = set()
    for chart in [
        *charts(),
        draw(lambda axes: axes.plot([1, 2]), "a", "b"),
        draw(lambda axes: axes.plot([2]), "a", "b"),
    ]:
        svg = numbered(chart.svg, len(seen))
        ids = set(re.findall(r' id="([^"]*)"', svg))
        used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg)) | set(
            re.search('aria-labelledby="(.*?)"', svg)[1].split()
        )
        assert ids == used
        assert not ids & seen
        seen |= ids


def test_a_title_is_text():
    chart = draw(lambda axes: None, "a < b & c", '"meaning"')
    assert "<title" in chart.svg
    assert "a &lt; b &amp; c" in chart.svg


def test_bins_of_distance_stand_at_their_middle():
    predictions = table([row("a", 0.9, heard={"l": 0.85}), row("b", 0.1, heard={"l": 0.9})])
    points = distances(by_disagreement(predictions, "l"))
    # |0.85 - 0.9| = 0.05 is in the first tenth, |0.9 - 0.1| = 0.8 in the eighth; agreeing and not are no distances.
    assert [(round(x, 2), e.value) for x, e in points] == [(0.05, 1.0), (0.75, 0.0)]


def test_a_line_without_points_or_intervals_is_drawn():
    assert "<svg" in disagreement_chart([(0, [])]).svg
    assert "<svg" in disagreement_chart([(0, [(0.1, Estimate(0.5, None, None, 1)), (0.2, Estimate.missing())])]).svg


def test_a_risk_curve_begins_with_a_few_pairs_and_keeps_its_end():
    n = 1_000
    curve = RiskCoverage(np.arange(1, n + 1) / n, np.linspace(0, 0.4, n))
    thin = thinned_curve(curve, n)
    assert len(thin.coverage) == MOST_POINTS
    assert thin.coverage[0] == FEWEST_ANSWERED / n
    assert (thin.coverage[-1], thin.risk[-1]) == (1.0, 0.4)
    short = RiskCoverage(np.array([0.5, 1.0]), np.array([0.0, 0.5]))
    assert thinned_curve(short, 2).coverage.tolist() == [1.0]  # both pairs are the few


def test_without_a_majority_there_is_no_risk_curve():
    assert curve_of(table([row("a", 0.9, (2, 2))])) is None


def test_colours_stand_out_on_white_and_on_near_black():
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colour in COLOURS:
        for paper in ("#ffffff", "#f5f6f8", "#15181c", "#1e2228"):
            low, high = sorted((luminance(colour), luminance(paper)))
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, paper)


def test_no_two_labels_of_a_share_are_the_same() -> None:
    def plot(axes: Any) -> None:
        axes.set_ylim(0.0, 0.04)
        axes.set_yticks([0.0, 0.005, 0.01, 0.015, 0.07])
        percent_axis(axes.yaxis)

    labels = re.findall(r">([^<>]+ %)<", draw(plot, "a", "b").svg)
    assert labels == ["0 %", "0.5 %", "1 %", "1.5 %", "7 %"]
