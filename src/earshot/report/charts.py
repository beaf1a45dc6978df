"""Training curves: a chart for each quantity that was logged, a line for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from earshot.predictions.rollout import PART_NAMES
from earshot.predictions.run import Curve, Run
from earshot.report.drawing import Chart, draw, line_options, percent_axis

MAX_POINTS = 400
"""More are averaged in equal stretches of steps: a chart is some 400 pixels wide."""


class _Plan(NamedTuple):
    key: str
    title: str
    meaning: str
    share: bool = False


PART_MEANINGS: Mapping[str, tuple[str, bool]] = {
    "format": ("share of well-formed completions", True),
    "accuracy": ("verdicts on the side people preferred", True),
    "read_agreement": ("verdicts and readings on the side people preferred", True),
}
"""And whether they are shares."""

PLANS = (
    _Plan("reward", "Reward", "the weighted sum of its parts, mean over completions"),
    *(
        _Plan(f"reward/{name}", f"Reward: {name}", *PART_MEANINGS.get(name, ("the part before its weight",)))
        for name in PART_NAMES
    ),
    _Plan("listener/p_label", "Listener's confidence", "mean probability of the preferred side", share=True),
    _Plan(
        "listener/disagreement", "Disagreement", "verdicts that differ from the training listener's side", share=True
    ),
    _Plan("malformed", "Malformed", "share of completions that are no verdict", share=True),
    _Plan("verdict_first", "First image", "share of verdicts for it; half, unless the pairs have an order", share=True),
    _Plan("eval/sample_accuracy", "Validation accuracy", "samples on the preferred side, while training", share=True),
    _Plan("eval/disagreement", "Validation disagreement", "with the training listener", share=True),
    _Plan("kl", "KL", "from the starting model, in nats a token"),
    _Plan("entropy", "Entropy", "of the next token, in nats"),
    _Plan("trace_words", "Trace length", "words"),
    _Plan("groups_without_variance", "Groups without variance", "equal rewards teach nothing", share=True),
    _Plan("rewards_missing", "Missing rewards", "a listener failed; left out of the group", share=True),
    _Plan("loss", "Loss", "as the trainer logs it"),
    _Plan("grad_norm", "Gradient norm", "before clipping"),
)


class Curves(NamedTuple):
    """A chart, and the places of the runs that have a line in it."""

    chart: Chart
    places: list[int]


def training_charts(runs: Sequence[Run]) -> list[Curves]:
    """A chart for each quantity that some run logged twice or more, a line for each run.

    A part of the reward is a line of the runs that were paid for it.
    """
    charts = []
    for plan in PLANS:
        part = plan.key.partition("/")[2] if plan.key.startswith("reward/") else None
        curves = {
            place: run.curves[plan.key]
            for place, run in enumerate(runs)
            if plan.key in run.curves and (part is None or run.weights.get(part) != 0)
        }
        if any(curve.values.size > 1 for curve in curves.values()):
            charts.append(Curves(_chart(plan, curves), [*curves]))
    return charts


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


def _chart(plan: _Plan, curves: Mapping[int, Curve]) -> Chart:
    def plot(axes: Any) -> None:
        for place, curve in curves.items():
            _draw_line(axes, thinned(curve), place)
        axes.set_xlabel("step")
        low, high = axes.get_ylim()
        if min(curve.values.min() for curve in curves.values()) >= 0 > low:  # what is never below 0 has no room there
            low, high = 0.0, high if any(curve.values.any() for curve in curves.values()) else 1.0
        axes.set_ylim(low, min(high, 1.02) if plan.share else high)
        if plan.share:
            percent_axis(axes.yaxis)

    return draw(plot, plan.title, plan.meaning)


def _draw_line(axes: Any, curve: Curve, index: int) -> None:
    style = line_options(index) | {"clip_on": False}
    if curve.values.size >= 20:
        axes.plot(curve.steps, curve.values, color=style["color"], alpha=0.25, linewidth=0.8)
        curve = Curve(curve.steps, smoothed(curve.values))
    axes.plot(curve.steps, curve.values, linewidth=1.6, marker="." if curve.values.size < 20 else "", **style)
