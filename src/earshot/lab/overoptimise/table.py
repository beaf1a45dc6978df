"""What was found, to read in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from earshot.cli.table import table
from earshot.predictions.overoptimised import METHODS, Curve, Gain, Point

_HEADS = {"best-of-n": "best of n", "policy": "policy"}
_PRESSURE = {"best-of-n": "n = {:.0f}", "policy": "β = {:g}"}


def as_text(curves: Sequence[Curve], gains: Sequence[Gain]) -> str:
    """A table for each method, with the place at which gold is highest, and one of what tells the models apart."""
    parts = []
    for method in METHODS:
        if found := [curve for curve in curves if curve.method == method]:
            heads = [_HEADS[method], "KL", "reward", "gold", "captured, %"]
            parts.append(table(heads, [row for curve in found for row in _rows(curve)]))
    if gains:
        heads = [f"less {gains[0].less}", "difference"]
        parts.append(table(heads, [(_what(gain), _more(gain)) for gain in gains]))
    return "\n\n".join(parts)


def _rows(curve: Curve) -> list[list[str]]:
    rows = [[f"{curve.model}: {curve.judge}" if curve.model else curve.judge]]
    for place, one in enumerate(curve.points):
        rows.append([f"  {_label(curve, one)}{' ←' if place == curve.best else ''}", *_cells(one)])
    return rows


def _label(curve: Curve, one: Point) -> str:
    return "generator" if one.kl.value == 0 else _PRESSURE[curve.method].format(one.pressure)


def _cells(one: Point) -> list[str]:
    reward, gold = (estimate.text(digits=2) for estimate in (one.reward, one.gold))
    return [one.kl.numbers(digits=2)[0], reward, gold, one.captured.text(percent=True, digits=0)]


def _what(gain: Gain) -> str:
    if gain.method == "policy":
        return f"{gain.model}: {gain.judge}; gold where it is highest, policy"
    return f"{gain.model}: {gain.judge}; captured at n = {gain.pressure:.0f}"


def _more(gain: Gain) -> str:
    if gain.what == "gold":
        return gain.estimate.text(signed=True, digits=2)
    return f"{gain.estimate.text(percent=True, signed=True, digits=0)} points"
