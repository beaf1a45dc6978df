"""Training curves as SVG that takes its ink from the page, so that it reads on light and on dark."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from earshot.report.reading import Curve, RunReading

COLOURS = ("#3b82c4", "#e0762f", "#2a9d7f", "#c05fa8", "#b8931a", "#7b7fd4")
"""Distinct to colour-blind readers (after Okabe and Ito) and readable on white and near-black."""
DASHES = ("", "6 3", "2 2", "8 3 2 3")
"""Past the colours, the same ones dashed, so that every run has its own line."""
MAX_POINTS = 400
"""More are averaged in equal stretches of steps: a chart is some 400 pixels wide."""
# Matplotlib writes this colour, and the page puts its own text colour in its place.
_INK = "#010203"


class Chart(NamedTuple):
    """A drawn chart; `svg` holds no text of users."""

    title: str
    meaning: str
    svg: str


class _Plan(NamedTuple):
    key: str
    title: str
    meaning: str
    share: bool = False


PLANS = (
    _Plan("reward", "Reward", "the weighted sum of its parts, mean over completions"),
    _Plan("reward/format", "Reward: format", "share of well-formed completions", share=True),
    _Plan("reward/accuracy", "Reward: accuracy", "verdicts on the side people preferred", share=True),
    _Plan("reward/listener", "Reward: listener", "the listener's part as paid"),
    _Plan("listener/p_label", "Listener's confidence", "mean probability of the preferred side", share=True),
    _Plan(
        "listener/disagreement", "Disagreement", "verdicts that differ from the training listener's side", share=True
    ),
    _Plan("malformed", "Malformed", "share of completions that are no verdict", share=True),
    _Plan("kl", "KL", "from the starting model, in nats a token"),
    _Plan("entropy", "Entropy", "of the next token, in nats"),
    _Plan("trace_words", "Trace length", "words"),
    _Plan("groups_without_variance", "Groups without variance", "equal rewards teach nothing", share=True),
    _Plan("rewards_missing", "Missing rewards", "a listener failed; left out of the group"),
    _Plan("loss", "Loss", "as the trainer logs it"),
    _Plan("grad_norm", "Gradient norm", "before clipping"),
)


def training_charts(runs: Sequence[RunReading]) -> list[Chart]:
    """A chart for each quantity that some run logged twice or more, a line for each run."""
    charts = []
    for plan in PLANS:
        curves = [run.curves.get(plan.key) for run in runs]
        if any(curve is not None and curve.values.size > 1 for curve in curves):
            charts.append(Chart(plan.title, plan.meaning, _draw(curves, share=plan.share)))
    return charts


def line_style(index: int) -> tuple[str, str]:
    """Colour and SVG dash pattern of the run at this place."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def thinned(curve: Curve, points: int = MAX_POINTS) -> Curve:
    """The curve averaged over equal stretches of its logged steps, if it has more than `points`."""
    if curve.values.size <= points:
        return curve
    edges = np.linspace(0, curve.values.size, points + 1).astype(int)
    widths = np.diff(edges)
    return Curve(*(np.add.reduceat(column, edges[:-1]) / widths for column in curve))


def smoothed(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """A centred running mean over about a tenth of the values; at the ends, of those there are."""
    half = values.size // 20
    totals = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(values.size)
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, values.size)
    return (totals[high] - totals[low]) / (high - low)


def _draw(curves: Sequence[Curve | None], *, share: bool) -> str:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "svg.hashsalt": "earshot", "font.size": 9, "font.family": "sans-serif"}
    ink = dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "text.color"), _INK)
    with mpl.rc_context(style | ink):
        figure = Figure(figsize=(4.2, 2.5), layout="constrained")
        axes = figure.add_subplot()
        for index, curve in enumerate(curves):
            if curve is not None and curve.values.size:
                _draw_line(axes, thinned(curve), index)
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=_INK, alpha=0.12, linewidth=0.6)
        if share:
            low, high = axes.get_ylim()
            axes.set_ylim(max(low, -0.02), min(high, 1.02))
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _draw_line(axes: object, curve: Curve, index: int) -> None:
    colour, dash = line_style(index)
    dashes = (0, tuple(float(length) / 2 for length in dash.split())) if dash else "solid"
    if curve.values.size >= 20:
        axes.plot(curve.steps, curve.values, color=colour, alpha=0.25, linewidth=0.8)  # type: ignore[attr-defined]
        curve = Curve(curve.steps, smoothed(curve.values))
    axes.plot(curve.steps, curve.values, color=colour, linestyle=dashes, linewidth=1.6)  # type: ignore[attr-defined]
