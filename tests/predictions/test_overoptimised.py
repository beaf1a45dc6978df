"""overoptimise.json is read as it was written, or refused with its place."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from earshot.errors import DataError
from earshot.files import write_json
from earshot.predictions.overoptimised import Curve, Gain, Overoptimised, Point, read_overoptimised
from earshot.types import Estimate

NONE = Estimate.missing()


def some(value: float) -> Estimate:
    return Estimate(float(value), value - 0.1, value + 0.1, 30)


FOUND = Overoptimised(
    {"prompts": 30},
    {"warm": {"comparisons": 5}},
    [
        Curve("best-of-n", None, "gold", 0, [Point(1.0, some(0), some(1), some(1), NONE)]),
        Curve("policy", "warm", "its own verdict", 1, [
            Point(math.inf, some(0), some(0.5), some(1), NONE), Point(0.5, some(0.7), some(0.8), some(1.2), some(0.4)),
        ]),
    ],
    [Gain("policy", "reader", "grpo", "warm", "gold", None, some(0.2))],
    {"commit": "abc"},
)  # fmt: skip


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "overoptimise.json"
    write_json(file, FOUND.as_record())
    assert read_overoptimised(file) == FOUND
    assert json.loads(file.read_text())["curves"][1]["points"][0]["pressure"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is 2, expected 1; make it again"),
        ({"curves": [{}]}, r"is damaged \(KeyError"),
        ({"curves": None}, "is damaged"),
        ({"gains": [{"surprise": 1, "estimate": None}]}, "is damaged"),
        ({"models": []}, "is damaged"),
        ({"curves": [FOUND.curves[0].as_record() | {"best": 1}]}, "is damaged"),
        ({"curves": [FOUND.curves[0].as_record() | {"method": "prayer"}]}, "is damaged"),
    ],
)
def test_what_is_not_that_is_refused_with_its_place(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "overoptimise.json"
    write_json(file, FOUND.as_record() | change)
    with pytest.raises(DataError, match=message) as error:
        read_overoptimised(file)
    assert str(error.value).startswith(f"{file}: ")
