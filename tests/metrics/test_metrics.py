"""Every quantity of metrics.json on four pairs that can be worked by hand, its symmetries, and hostile rows."""

import math
from typing import Any

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.metrics import PredictionTable, read_estimate, summarise
from earshot.types import Estimate


def sample(order: str = "forward", side: str | None = "first", p: float | None = 0.9, **more: Any) -> dict[str, Any]:
    shown = None if side is None else 1 if (side == "first") == (order == "forward") else 2
    base = {"order": order, "trace": "a b", "side": side, "verdict": shown, "p_first": p}
    return base | {"listener": {}, "claims": None} | {"malformed": "two answers" if side is None else None} | more


def row(
    id: str, prompt: str, votes: tuple[float, float], p: float | None, samples: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    base = {"id": id, "prompt_id": prompt, "votes_first": votes[0], "votes_second": votes[1], "p_first": p}
    return base | {"p_first_forward": p, "p_first_swapped": p, "samples": samples} | more


def four_rows() -> list[dict[str, Any]]:
    """Two prompts: q has a right pair, a wrong pair and a tie; r has a pair whose swapped order is malformed."""
    return [
        row(
            "a", "q", (3, 1), 0.8,
            [
                sample(
                    listener={"kin": 0.9, "far": 0.2},
                    claims={"true": 2, "false": 1, "unchecked": 0, "favours_first": 1, "favours_second": 0},
                ),
                sample("swapped", p=0.7, trace="one two three four", listener={"kin": 0.6}),
            ],
            p_first_forward=0.9, p_first_swapped=0.7, first_bytes=10, second_bytes=5,
        ),
        row(
            "b", "q", (0, 2), 0.6,
            [
                sample(
                    "forward", "second", 0.4, listener={"kin": 0.5, "far": 0.4},
                    claims={"favours_first": 2, "favours_second": 0},
                ),
                sample("swapped", "first", 0.8, listener={"kin": 0.7, "far": 0.4}),
            ],
            p_first_forward=0.4, p_first_swapped=0.8, first_bytes=7, second_bytes=7,
        ),
        row("c", "q", (2, 2), 0.5, [], first_bytes=1, second_bytes=9),
        row(
            "d", "r", (1, 0), None,
            [sample(p=1.0, claims={"true": 0, "false": 0, "unchecked": 3}), sample("swapped", None, None)],
            p_first_forward=1.0, p_first_swapped=None,
        ),
    ]  # fmt: skip


@pytest.fixture()
def metrics() -> dict[str, Any]:
    return summarise(PredictionTable.from_rows(four_rows()), listeners=["kin", "never"], resamples=200)


def test_counts(metrics: dict[str, Any]) -> None:
    assert {name: metrics[name] for name in metrics if name.startswith("n_")} == {
        "n_pairs": 4,
        "n_prompts": 2,
        "n_ties": 1,
        "n_samples": 6,
        "n_malformed": 1,
        # 5 well-formed samples, 3 listeners: kin heard on 4, far on 3, never on none; 15 - 7
        "n_listener_missing": 8,
    }


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("accuracy", 1 / 3, 3),  # a right, b wrong, d has no p_first and is wrong; c is a tie
        ("accuracy_macro", 0.25, 2),  # q 1 of 2, r 0 of 1
        ("position_consistency", 2 / 4 - 1 / 6, 3),  # a yes, b flips, c is on no side, d has one order: 1 of 3
        ("first_pick_rate", 2 / 5, 5),  # shown verdicts 1, 2, 2, 2, 1
        ("malformed_rate", 1 / 6, 6),
        ("trace_length", (2 + 4 + 2 + 2 + 2) / 5, 5),
        ("brier", (0.05**2 + 0.6**2 + 0.0) / 3, 3),  # shares 0.75, 0, 0.5 against 0.8, 0.6, 0.5
        ("ece", (0.05 + 0.6 + 0.0) / 3, 3),  # three bins of one pair each
        (
            "nll",
            -(0.75 * math.log(0.8) + 0.25 * math.log(0.2) + math.log(0.4) + math.log(0.5)) / 3,
            3,
        ),
        ("disagreement.kin", 1 / 4, 4),  # b forward: exactly 0.5 is on no side
        ("disagreement.far", 2 / 3, 3),  # a forward and b swapped say first
        ("disagreement_gap.kin", (0.0 + 0.1 + 0.1 + 0.1) / 4, 4),
        ("disagreement_gap.far", (0.7 + 0.0 + 0.4) / 3, 3),
        ("blind.always_first", 2 / 3, 3),  # a and d
        ("blind.larger_file", (1 + 0.5) / 2, 2),  # a; b's files are the same size, a coin; d's are unknown
        ("false_claims", 1 / 2, 2),
        ("true_claims", 2 / 2, 2),
        ("bent_to_verdict", 1 / 2, 2),  # a says first, as its false claim has it; b says second
        ("bent_against_verdict", 1 / 2, 2),
    ],
)
def test_each_quantity_by_hand(metrics: dict[str, Any], name: str, value: float, n: int) -> None:
    assert metrics[name]["value"] == pytest.approx(value, abs=1e-12)
    assert metrics[name]["n"] == n


def test_what_cannot_be_computed_is_null_with_n_0(metrics: dict[str, Any]) -> None:
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    assert metrics["disagreement.never"] == nothing
    alone = summarise(PredictionTable.from_rows([row("a", "q", (1, 1), None, [])]), resamples=10)
    assert {name for name, e in alone.items() if isinstance(e, dict) and e != nothing} == set()


