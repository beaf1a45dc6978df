"""The two figures: accuracy against disagreement, and the primary endpoints by arm, each as one SVG file.

The same results give the same bytes, so that a figure in the repository changes only when its numbers do.
"""

import io
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from earshot.lab.experiment.endpoints import endpoint
from earshot.lab.experiment.tables import Results
from earshot.types import Estimate

# Begun after Okabe and Ito, distinct to colour-blind readers as far as so many can be; controls are grey.
COLOURS = (
    "#3b82c4", "#e0762f", "#2a9d7f", "#c05fa8", "#b8931a", "#7b7fd4", "#9c4a3c", "#4d7c2f", "#1f5f8b", "#d1495b",
    "#00a3c4", "#6a3d9a", "#8a8f00", "#e377a2", "#0b6e4f", "#b15928", "#2b2d8c", "#f0a202",
)  # fmt: skip
MARKERS = "oDsvP^X<>h"
GREY = "#8a8a8a"
_LABEL_CHARS = 24
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "earshot", "font.size": 10, "font.family": "sans-serif"}
"""As wide as a page, so that its words are still read at 8 points in a column of text."""
WIDTH_IN = 10.5
FAR = 1.5
"""Quartile ranges beyond the quartiles, from where an arm is named at the edge and does not set an axis."""


def accuracy_against_disagreement(results: Results, listener: str) -> str:
    """For each set: arms by disagreement and accuracy; beside it, accuracy where the listener (dis)agrees."""
    sets, arms = results.summary.sets, _arms(results)
    with mpl.rc_context(STYLE):
        height = len(sets) * max(3.2, 1.0 + 0.19 * len(arms))
        figure = Figure(figsize=(WIDTH_IN, height), layout="constrained", facecolor="white")
        axes = figure.subplots(len(sets), 2, squeeze=False, width_ratios=(1.35, 1))
        for row, name in enumerate(sets):
            _scatter(axes[row][0], results, name, listener)
            _dumbbells(axes[row][1], results, name, listener)
        return _svg(figure)


def _scatter(axes: Any, results: Results, name: str, listener: str) -> None:
    found = []
    for number, arm in enumerate(_arms(results), start=1):
        x = _drawn(results.absolute.get((arm, name, f"disagreement.{listener}")))
        y = _drawn(results.absolute.get((arm, name, "accuracy")))
        if x is not None and y is not None:
            found.append((arm, number, x, y))
    if found:
        axes.set(xlim=_ends([x for *_, x, _ in found]), ylim=_ends([y for *_, y in found]))
    off = [
        f"{number} at {x.value:.1f} and {y.value:.1f}"
        for arm, number, x, y in found
        if _point(axes, results, arm, number, x, y)
    ]
    if off:
        axes.text(0.02, 0.02, "\n".join(["off the edge:", *off]), transform=axes.transAxes, va="bottom")
    axes.set_title(name)
    axes.set_xlabel(_folded(f"disagreement with the {listener} listener, %"))
    axes.set_ylabel("accuracy, %")
    _plain(axes)


def _point(axes: Any, results: Results, arm: str, number: int, x: "_Drawn", y: "_Drawn") -> bool:
    """An arm by its number, at the edge where it lies far off; whether it does."""
    colour, marker = _look(results, arm)
    at = [min(max(value, low), high) for value, (low, high) in ((x.value, axes.get_xlim()), (y.value, axes.get_ylim()))]
    off = at != [x.value, y.value]
    if not off:
        axes.errorbar([x.value], [y.value], xerr=x.bars, yerr=y.bars, color=colour, linewidth=0.5, alpha=0.3)
    axes.plot(*at, color=colour, marker=marker, markersize=6, linestyle="none", clip_on=False)
    left = at[0] > sum(axes.get_xlim()) / 2
    place = {"xytext": (-5 if left else 5, 3), "ha": "right" if left else "left"}
    axes.annotate(f"{number}", at, textcoords="offset points", color=colour, **place)
    return off


def _ends(drawn: Sequence["_Drawn"]) -> tuple[float, float]:
    """Of an axis that holds all but those far off, with their intervals."""
    values = np.array([one.value for one in drawn])
    low, high = np.percentile(values, [25, 75])
    near = [one for one in drawn if low - FAR * (high - low) <= one.value <= high + FAR * (high - low)]
    ends = [one.value - one.bars[0][0] for one in near] + [one.value + one.bars[1][0] for one in near]
    room = 0.06 * (max(ends) - min(ends)) or 1.0
    return min(ends) - room, max(ends) + room


