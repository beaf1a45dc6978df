"""Endpoints of single completions, by hand, and back from the totals that a summary keeps."""

from typing import Any

import numpy as np
import pytest

from earshot.lab.experiment.endpoints import ENDPOINTS, endpoint, endpoint_names, endpoint_statistics, rebuilt
from earshot.lab.experiment.marks import MarkTally
from earshot.metrics import PredictionTable, summarise
from earshot.stats import Statistic
from tests.lab.experiment.made_up import judged_rows


def sample(side: str | None, false: int | None, heard: float = 0.9, order: str = "forward") -> dict[str, Any]:
    if side is None:
        return {"order": order, "trace": "", "side": None, "malformed": "no", "verdict": None, "p_first": None}
    return {
        "order": order, "trace": "one two", "side": side, "malformed": None, "verdict": 1, "p_first": 0.5,
        "listener": {"l": heard}, "claims": None if false is None else {"true": 1, "false": false, "unchecked": 0},
    }  # fmt: skip


def row(number: int, votes: tuple[int, int], *samples: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": str(number), "prompt_id": "q", "p_first": None, "p_first_forward": None, "p_first_swapped": None,
        "votes_first": votes[0], "votes_second": votes[1], "samples": list(samples),
    }  # fmt: skip


def statistics_of(table: PredictionTable, listeners: list[str]) -> dict[str, Statistic]:
    """Of a set in which no picture is marked."""
    return endpoint_statistics(table, listeners, MarkTally({}).statistics(table))


def values(*rows: dict[str, Any]) -> dict[str, float]:
    table = PredictionTable.from_rows(rows)
    return {name: one.value() for name, one in statistics_of(table, ["l"]).items()}


def test_right_for_wrong_reasons_and_wrong_for_right_reasons() -> None:
    found = values(
        row(1, (3, 1), sample("first", 0), sample("first", 2), sample("second", 0), sample("second", 1)),
        row(2, (0, 4), sample("second", 1), sample(None, None), sample("second", None)),
        row(3, (2, 2), sample("first", 1)),  # a tie is neither right nor wrong
    )
    # Checked and well-formed on strict pairs: 5. Right with a false claim: 1 of pair 1 and 1 of pair 2.
    assert found["right_verdict_wrong_reasons"] == pytest.approx(2 / 5)
    assert found["right_reasons_wrong_verdict"] == pytest.approx(1 / 5)
    # Claims are also counted on the tie: 0, 2, 0, 1, 1, 1.
    assert found["false_claims"] == pytest.approx(5 / 6)


def test_accuracy_where_the_listener_agrees_and_where_not() -> None:
    found = values(
        row(1, (3, 1), sample("first", 0, 0.9), sample("second", 0, 0.9), sample("first", 0, 0.2)),
        row(2, (1, 3), sample("first", 0, 0.7), sample("second", 0, 0.5), sample(None, None)),
    )
    # Agree: (first, .9) right and (first, .7) wrong. Disagree: (second, .9) wrong, (first, .2) right, and 0.5, which is
    # on no side, right.
    assert found["accuracy_agree.l"] == pytest.approx(1 / 2)
    assert found["accuracy_disagree.l"] == pytest.approx(2 / 3)
    assert found["disagreement.l"] == pytest.approx(3 / 5)
    assert found["malformed_rate"] == pytest.approx(1 / 6)


def test_swapping_every_pair_changes_no_endpoint() -> None:
    rows = judged_rows(0)
    turned = [
        row
        | {f"p_first{end}": 1 - row[f"p_first{other}"] for end, other in (("", ""), ("_forward", "_swapped"))}
        | {"p_first_swapped": 1 - row["p_first_forward"]}
        | {"votes_first": row["votes_second"], "votes_second": row["votes_first"]}
        | {"p_read": {name: 1 - p for name, p in row["p_read"].items()}}
        | {"samples": [_turned(one) for one in row["samples"]]}
        for row in rows
    ]
    names = ["training", "held-out"]
    a, b = (statistics_of(PredictionTable.from_rows(r), names) for r in (rows, turned))
    for name in a:
        if name != "ece":  # its bins are half-open
            assert a[name].value() == pytest.approx(b[name].value(), nan_ok=True), name


def _turned(one: dict[str, Any]) -> dict[str, Any]:
    return one | {
        "side": "second" if one["side"] == "first" else "first",
        "order": "swapped" if one["order"] == "forward" else "forward",
        "p_first": 1 - one["p_first"],
        "listener": {name: 1 - p for name, p in one["listener"].items()},
    }


def test_the_endpoints_are_those_of_metrics_json() -> None:
    table = PredictionTable.from_rows(judged_rows(1))
    metrics = summarise(table, listeners=["training"], resamples=10)
    found = statistics_of(table, ["training"])
    shared = [name for name in found if name in metrics]
    assert {
        "accuracy",
        "brier",
        "accuracy.read.training",
        "ece",
        "false_claims",
        "disagreement.training",
        "position_consistency",
    } <= {*shared}
    for name in shared:
        assert found[name].value() == pytest.approx(metrics[name]["value"])


def test_totals_make_the_same_statistic_again() -> None:
    found = statistics_of(PredictionTable.from_rows(judged_rows(2)), ["training"])
    assert list(found) == endpoint_names(["training"])
    for name, one in found.items():
        again = rebuilt(name, one.totals.astype(np.float32).astype(np.float64))
        assert again.value() == pytest.approx(one.value(), abs=1e-6, nan_ok=True)
        assert again.n == one.n


def test_every_endpoint_is_read_by_its_name() -> None:
    assert endpoint("accuracy") is ENDPOINTS["accuracy"]
    assert endpoint("disagreement.held-out").label == "disagreement with the held-out listener"
    with pytest.raises(KeyError):
        endpoint("nonsense")
