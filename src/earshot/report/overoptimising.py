"""What is left of rewards when somebody optimises against them: reward and gold against the KL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from earshot.predictions.overoptimised import GOLD, Curve, Gain, Method, Overoptimised
from earshot.predictions.run import Run, mapping
from earshot.report.drawing import INK, Chart, draw, line_options, line_style
from earshot.report.provenance import HASH_DIGITS
from earshot.report.tables import Cell, format_estimate
from earshot.types import Estimate

_METHODS: Mapping[Method, tuple[str, Any]] = {
    "best-of-n": ("the best of n pictures", (0, (4, 2))),
    "policy": ("a policy over scenes", "solid"),
}
"""In words, and how its lines are drawn."""


class Line(NamedTuple):
    """A model's colour in the charts, and its dashes where colours repeat; its run's, where the page has that run."""

    name: str
    colour: str
    dash: str


class Row(NamedTuple):
    """A judge: what it comes to where gold is highest and under the most pressure, or how it differs from another."""

    name: str
    cells: list[tuple[str, Cell]]
    """Each under the name of its column."""


class OveroptimisedView(NamedTuple):
    """One overoptimise.json as the page shows it.

    Attributes:
        name: Of its folder.
        lines: The models.
        charts: By judge, gold and reward against KL.
        tables: By method in words: the rows of the baselines and of each judge of each model.
        gains: What tells the models apart.
        about: A line about the prompts and one about each model: its hash, its listeners', what came to nothing.
    """

    name: str
    lines: list[Line]
    charts: list[tuple[str, list[Chart]]]
    tables: list[tuple[str, list[Row]]]
    gains: list[Row]
    about: list[str]


def overoptimised_views(runs: Sequence[Run]) -> list[OveroptimisedView]:
    """Those of the runs that have one.

    Raises:
        DataError: A file is damaged.
    """
    places = {run.name: place for place, run in enumerate(run for run in runs if run.done)}
    return [_view(run.name, run.overoptimised, places) for run in runs if run.overoptimised is not None]


def _view(name: str, found: Overoptimised, places: Mapping[str, int]) -> OveroptimisedView:
    others = iter(range(len(places), len(places) + len(found.models)))
    place_of = {model: places[model] if model in places else next(others) for model in found.models}
    judges = dict.fromkeys(curve.judge for curve in found.curves if curve.model is not None)
    baselines = [curve for curve in found.curves if curve.model is None]
    charts = []
    for judge in judges:
        own = [(place_of.get(str(c.model), 0), c) for c in found.curves if c.model is not None and c.judge == judge]
        charts.append((judge, [_gold_chart(own, baselines), _reward_chart(own)]))
    tables = []
    for method, (words, _) in _METHODS.items():
        if rows := [_row(curve) for curve in found.curves if curve.method == method]:
            tables.append((words, rows))
    lines = [Line(model, *line_style(place)) for model, place in place_of.items()]
    return OveroptimisedView(name, lines, charts, tables, _gained(found.gains), _about(found))


def _row(curve: Curve) -> Row:
    best, last = curve.points[curve.best], curve.points[-1]
    name = curve.judge if curve.model is None else f"{curve.model}: {curve.judge}"
    cells = [
        ("gold is highest at a KL of", _number(best.kl)),
        ("gold there", _number(best.gold)),
        ("captured there", format_estimate(best.captured, percent=True)),
        ("KL at the end", _number(last.kl)),
        ("gold at the end", _number(last.gold)),
        ("captured at the end", format_estimate(last.captured, percent=True)),
    ]
    return Row(name, cells)


def _gained(gains: Sequence[Gain]) -> list[Row]:
    """A row for each judge of each model but the first, with all that tells it apart."""
    rows: dict[str, Row] = {}
    for gain in gains:
        if gain.what == "gold":
            words, cell = "gold where it is highest, policy", _number(gain.estimate, signed=True)
        else:
            words = f"captured at n = {gain.pressure:g}"
            cell = format_estimate(gain.estimate, percent=True, signed=True)
        name = f"{gain.model} − {gain.less}: {gain.judge}"
        rows.setdefault(name, Row(name, [])).cells.append((words, cell))
    return [*rows.values()]


def _number(estimate: Estimate, *, signed: bool = False) -> Cell:
    value, *ends = estimate.numbers(digits=2, signed=signed)
    cell = format_estimate(estimate, percent=False, signed=signed)
    return cell._replace(value=value, interval=" to ".join(ends) if len(set(ends)) > 1 else "")


def _about(found: Overoptimised) -> list[str]:
    asked = found.settings
    told = f"{asked.get('prompts')} prompts of {asked.get('pictures')} pictures"
    if asked.get("policies"):
        told += (
            f"; policies for {asked['policies']} of them, each scene compared with {asked.get('references')} pictures"
        )
    lines = [f"{told}; seed {asked.get('seed')}; commit {str(found.environment.get('commit') or '–')[:HASH_DIGITS]}"]
    for name, model in found.models.items():
        readers = [f", read by {reader} ({_hash(one)})" for reader, one in mapping(model.get("listeners")).items()]
        lost, made = model.get("comparisons_without_answer"), model.get("comparisons")
        of = f"{name} ({_hash(model.get('model'))}){''.join(readers)}"
        lines.append(f"{of}: {lost} of {made} comparisons came to nothing")
    return lines


def _hash(described: object) -> str:
    return f"SHA-256 {str(mapping(described).get('sha256') or '–')[:HASH_DIGITS]}"


def _gold_chart(own: Sequence[tuple[int, Curve]], baselines: Sequence[Curve]) -> Chart:
    def plot(axes: Any) -> None:
        for curve in baselines:
            style = {"color": INK, "alpha": 0.75} if curve.judge == GOLD else {"color": INK, "alpha": 0.4}
            if curve.judge == GOLD or curve.method == "policy":
                dashes = _METHODS[curve.method][1] if curve.judge == GOLD else (0, (1, 2))
                axes.plot(*_of(curve, "gold"), linewidth=1.0, **style | {"linestyle": dashes})
        for place, curve in own:
            _draw(axes, place, curve, "gold")
        axes.set(xlabel="KL from the generator, nats", ylabel="gold")

    meaning = "what the chosen pictures are worth to the raters, with 95 % intervals"
    return draw(plot, "Gold against KL", meaning)


def _reward_chart(own: Sequence[tuple[int, Curve]]) -> Chart:
    def plot(axes: Any) -> None:
        for place, curve in own:
            _draw(axes, place, curve, "reward")
        axes.set(xlabel="KL from the generator, nats", ylabel="reward")

    return draw(
        plot, "Reward against KL", "the judge's own score: the probability of being preferred to another picture"
    )


def _draw(axes: Any, place: int, curve: Curve, quantity: str) -> None:
    style = line_options(place) | {"linestyle": _METHODS[curve.method][1]}
    axes.plot(*_of(curve, quantity), linewidth=1.6, marker="o", markersize=3.2, **style)
    for point in curve.points:
        estimate = getattr(point, quantity)
        if estimate.value is not None and estimate.low is not None:
            x = point.kl.value
            axes.plot([x, x], [estimate.low, estimate.high], color=style["color"], linewidth=1.0, alpha=0.55)


def _of(curve: Curve, quantity: str) -> tuple[list[float], list[float]]:
    """The KL of the points that have the quantity, and its values."""
    known = [(p.kl.value, value) for p in curve.points if (value := getattr(p, quantity).value) is not None]
    return [float(kl or 0.0) for kl, _ in known], [value for _, value in known]
