"""Plots of what runs are worth on one test set: calibration, selective answering, and the listener's disagreement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from earshot.metrics import PredictionTable
from earshot.metrics.calibration import ReliabilityBin
from earshot.metrics.selective import RiskCoverage, confidence_of, risk_coverage
from earshot.metrics.slices import Slice
from earshot.predictions import sides
from earshot.report.drawing import INK, Chart, draw, line_options, percent_axis
from earshot.types import Estimate

MOST_POINTS = 200
"""Of a risk–coverage curve: a chart is some 400 pixels wide."""
FEWEST_ANSWERED = 5
"""The curve begins where so many pairs are answered; the error among fewer is one pair's or none."""

RELIABILITY_MEANING = (
    "mean share of the votes against the mean prediction in a bin; dashed, the diagonal of perfect calibration; "
    "grey, how many pairs a bin has; hollow, a bin of one prompt"
)


Points: TypeAlias = Sequence[tuple[float, Estimate]]


def reliability_chart(bins: Sequence[ReliabilityBin], index: int) -> Chart:
    """Share of votes against prediction, with the diagonal on which a calibrated reasoner lies."""
    total = sum(b.share.n for b in bins)
    points = [(b.mean_p, b.share) for b in bins if b.mean_p is not None]

    def plot(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.6)
        widths = [(b.low + b.high) / 2 for b in bins]
        axes.bar(widths, [0.3 * b.share.n / total for b in bins], width=1 / len(bins) * 0.9, color=INK, alpha=0.13)
        _dots(axes, index, points, joined=False)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted p(first)", ylabel="share of votes for first")

    filled = sum(b.share.n > 0 for b in bins)
    size = f"{total:,} pairs with votes in {filled} bins of {len(bins)}"
    return draw(plot, "Reliability", f"{RELIABILITY_MEANING}; {size}")


def risk_chart(curves: Sequence[tuple[int, RiskCoverage]]) -> Chart:
    """Error among the answered pairs against the share of pairs that are answered, the surest first."""

    def plot(axes: Any) -> None:
        for index, curve in curves:
            axes.plot(curve.coverage, curve.risk, linewidth=1.6, **line_options(index))
        low, high = axes.get_ylim()
        axes.set(xlim=(-0.02, 1.02), ylim=(min(low, 0.0), max(high, 0.05)))
        axes.set(xlabel="share of pairs answered, surest first", ylabel="error among them")
        percent_axis(axes.xaxis)
        percent_axis(axes.yaxis)

    meaning = "how often the answer is wrong when only the surest pairs are answered; a good reasoner's line falls "
    return draw(plot, "Risk and coverage", meaning + "to the left")


def disagreement_chart(lines: Sequence[tuple[int, Points]]) -> Chart:
    """Accuracy of completions against how far the listener is from the reasoner: the paper's own figure.

    Args:
        lines: Each with the place of its run in the report, which gives the colour.
    """

    def plot(axes: Any) -> None:
        axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.6)
        for number, (index, points) in enumerate(lines):
            shift = 0.012 * (number - (len(lines) - 1) / 2)
            _dots(axes, index, [(x + shift, e) for x, e in points])
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set(xlabel="|p listener − p reasoner|", ylabel="accuracy of completions")
        percent_axis(axes.yaxis)

    meaning = "accuracy of well-formed completions by how far the listener's probability is from the reasoner's"
    return draw(plot, "Accuracy against disagreement", f"{meaning}, in tenths; dashed, a coin")


def distances(slices: Sequence[Slice]) -> Points:
    """The slices by distance as points at the middle of their bins, which are tenths."""
    return [(s.high - 0.05, s.accuracy) for s in slices if s.high is not None]


def curve_of(table: PredictionTable) -> RiskCoverage | None:
    """The risk–coverage curve over the strict pairs; None without any. A pair without an answer comes last."""
    strict = table.strict
    if not strict.any():
        return None
    right = sides.right(table.p_first, table.people)[strict]
    return thinned_curve(risk_coverage(confidence_of(table.p_first[strict]), right), int(strict.sum()))


def thinned_curve(curve: RiskCoverage, n: int) -> RiskCoverage:
    """At most `MOST_POINTS` of a curve over n pairs, its last among them, from where a few pairs are answered."""
    enough = np.flatnonzero(curve.coverage * n >= min(FEWEST_ANSWERED, n) - 1e-9)
    few: Float[np.ndarray, " k"] = np.linspace(0, len(enough) - 1, min(MOST_POINTS, len(enough)))
    at = enough[np.unique(np.rint(few).astype(int))]
    return RiskCoverage(curve.coverage[at], curve.risk[at])


def _dots(axes: Any, index: int, points: Points, *, joined: bool = True) -> None:
    """Values with their intervals; hollow where there is none, as of a single prompt."""
    style = line_options(index)
    colour = style["color"]
    known = [(x, e.value, e.low, e.high) for x, e in points if e.value is not None]
    if joined:
        axes.plot([x for x, *_ in known], [y for _, y, *_ in known], linewidth=1.0, alpha=0.7, **style)
    for x, y, low, high in known:
        sure = low is not None and high is not None
        if sure:
            axes.plot([x, x], [low, high], color=colour, linewidth=1.4, solid_capstyle="round")
        axes.plot([x], [y], "o", color=colour, markersize=3.8, markerfacecolor=colour if sure else "none")
