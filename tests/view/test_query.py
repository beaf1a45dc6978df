"""Filters, orders and counts, against what the hand-made rows are."""

from pathlib import Path
from typing import Any, Literal

import pytest

from earshot.files import append_jsonl
from earshot.view import Library
from earshot.view.query import Query, Selection, select
from tests.view.runs import PAIRS, prediction


@pytest.fixture()
def library(run: Path) -> Library:
    library = Library([run])
    library.refresh()
    return library


def selected(library: Library, kind: Literal["judged", "rollouts"] = "judged", **choices: Any) -> Selection:
    return select(library.rows[kind].table(), Query(**choices))


def names(library: Library, **choices: Any) -> str:
    return "".join(list(PAIRS)[row] for row in selected(library, **choices).rows.tolist())


@pytest.mark.parametrize(
    ("choices", "rows"),
    [
        ({}, "abcdefghi"),
        ({"verdict": "right"}, "ach"),
        ({"verdict": "wrong"}, "bdfg"),
        ({"verdict": "open"}, "ei"),
        ({"malformed": True}, "d"),
        ({"flips": True}, "bf"),
        ({"listener": "far"}, "abc"),
        ({"listener": "kin"}, "g"),
        ({"listener": "*"}, "abcg"),
        ({"listener": "nobody"}, ""),
        ({"verdict": "wrong", "listener": "*"}, "bg"),
        ({"verdict": "wrong", "flips": True, "listener": "far"}, "b"),
        ({"source": 0}, "abcdefghi"),
        ({"source": 1}, ""),
        ({"text": "The prompt of C"}, "c"),  # only the pair set has these words
        ({"text": "plain words", "verdict": "right"}, "ac"),
    ],
)
def test_a_filter_leaves_the_rows_worked_out_by_hand(library: Library, choices: dict[str, Any], rows: str) -> None:
    assert names(library, **choices) == rows


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        ("file", "abcdefghi"),
        ("sure", "gacheibfd"),  # 0.45 0.35 0.3 0.2 0.1 0.1 0.05 0 none
        ("unsure", "fbeihcagd"),  # the pair without a p_first is last either way
        ("disagreement", "gabcdefhi"),  # 0.85 0.7 0.6 0.4, then those without
        ("turn", "bcaefghid"),  # 0.7 0.2 0.1, then 0, then none
    ],
)
def test_an_order_is_the_one_worked_out_by_hand(library: Library, order: str, rows: str) -> None:
    assert names(library, order=order) == rows


def test_the_disagreement_with_one_listener_orders_by_that_one(library: Library) -> None:
    assert names(library, order="disagreement", listener="far") == "abc"
    assert names(library, order="disagreement", listener="*") == "gabc"


def test_a_choices_count_is_what_choosing_it_would_leave(library: Library) -> None:
    counts = selected(library, verdict="wrong").counts
    assert counts["verdict"] == {"right": 3, "wrong": 4, "open": 2}  # as if no verdict were chosen
    assert counts["malformed"] == 1  # d
    assert counts["flips"] == 2  # b f
    assert counts["listener"] == {"*": 2, "far": 1, "kin": 1}  # b g
    assert counts["source"] == {0: 4}
    for verdict, count in counts["verdict"].items():
        assert len(selected(library, verdict=verdict).rows) == count


def test_rollouts_are_filtered_and_ordered_too(library: Library) -> None:
    def rows(**choices: Any) -> list[int]:
        return selected(library, "rollouts", **choices).rows.tolist()

    assert rows(verdict="wrong") == [1, 2, 3]
    assert rows(malformed=True) == [2]
    assert rows(listener="*") == [1]
    assert rows(order="best") == [4, 0, 1, 2, 3]  # 2, 1.5, 0.5, 0, none
    assert rows(order="worst") == [2, 1, 0, 4, 3]
    assert rows(order="latest") == [4, 3, 2, 1, 0]
    assert rows(order="sure") == rows()  # rollouts have no confidence


def test_what_a_run_adds_is_in_the_next_answer_also_to_a_search(library: Library, run: Path) -> None:
    assert names(library, text="plain words") == "abcdefg"
    (file,) = run.glob("eval/*/predictions.jsonl")
    append_jsonl(file, [prediction("late", PAIRS["a"])])
    assert library.refresh() == 1
    assert selected(library, text="plain words").rows.tolist() == [*range(7), 9]
    assert len(selected(library, verdict="right").rows) == 4
