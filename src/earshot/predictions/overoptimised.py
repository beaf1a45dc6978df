"""overoptimise.json: what a reward gains under growing pressure, as it stands in a run's folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

from earshot.errors import DataError
from earshot.files import read_json_object
from earshot.types import Estimate

FORMAT: Final = 1
Method: TypeAlias = Literal["best-of-n", "policy"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
GOLD: Final = "gold"
"""The judge who knows what pictures are worth: what could be had."""
_QUANTITIES: Final = ("kl", "reward", "gold", "captured")


class Point(NamedTuple):
    """What a judge's choice comes to under one pressure: means over prompts, with 95 % intervals.

    Attributes:
        pressure: The n of best-of-n, or what a nat of KL costs a policy; infinity is the generator itself.
        kl: From the generator, in nats.
        reward: The judge's own score.
        gold: What is chosen is worth to the raters.
        captured: (gold − that of the generator) / (attainable − that of the generator): 1 is all that could be had at
            this KL, below 0 is worse than no choice. Missing at a KL of 0, where nothing can be had.
    """

    pressure: float
    kl: Estimate
    reward: Estimate
    gold: Estimate
    captured: Estimate


class Curve(NamedTuple):
    """What one judge gains under growing pressure.

    Attributes:
        method: How pressure is put on.
        model: Whose traces are read; None of a baseline, which asks nobody.
        judge: Who decides: the model's own verdict, a listener, or a baseline (`GOLD`, or a random reward).
        best: The place of the point at which gold is highest.
        points: The lightest pressure first, which is none.
    """

    method: Method
    model: str | None
    judge: str
    best: int
    points: Sequence[Point]

    def as_record(self) -> dict[str, Any]:
        """As it stands in the file."""
        points = [
            {"pressure": one.pressure if math.isfinite(one.pressure) else None}
            | {name: getattr(one, name).as_record() for name in _QUANTITIES}
            for one in self.points
        ]
        return self._asdict() | {"points": points}


class Gain(NamedTuple):
    """How much more one model gains than another by the same judge, on the same prompts.

    Attributes:
        method: How pressure is put on.
        judge: Who decides.
        model: The one.
        less: The other.
        what: Of best-of-n how much more is captured; of a policy how much more gold there is at each one's best.
        pressure: The n; None of a policy.
        estimate: The difference.
    """

    method: Method
    judge: str
    model: str
    less: str
    what: Literal["captured", "gold"]
    pressure: float | None
    estimate: Estimate

    def as_record(self) -> dict[str, Any]:
        """As it stands in the file."""
        return self._asdict() | {"estimate": self.estimate.as_record()}


class Overoptimised(NamedTuple):
    """What the file holds.

    Attributes:
        settings: What was asked for.
        models: By name, what was asked, and how many comparisons came to nothing.
        curves: Those of the baselines first, for each method.
        gains: Of each model but the first.
        environment: Commit, versions and hardware.
    """

    settings: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    curves: Sequence[Curve]
    gains: Sequence[Gain]
    environment: Mapping[str, Any]

    def as_record(self) -> dict[str, Any]:
        """As it stands in the file."""
        told = {"curves": [one.as_record() for one in self.curves], "gains": [one.as_record() for one in self.gains]}
        return {"format": FORMAT, **self._asdict(), **told}


def read_overoptimised(path: Path) -> Overoptimised:
    """The content of overoptimise.json.

    Raises:
        DataError: It is of another format, or holds something else.
    """
    record = read_json_object(path, what="what 'earshot lab overoptimise' writes")
    if record.get("format") != FORMAT:
        raise DataError(
            f"{path}: format is {record.get('format')!r}, expected {FORMAT}; make it again with 'earshot lab "
            "overoptimise'"
        )
    try:
        curves = [_curve(one) for one in record["curves"]]
        gains = [Gain(**{**one, "estimate": Estimate.from_record(one["estimate"])}) for one in record["gains"]]
        models = {name: dict(told) for name, told in record["models"].items()}
        return Overoptimised(dict(record["settings"]), models, curves, gains, dict(record["environment"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: is damaged ({type(error).__name__}: {error}), expected what 'earshot lab overoptimise' writes; "
            "make it again"
        ) from error


def _curve(record: Mapping[str, Any]) -> Curve:
    points = [
        Point(
            math.inf if one["pressure"] is None else float(one["pressure"]),
            *(Estimate.from_record(one[name]) for name in _QUANTITIES),
        )
        for one in record["points"]
    ]
    method, model, best = record["method"], record["model"], int(record["best"])
    if method not in METHODS or not 0 <= best < len(points) or any(one.kl.value is None for one in points):
        raise ValueError(f"a curve by {method!r} of {len(points)} points, the best of them the {best}.")
    return Curve(method, None if model is None else str(model), str(record["judge"]), best, points)
