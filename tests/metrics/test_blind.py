"""Blind baselines and their warnings on pairs that can be counted by hand."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from earshot import images
from earshot.data.public import find_importer
from earshot.data.writer import PairSetWriter
from earshot.images import NO_IMAGE, Tolerance, load_image
from earshot.measured import COMPARED, compared
from earshot.metrics import PredictionTable, summarise
from earshot.metrics.blind import (
    BASELINES,
    blind_estimates,
    blind_lines,
    blind_notes,
    blind_of_set,
    generator_prior,
    leak_warnings,
    tells,
    warnings_of,
)
from earshot.predictions.people import unjudged_row
from earshot.types import Estimate, Pair, Votes


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


def test_the_rules_that_go_by_a_number_of_each_picture_by_hand() -> None:
    rules = dict(zip(COMPARED, ("sharper", "brighter", "contrast", "colourful"), strict=True))
    for column, rule in rules.items():
        first, second = f"first_{column}", f"second_{column}"
        rows = [
            row("a", "q", (2, 1), **{first: 0.4, second: 0.1}),  # right
            row("b", "q", (0, 1), **{first: 0.4, second: 0.1}),  # wrong
            row("c", "r", (0, 1), **{first: 0.1, second: 0.4}),  # right
            row("d", "r", (1, 0), **{first: 0.1, second: 0.1}),  # a coin
            row("e", "r", (1, 0)),  # nothing to go by: an evaluation of before it was measured
        ]
        assert baseline(rows, rule) == (2.5 / 4, 4)
        assert all(baseline(rows, other) == (None, 0) for other in rules.values() if other != rule)


def a_set(folder: Path, pairs: list[Pair]) -> Path:
    with PairSetWriter(folder, store_images=pairs[0].first is not NO_IMAGE) as writer:
        for pair in pairs:
            writer.add(pair)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often image files are decoded."""
    counts: Counter[str] = Counter()
    check = images._check_data

    def counting(data: bytes, image: Image.Image, *rest: Any) -> None:
        counts["files"] += 1
        check(data, image, *rest)

    monkeypatch.setattr(images, "_check_data", counting)
    return counts


def test_a_set_is_measured_with_each_picture_decoded_once(tmp_path: Path, decoded: Counter[str]) -> None:
    greys = [Image.new("RGB", (20, 16), (10 * k, 10 * k, 10 * k)) for k in range(4)]
    pairs = [Pair(f"p{k}", f"prompt {k}", greys[k % 3], greys[3], Votes(float(k < 2), 1.0)) for k in range(9)]
    folder = a_set(tmp_path / "set", pairs)
    decoded.clear()
    told: list[int] = []
    found = blind_of_set(folder, resamples=50, on_pair=told.append)
    assert decoded["files"] == 4 and told == [*range(1, 10)]
    assert list(found) == list(BASELINES)
    # Pairs 0 and 1 are tied; of the other seven the second is preferred, and is the brighter.
    assert (found["blind.brighter"].value, found["blind.brighter"].n) == (1.0, 7)
    assert found["blind.always_first"].value == 0.0 and found["blind.sharper"].n == 0  # plain pictures: all alike
    assert blind_notes(found) == [
        "by always the first image alone a judge would be right in 0.0 [0.0, 0.0] % of 7 strict pairs",
        "by the brighter picture alone a judge would be right in 100.0 [100.0, 100.0] % of 7 strict pairs",
    ]
    assert [line.partition("  ")[0] for line in blind_lines(found)] == [
        "always the first image", "the larger file", "the brighter picture",
    ]  # fmt: skip


def test_a_set_without_images_has_the_rules_that_need_none(tmp_path: Path) -> None:
    pairs = [Pair(f"p{k}", f"prompt {k}", NO_IMAGE, NO_IMAGE, Votes(1.0, 0.0)) for k in range(3)]
    found = blind_of_set(a_set(tmp_path / "set", pairs), resamples=50)
    assert found["blind.always_first"].value == 1.0 and found["blind.sharper"] == Estimate.missing()


@pytest.mark.parametrize(
    ("estimate", "said"),
    [
        (Estimate(0.6, 0.51, 0.7, 100), True),
        (Estimate(0.3, 0.2, 0.4, 100), True),  # worse than a coin: the other side tells
        (Estimate(0.6, 0.5, 0.7, 100), False),
        (Estimate(1.0, 1.0, 1.0, 6), True),
        (Estimate(1.0, 1.0, 1.0, 5), None),  # all of five are alike by chance once in 16 times
        (Estimate(1.0, None, None, 100), None),
        (Estimate.missing(), None),
    ],
)
def test_a_rule_tells_where_its_interval_leaves_out_one_half(estimate: Estimate, said: bool | None) -> None:
    assert tells(estimate) is said
    assert bool(blind_notes({"blind.sharper": estimate})) == (said is True)
    words = {True: "tells", False: "at chance", None: "too few pairs to say"}[said]
    assert all(line.endswith(f": {words}") for line in blind_lines({"blind.sharper": estimate}))


@pytest.mark.parametrize(
    ("subset", "by_file"), [("human", 0.98), pytest.param("objects_indoor", 1.0, marks=pytest.mark.slow)]
)
def test_the_sharper_picture_is_right_in_all_of_mjbench(shared_data: Path, subset: str, by_file: float) -> None:
    published = find_importer("mjbench").read(shared_data / "mjbench_quality" / subset, Tolerance(0))

    def rows() -> Iterator[dict[str, Any]]:
        for pair in published.pairs:
            yield unjudged_row(pair, [compared(load_image(image)) for image in (pair.first, pair.second)])

    found = blind_estimates(PredictionTable.from_rows(rows()), resamples=50)
    assert (found["blind.sharper"].value, found["blind.sharper"].n) == (1.0, 100)
    assert found["blind.larger_file"].value == pytest.approx(by_file)


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
    # Of several the best, for they are seldom news to one another.
    (best,) = leak_warnings({**estimates, "blind.sharper": Estimate(0.9, 0.8, 1.0, 100)})
    assert "the sharper picture is right in 90.0%" in best
    assert leak_warnings({}) == []
    assert warnings_of({"warnings": [warning]}) == [warning]
    assert warnings_of({}) == []


@pytest.mark.parametrize("change", [{"label": "left"}, {"axis": 3}, {"model_first": ["x"]}, {"first_pixels": -1}])
def test_hostile_descriptions_are_refused(change: dict[str, Any]) -> None:
    from earshot.errors import DataError

    with pytest.raises(DataError, match="predictions:1"):
        PredictionTable.from_rows([row("a", "q", (1, 0), **change)])
