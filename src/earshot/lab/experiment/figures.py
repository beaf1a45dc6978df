"""The two figures: accuracy against disagreement, and the primary endpoints by arm, each as one SVG file.

The same results give the same bytes, so that a figure in the repository changes only when its numbers do.
"""

import io
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from earshot.lab.experiment.endpoints import endpoint
from earshot.lab.experiment.tables import Results
from earshot.types import Estimate

# After Okabe and Ito, distinct to colour-blind readers; controls are grey.
COLOURS = ("#3b82c4", "#e0762f", "#2a9d7f", "#c05fa8", "#b8931a", "#7b7fd4", "#9c4a3c", "#4d7c2f", "#1f5f8b", "#d1495b")
MARKERS = "oDsvP^X<>h"
GREY = "#8a8a8a"
_LABEL_CHARS = 30
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "earshot", "font.size": 8, "font.family": "sans-serif"}


def accuracy_against_disagreement(results: Results, listener: str) -> str:
    """For each set: above, arms by disagreement and accuracy; below, accuracy where the listener (dis)agrees."""
    summary = results.summary
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(summary.sets) + 1.6, 7.4), layout="constrained", facecolor="white")
        axes = figure.subplots(2, len(summary.sets), squeeze=False)
        for column, name in enumerate(summary.sets):
            _scatter(axes[0][column], results, name, listener)
            _dumbbells(axes[1][column], results, name, listener, names=column == 0)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        return _svg(figure)


def _scatter(axes: Any, results: Results, name: str, listener: str) -> None:
    for arm in _arms(results):
        x = _drawn(results.absolute.get((arm, name, f"disagreement.{listener}")))
        y = _drawn(results.absolute.get((arm, name, "accuracy")))
        if x is None or y is None:
            continue
        colour, marker = _look(results, arm)
        axes.errorbar(
            [x.value], [y.value], xerr=x.bars, yerr=y.bars, color=colour, marker=marker, markersize=5, linewidth=0.8,
            linestyle="none", label=results.summary.title(arm),
        )  # fmt: skip
    axes.set_title(name)
    axes.set_xlabel(_folded(f"disagreement with the {listener} listener, %"))
    axes.set_ylabel("accuracy, %")
    _plain(axes)


def _dumbbells(axes: Any, results: Results, name: str, listener: str, *, names: bool) -> None:
    for row, arm in enumerate(_arms(results)):
        colour, _ = _look(results, arm)
        ends = [
            _drawn(results.absolute.get((arm, name, f"{kind}.{listener}")))
            for kind in ("accuracy_disagree", "accuracy_agree")
        ]
        known = [end for end in ends if end is not None]
        axes.plot([end.value for end in known], [row] * len(known), color=colour, linewidth=1, alpha=0.5)
        for end, fill in zip(ends, ("white", colour), strict=True):
            if end is not None:
                axes.errorbar(
                    [end.value], [row], xerr=end.bars, color=colour, marker="o", markerfacecolor=fill, markersize=5,
                    linewidth=0.8,
                )  # fmt: skip
    _rows(axes, results, names=names)
    axes.set_title(_folded("open: the listener disagrees; full: it agrees"), fontsize="small")
    axes.set_xlabel("accuracy of completions, %")


def endpoints_by_arm(results: Results, keys: Sequence[str]) -> str:
    """For each set and endpoint, every arm with its interval; the dotted line is the reference."""
    summary = results.summary
    columns, rows = len(summary.sets), len(keys)
    height = 0.9 + rows * (0.6 + 0.17 * len(_arms(results)))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.5 * columns + 1.4, height), layout="constrained", facecolor="white")
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
    _rows(axes, results, names=names)
    axes.set_xlabel(_folded(f"{read.label}, %" if read.percent else read.label))


def _arms(results: Results) -> list[str]:
    """Those of which there is a run."""
    there = {arm for arm, _, _ in results.absolute}
    return [arm for arm in results.summary.arms if arm in there]


def _rows(axes: Any, results: Results, *, names: bool) -> None:
    arms = _arms(results)
    axes.set_yticks(range(len(arms)), [results.summary.title(arm) for arm in arms] if names else [])
    axes.set_ylim(len(arms) - 0.4, -0.6)
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
