"""Blind baselines and their warnings on pairs that can be counted by hand."""

from typing import Any

import pytest

from earshot.metrics import PredictionTable, summarise
from earshot.metrics.blind import generator_prior, leak_warnings, warnings_of
from earshot.types import Estimate


def row(id: str, prompt: str, votes: tuple[float, float], p_first: float = 0.9, **more: Any) -> dict[str, Any]:
    base = {"id": id, "prompt_id": prompt, "votes_first": votes[0], "votes_second": votes[1], "p_first": p_first}
    return base | {"p_first_forward": p_first, "p_first_swapped": p_first, "samples": []} | more


def baseline(rows: list[dict[str, Any]], name: str) -> tuple[float | None, int]:
    record = summarise(PredictionTable.from_rows(rows), resamples=20)[f"blind.{name}"]
    return record["value"], record["n"]


def test_the_larger_picture_by_hand() -> None:
    rows = [
        row("a", "q", (1, 0), first_pixels=120, second_pixels=80),  # right
        row("b", "q", (0, 1), first_pixels=120, second_pixels=80),  # wrong
        row("c", "r", (0, 1), first_pixels=80, second_pixels=120),  # right
        row("d", "r", (1, 0), first_pixels=80, second_pixels=80),  # a coin
        row("e", "r", (1, 1), first_pixels=120, second_pixels=80),  # a tie
        row("f", "r", (1, 0), first_pixels=None, second_pixels=80),  # nothing to go by
    ]
    assert baseline(rows, "larger_picture") == (2.5 / 4, 4)


def test_pictures_of_one_size_say_nothing_and_warn_of_nothing() -> None:
    rows = [row(id, "q", (1, 0), p_first=0.1, first_pixels=80, second_pixels=80) for id in "abcd"]
    assert baseline(rows, "larger_picture") == (None, 0)
    found = summarise(PredictionTable.from_rows(rows), resamples=20)
    assert not any("pixels" in text for text in warnings_of(found))


def models(id: str, prompt: str, first: str, second: str, winner: str) -> dict[str, Any]:
    votes = (1.0, 0.0) if winner == first else (0.0, 1.0)
    return row(id, prompt, votes, model_first=first, model_second=second)


def test_the_generator_prior_leaves_its_own_prompt_out() -> None:
    rows = [
        models("a", "q1", "x", "y", "x"),
        models("b", "q2", "y", "x", "x"),
        models("c", "q3", "x", "y", "y"),
    ]
    # Seen from q1: x won 1 of 2 elsewhere, y 1 of 2: even, a coin. From q2 the same. From q3: x won both: wrong.
    assert baseline(rows, "generator_prior") == (1.0 / 3, 3)
    rows.append(models("d", "q4", "x", "y", "x"))
    # From q1 and q2: x 2 of 3: right. From q3: x 3 of 3: wrong. From q4: x 2 of 3: right.
    assert baseline(rows, "generator_prior") == (3 / 4, 4)


def test_what_a_generator_played_in_the_prompt_itself_does_not_dilute_its_share() -> None:
    rows = [models("p", "q1", "x", "y", "x"), *(models(f"o{i}", "q1", "x", "z", "z") for i in range(3))]
    rows += [models("a", "q2", "x", "z", "x"), models("b", "q3", "x", "z", "z")]
    rows += [models("c", "q4", "y", "z", "y"), models("d", "q5", "y", "z", "z"), models("e", "q6", "y", "z", "z")]
    guess = generator_prior(PredictionTable.from_rows(rows))
    # From q1: x won 1 of 2 elsewhere, y 1 of 3. Of all that it played, x would have won 1 of 6 and y 1 of 4.
    assert guess.lean[0] == pytest.approx(1 / 2 - 1 / 3)


def test_a_generator_unknown_elsewhere_is_even() -> None:
    rows = [models("a", "q1", "x", "y", "x"), models("b", "q2", "x", "y", "x"), models("c", "q3", "z", "x", "x")]
    # From q1 and q2: x won 2 of 2 elsewhere, y none of 1: right. From q3: x 2 of 2 against z's half: x, right.
    assert baseline(rows, "generator_prior") == (1.0, 3)
    # With one prompt nothing is known of any: each pair a coin.
    assert baseline([models("a", "q", "x", "y", "x"), models("b", "q", "x", "y", "x")], "generator_prior") == (0.5, 2)
    assert baseline([row("a", "q", (1, 0), model_first="x")], "generator_prior") == (None, 0)


def test_the_prior_is_the_same_whichever_side_a_generator_is_on() -> None:
    def turned(old: dict[str, Any]) -> dict[str, Any]:
        return old | {
            "model_first": old["model_second"],
            "model_second": old["model_first"],
            "votes_first": old["votes_second"],
            "votes_second": old["votes_first"],
        }

    rows = [models(f"p{i}", f"q{i % 5}", "xyz"[i % 3], "yzx"[i % 3], "xyz"[(i * i) % 3]) for i in range(20)]
    lean = generator_prior(PredictionTable.from_rows(rows)).lean
    assert (generator_prior(PredictionTable.from_rows([turned(r) for r in rows])).lean == -lean).all()
    assert lean.any()


def test_ordered_sides_are_warned_of_and_even_ones_are_not() -> None:
    # HPDv3 as published: the first is always preferred.
    ordered = [row(f"p{i}", f"q{i}", (1, 0)) for i in range(40)]
    metrics = summarise(PredictionTable.from_rows(ordered), resamples=200)
    assert any(
        "sides are ordered: the first image is the preferred one in 100.0% of 40" in w for w in metrics["warnings"]
    )
    even = [row(f"p{i}", f"q{i}", (1, 0) if i % 2 else (0, 1), 0.9 if i % 2 else 0.1) for i in range(40)]
    assert summarise(PredictionTable.from_rows(even), resamples=200)["warnings"] == []


def test_a_judge_no_better_than_blind_is_warned_of() -> None:
    estimates = {
        "accuracy": Estimate(0.60, 0.55, 0.65, 100),
        "blind.larger_file": Estimate(0.62, 0.5, 0.7, 100),
        "blind.always_first": Estimate(0.5, 0.45, 0.55, 100),
    }
    (warning,) = leak_warnings(estimates)
    assert "the larger file is right in 62.0% of 100 pairs, the accuracy is 60.0%" in warning
    assert leak_warnings({}) == []
    assert warnings_of({"warnings": [warning]}) == [warning]
    assert warnings_of({}) == []


@pytest.mark.parametrize("change", [{"label": "left"}, {"axis": 3}, {"model_first": ["x"]}, {"first_pixels": -1}])
def test_hostile_descriptions_are_refused(change: dict[str, Any]) -> None:
    from earshot.errors import DataError

    with pytest.raises(DataError, match="predictions:1"):
        PredictionTable.from_rows([row("a", "q", (1, 0), **change)])