def test_the_interval_holds_the_value_and_one_prompt_has_none(metrics: dict[str, Any]) -> None:
    brier = metrics["brier"]
    assert brier["low"] is None  # d has no p_first, so that only prompt q was observed
    accuracy = metrics["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def swapped_row(old: dict[str, Any]) -> dict[str, Any]:
    """The same judgement, had the set listed the pair the other way round."""

    def flip(p: float | None) -> float | None:
        return None if p is None else 1 - p

    def flip_sample(s: dict[str, Any]) -> dict[str, Any]:
        side = {"first": "second", "second": "first", None: None}[s["side"]]
        order = "swapped" if s["order"] == "forward" else "forward"
        heard = {name: flip(p) for name, p in s["listener"].items()}
        return s | {"order": order, "side": side, "p_first": flip(s["p_first"]), "listener": heard}

    return old | {
        "votes_first": old["votes_second"], "votes_second": old["votes_first"], "p_first": flip(old["p_first"]),
        "p_first_forward": flip(old["p_first_swapped"]), "p_first_swapped": flip(old["p_first_forward"]),
        "first_bytes": old.get("second_bytes"), "second_bytes": old.get("first_bytes"),
        "samples": [flip_sample(s) for s in old["samples"]],
    }  # fmt: skip


def test_listing_every_pair_the_other_way_round_changes_only_always_first(metrics: dict[str, Any]) -> None:
    table = PredictionTable.from_rows(swapped_row(r) for r in four_rows())
    mirrored = summarise(table, listeners=["kin", "never"], resamples=200)
    assert mirrored.pop("blind.always_first")["value"] == pytest.approx(1 / 3)
    for name, expected in mirrored.items():
        if isinstance(expected, dict):
            assert metrics[name]["value"] == pytest.approx(expected["value"]), name
            assert metrics[name]["low"] == pytest.approx(expected["low"]), name


@pytest.mark.parametrize("votes", [(1, 0), (0, 1)])
def test_exactly_even_is_wrong_whichever_side_is_right(votes: tuple[float, float]) -> None:
    table = PredictionTable.from_rows([row("a", "q", votes, 0.5, [])])
    assert summarise(table, resamples=10)["accuracy"]["value"] == 0.0


def test_a_certain_mistake_has_a_finite_nll() -> None:
    table = PredictionTable.from_rows([row("a", "q", (0, 1), 1.0, [])])
    assert summarise(table, resamples=10)["nll"]["value"] == pytest.approx(-math.log(1e-6))


def test_calibration_errors_cancel_within_a_bin_and_not_across_bins() -> None:
    near = [row("a", "q", (1, 0), 0.51, []), row("b", "r", (0, 1), 0.52, [])]
    assert summarise(PredictionTable.from_rows(near), resamples=10)["ece"]["value"] == pytest.approx(0.03 / 2)
    far = [row("a", "q", (1, 0), 0.4, []), row("b", "r", (0, 1), 0.6, [])]
    assert summarise(PredictionTable.from_rows(far), resamples=10)["ece"]["value"] == pytest.approx(0.6)


def test_an_estimate_survives_the_file() -> None:
    estimate = Estimate(0.5, 0.25, 0.75, 8)
    assert read_estimate({"accuracy": estimate.as_record()}, "accuracy") == estimate
    assert read_estimate({}, "accuracy") == Estimate.missing()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_first": 1.5}, r"predictions\.jsonl:1.*1\.5"),
        ({"p_first": float("nan")}, "nan"),
        ({"p_first": "0.7"}, "a probability is '0.7'"),
        ({"p_first": True}, "a probability is True"),
        ({"samples": [3]}, "row as 'earshot eval' writes it"),
        ({"votes_first": -1}, "-1"),
        ({"votes_first": None}, "a count is None"),
        ({"votes_second": "many"}, "many"),
        ({"samples": [sample(listener={"kin": 2})]}, "2"),
        ({"samples": [sample(side="left")]}, "left"),
        ({"samples": [sample(malformed="no answer")]}, "just one"),
        ({"samples": [sample() | {"side": None, "verdict": None}]}, "just one"),
        ({"samples": [sample(verdict=3)]}, "3"),
        ({"first_bytes": -5}, "-5"),
    ],
)
def test_hostile_rows_are_refused_with_their_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        PredictionTable.from_rows([row("a", "q", (1, 0), 0.5, []) | change], where="predictions.jsonl")


def test_missing_fields_no_rows_and_repeated_ids_are_refused() -> None:
    with pytest.raises(DataError, match=r"x:2.*prompt_id"):
        PredictionTable.from_rows([row("a", "q", (1, 0), 0.5, []), {"id": "b"}], where="x")
    with pytest.raises(DataError, match="no predictions"):
        PredictionTable.from_rows([])
    with pytest.raises(DataError, match="twice"):
        PredictionTable.from_rows([row("a", "q", (1, 0), 0.5, [])] * 2)


def test_the_rows_are_streamed() -> None:
    alive: list[int] = []

    class Tracked(dict[str, Any]):
        def __del__(self) -> None:
            alive.append(-1)

    def rows() -> Any:
        for i in range(50):
            alive.append(1)
            assert sum(alive) <= 3
            yield Tracked(row(str(i), "q", (1, 0), 0.5, [sample()]))

    assert np.unique(PredictionTable.from_rows(rows()).sample_pair).size == 50
