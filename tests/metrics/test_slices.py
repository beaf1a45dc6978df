"""Slices of six pairs that can be counted by hand."""

from typing import Any

import pytest

from earshot.metrics import PredictionTable
from earshot.metrics.slices import (
    Slice,
    by_axis,
    by_category,
    by_disagreement,
    by_generators,
    by_margin,
    by_trace_length,
    hard_pairs,
    trace_length_edges,
)


def sample(side: str | None, p: float | None, words: int, listener: float | None = None) -> dict[str, Any]:
    return {
        "order": "forward", "trace": "w " * words, "side": side, "verdict": {"first": 1, "second": 2, None: None}[side],
        "malformed": "no answer" if side is None else None, "p_first": p, "claims": None,
        "listener": {} if listener is None else {"kin": listener},
    }  # fmt: skip


def row(
    id: str, votes: tuple[float, float], forward: float | None, swapped: float | None, *samples: Any, **more: Any
) -> dict[str, Any]:
    p = None if forward is None or swapped is None else (forward + swapped) / 2
    base = {"id": id, "prompt_id": f"q{id}", "votes_first": votes[0], "votes_second": votes[1]}
    return base | {"p_first": p, "p_first_forward": forward, "p_first_swapped": swapped, "samples": samples} | more


@pytest.fixture()
def table() -> PredictionTable:
    """a, b, d, f are right; c is wrong, e has no answer in one order; t is a tie."""
    rows = [
        row("a", (9, 1), 0.9, 0.7, sample("first", 0.9, 10, 0.8), axis="style", category="people",
            model_first="x", model_second="y"),
        row("b", (6, 4), 0.8, 0.4, sample("first", 0.8, 20, 0.3), sample("second", 0.4, 1, 0.35), axis="style",
            model_first="y", model_second="x"),
        row("c", (6, 4), 0.1, 0.3, sample("second", 0.1, 30, 0.9), axis="coherence", category="people",
            model_first="x", model_second="z"),
        row("d", (0, 5), 0.2, 0.4, sample("second", 0.2, 40, 0.5), model_first="x", model_second="x"),
        row("e", (3, 2), None, 0.9, sample(None, None, 3)),
        row("f", (1, 0), 0.9, 0.9),
        row("t", (2, 2), 0.9, 0.9, sample("first", 0.9, 50, 0.9), axis="style"),
    ]  # fmt: skip
    return PredictionTable.from_rows(rows)


def told(slices: list[Slice]) -> dict[str, tuple[float | None, int]]:
    return {s.name: (s.accuracy.value, s.accuracy.n) for s in slices}


def test_by_margin(table: PredictionTable) -> None:
    # Margins: a 0.8, b 0.2, c 0.2, d 1, e 0.2, f 1.
    # They part the strict pairs.
    assert told(by_margin(table)) == {
        "up to 0.2": (pytest.approx(1 / 3), 3),
        "0.6 to 0.8": (1.0, 1),
        "0.8 to 1": (1.0, 2),
    }


def test_by_axis_and_category(table: PredictionTable) -> None:
    assert told(by_axis(table)) == {"style": (1.0, 2), "coherence": (0.0, 1)}
    assert told(by_category(table)) == {"people": (0.5, 2)}


def test_by_generators_whichever_side_each_is_on(table: PredictionTable, monkeypatch: pytest.MonkeyPatch) -> None:
    slices = by_generators(table)
    assert told(slices) == {"x against y": (1.0, 2), "x against z": (0.0, 1), "x against x": (1.0, 1)}
    assert slices[0].name == "x against y"  # the most frequent first
    monkeypatch.setattr("earshot.metrics.slices.MOST_GENERATOR_PAIRS", 1)
    assert told(by_generators(table)) == {"x against y": (1.0, 2)}


def test_by_trace_length_of_well_formed_completions(table: PredictionTable) -> None:
    # Words 1 (wrong), 10 right, 20 right, 30 wrong, 40 right; the tie's 50 and the malformed one are out.
    slices = by_trace_length(table, trace_length_edges([table], bins=2))
    assert [(s.name, s.high, s.accuracy.n) for s in slices] == [("up to 20", 20, 3), ("20 to 40", 40, 2)]
    assert [s.accuracy.value for s in slices] == [pytest.approx(2 / 3), 0.5]


def test_by_disagreement(table: PredictionTable) -> None:
    # Gaps: a 0.1 right, b 0.5 right and 0.05 wrong, c 0.8 wrong, d 0.3 right.
    assert told(by_disagreement(table, "kin")) == {
        "up to 0.1": (0.5, 2),
        "0.2 to 0.3": (1.0, 1),
        "0.4 to 0.5": (1.0, 1),
        "0.7 to 0.8": (0.0, 1),
        "agrees": (0.5, 2),  # a right; b's second verdict, which is wrong
        "disagrees": (pytest.approx(2 / 3), 3),  # b right, c wrong, d right with the listener on no side
    }
    assert by_disagreement(table, "far") == []


def test_hard_pairs(table: PredictionTable) -> None:
    assert told(hard_pairs(table)) == {
        "narrow votes": (pytest.approx(1 / 3), 3),  # b, c, e
        "orders disagree": (1.0, 1),  # b; e has one order only
        "orders agree": (pytest.approx(3 / 4), 4),  # a, c, d, f
    }


def test_the_interval_is_over_the_prompts_of_the_slice() -> None:
    # Two prompts, ten pairs each, all right in one and all wrong in the other: 0 to 1 and not 0.3 to 0.7.
    rows = [row(str(i), (1, 0), 0.9 if i < 10 else 0.1, 0.9 if i < 10 else 0.1) for i in range(20)]
    table = PredictionTable.from_rows(r | {"prompt_id": str(i // 10), "axis": "style"} for i, r in enumerate(rows))
    (style,) = by_axis(table)
    assert (style.accuracy.low, style.accuracy.value, style.accuracy.high) == (0.0, 0.5, 1.0)


def test_nothing_known_gives_no_slices() -> None:
    table = PredictionTable.from_rows([row("a", (1, 1), 0.5, 0.5)])
    assert [by_margin(table), by_axis(table), by_category(table), by_generators(table)] == [[]] * 4
    assert [trace_length_edges([table]), by_trace_length(table, []), hard_pairs(table)] == [[]] * 3