def _dumbbells(axes: Any, results: Results, name: str, listener: str) -> None:
    for row, arm in enumerate(_arms(results)):
        colour, marker = _look(results, arm)
        ends = [
            _drawn(results.absolute.get((arm, name, f"{kind}.{listener}")))
            for kind in ("accuracy_disagree", "accuracy_agree")
        ]
        known = [end for end in ends if end is not None]
        axes.plot([end.value for end in known], [row] * len(known), color=colour, linewidth=1, alpha=0.5)
        for end, fill in zip(ends, ("white", colour), strict=True):
            if end is not None:
                axes.errorbar(
                    [end.value], [row], xerr=end.bars, color=colour, marker=marker, markerfacecolor=fill, markersize=5,
                    linewidth=0.8,
                )  # fmt: skip
    _rows(axes, [f"{results.summary.title(arm)}  {number}" for number, arm in enumerate(_arms(results), start=1)])
    axes.set_title("open: the listener disagrees\nfull: it agrees", fontsize="medium")
    axes.set_xlabel("accuracy of completions, %")


def endpoints_by_arm(results: Results, keys: Sequence[str]) -> str:
    """For each set and endpoint, every arm with its seeds and interval; the dotted line is the reference."""
    summary = results.summary
    columns, rows = len(summary.sets), len(keys)
    height = 0.9 + rows * (0.7 + 0.19 * len(_arms(results)))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(max(WIDTH_IN, 2.0 * columns + 2.4), height), layout="constrained", facecolor="white")
        axes = figure.subplots(rows, columns, squeeze=False)
        for row, key in enumerate(keys):
            for column, name in enumerate(summary.sets):
                _endpoint(axes[row][column], results, name, key, names=column == 0)
                if row == 0:
                    axes[row][column].set_title(name)
        return _svg(figure)


def _endpoint(axes: Any, results: Results, name: str, key: str, *, names: bool) -> None:
    read = endpoint(key)
    for row, arm in enumerate(_arms(results)):
        at = _drawn(results.absolute.get((arm, name, key)), percent=read.percent)
        if at is not None:
            colour, marker = _look(results, arm)
            axes.errorbar([at.value], [row], xerr=at.bars, color=colour, marker=marker, markersize=4, linewidth=1)
            if arm == results.summary.about["reference"]:
                axes.axvline(at.value, color=colour, linewidth=0.8, linestyle=":")
    seeds = [len(results.summary.seeds(arm, name)) for arm in _arms(results)]
    titles = [f"{results.summary.title(arm)} ({n})" for arm, n in zip(_arms(results), seeds, strict=True)]
    _rows(axes, titles if names else [""] * len(titles))
    axes.set_xlabel(_folded(f"{read.label}, %" if read.percent else read.label))


def _arms(results: Results) -> list[str]:
    """Those of which there is a run."""
    there = {arm for arm, _, _ in results.absolute}
    return [arm for arm in results.summary.arms if arm in there]


def _rows(axes: Any, titles: Sequence[str]) -> None:
    axes.set_yticks(range(len(titles)), titles)
    axes.set_ylim(len(titles) - 0.4, -0.6)
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.15, linewidth=0.6)


def _look(results: Results, arm: str) -> tuple[str, str]:
    """Colour and marker of an arm."""
    arms = results.summary.about["arms"]
    alike = [other for other in _arms(results) if arms[other]["role"] == arms[arm]["role"]]
    return look(alike.index(arm), control=arms[arm]["role"] == "control")


def look(place: int, *, control: bool) -> tuple[str, str]:
    """Colour and marker of the arm, or of the control, that comes at this place: no two of a hundred arms, or of ten
    controls, are the same.

    Controls are grey and told apart by their markers; a colour that comes back has another marker.
    """
    if control:
        return GREY, MARKERS[place % len(MARKERS)]
    return COLOURS[place % len(COLOURS)], MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]


class _Drawn(NamedTuple):
    """An estimate as `errorbar` takes it."""

    value: float
    bars: list[list[float]]
    """How far the interval reaches below and above; 0 without one."""


def _drawn(estimate: Estimate | None, *, percent: bool = True) -> _Drawn | None:
    if estimate is None or estimate.value is None:
        return None
    ends = (estimate.value if end is None else end for end in (estimate.value, estimate.low, estimate.high))
    value, low, high = (100 * end if percent else end for end in ends)
    return _Drawn(value, [[value - low], [high - value]])


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _folded(label: str) -> str:
    """In lines that fit beside those of the panels to the left and right."""
    return textwrap.fill(label, _LABEL_CHARS)
