"""What traces say of a marked picture and of the other: counted by hand, the same when the two change places."""

from typing import Any

import pytest

from earshot.lab.experiment.marks import CLEAN, FALSE_CLAIMS, MarkTally
from earshot.metrics import PredictionTable
from earshot.world.scene import Picture, Scene, Thing
from earshot.world.truth import Truth

WANTED = Scene(Thing("small", "red", "circle"), Thing("large", "blue", "square"))
TRUTH = Truth(WANTED, Picture(WANTED, "clean"), Picture(WANTED, "clean"))


def row(number: int, category: str | None, *traces: tuple[str, str]) -> dict[str, Any]:
    """Of a pair whose first picture is preferred; each sample has an order and a trace."""
    return {
        "id": str(number), "prompt_id": str(number), "p_first": None, "p_first_forward": None, "p_first_swapped": None,
        "votes_first": 3, "votes_second": 0, "category": category,
        "samples": [
            {"order": order, "trace": trace, "side": "first", "malformed": None, "verdict": 1, "p_first": 0.9}
            for order, trace in traces
        ],
    }  # fmt: skip


def gaps(*rows: dict[str, Any]) -> dict[str, float]:
    tally = MarkTally({one["id"]: TRUTH for one in rows})
    table = PredictionTable.from_rows([*tally.watch(rows)])
    return {name: one.value() for name, one in tally.statistics(table).items()}


def said(first: str, second: str) -> str:
    return f"first : {first} . second : {second} ."


def test_a_word_that_is_kept_from_the_marked_picture_is_a_gap() -> None:
    right, wrong = "left small red circle yes", "left small red circle no but nothing"
    found = gaps(
        row(1, "with", ("forward", said(f"{right} , clean", f"{right} , dark"))),
        row(2, "against", ("forward", said(f"{right} , clean", f"{wrong} , clean"))),
        row(3, "against", ("forward", said(right, f"{right} , clean"))),
    )
    # Clean pictures called clean. Marked: the first of pair 1 and the seconds of 2 and 3, all. Others: the second of
    # pair 1 isn't, the first of 2 is, and nothing is said of the first of 3.
    assert found[CLEAN] == pytest.approx(1.0 - 1 / 2)
    # False claims. Marked: none, those about the circle of pair 2 (it isn't there; nothing is). Others: `dark`.
    assert found[FALSE_CLAIMS] == pytest.approx(2 / 3 - 1 / 3)


def test_in_the_other_order_the_same_is_counted() -> None:
    one = gaps(row(1, "with", ("forward", said("clean", "dark"))))
    turned = gaps(row(1, "with", ("swapped", said("dark", "clean"))))
    assert one == turned and one[CLEAN] == 1.0


def test_pictures_without_a_mark_are_not_counted() -> None:
    found = gaps(row(1, None, ("forward", said("clean", "dark"))))
    assert all(value != value for value in found.values())
