"""What is asked for and what is shown: which combinations stay out of prompts, and how pictures go wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from earshot.world.pairs import POPULATIONS, WorldPair, pair_generator
from earshot.world.scene import (
    COLOURS,
    FAULT_CHANCES,
    HELD_OUT,
    KIND_CHANCES,
    SHAPES,
    Picture,
    Scene,
    Thing,
    attempt,
    draw_picture,
    prompt_text,
    spoil_thing,
)

Draw = Callable[..., list[WorldPair]]
FAMILIAR = [name for name, population in POPULATIONS.items() if not population.held_out]


def is_held_out(thing: Thing | None) -> bool:
    return thing is not None and (thing.colour, thing.shape) in HELD_OUT


@pytest.mark.parametrize("name", FAMILIAR)
def test_familiar_populations_never_ask_for_a_held_out_combination(draw: Draw, name: str) -> None:
    asked = [thing for pair in draw(name, 2000) for thing in pair.truth.wanted.things]
    assert not any(map(is_held_out, asked))
    assert {(thing.colour, thing.shape) for thing in asked if thing} == {
        (c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT
    }  # and for each of the 24 - 5 others they do


def test_the_unseen_combinations_are_all_that_their_set_asks_for(draw: Draw) -> None:
    asked = {(t.colour, t.shape) for pair in draw("ood_combinations", 300) for t in pair.truth.wanted.things if t}
    assert asked == HELD_OUT


def test_training_pictures_show_held_out_combinations_as_mistakes_and_only_so(draw: Draw) -> None:
    """What the docstring of HELD_OUT admits: 14 % of the pictures, and never where it was asked for."""
    pictures = [(p.truth.wanted, picture) for p in draw("train", 3000) for picture in (p.truth.first, p.truth.second)]
    showing = [(wanted, picture) for wanted, picture in pictures if any(map(is_held_out, picture.scene.things))]
    assert len(showing) / len(pictures) == pytest.approx(0.14, abs=0.02)
    for wanted, picture in showing:
        for shown, asked in zip(picture.scene.things, wanted.things, strict=True):
            assert not (is_held_out(shown) and shown == asked)


def test_every_held_out_word_is_familiar_in_other_combinations() -> None:
    for colour, shape in HELD_OUT:
        assert any((colour, other) not in HELD_OUT for other in SHAPES)
        assert any((other, shape) not in HELD_OUT for other in COLOURS)


def test_a_spoiled_thing_differs_in_one_way_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    thing = Thing("large", "red", "circle")
    ways: Counter[str] = Counter()
    for _ in range(4000):
        spoiled = spoil_thing(thing, rng)
        assert spoiled != thing
        if spoiled is None:
            ways["missing"] += 1
        else:
            wrong = [name for name in ("size", "colour", "shape") if getattr(spoiled, name) != getattr(thing, name)]
            assert len(wrong) == 1
            ways[wrong[0]] += 1
    shares = {way: count / 4000 for way, count in ways.items()}
    # The widest of the four: sqrt(0.4 * 0.6 / 4000) = 0.008.
    assert shares == pytest.approx({"colour": 0.40, "shape": 0.35, "size": 0.15, "missing": 0.10}, abs=0.03)


def test_attempts_are_right_and_clean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    wanted = Scene(Thing("large", "red", "circle"), None)
    pictures = [draw_picture(wanted, rng) for _ in range(4000)]
    assert all(picture.scene.right is None for picture in pictures)  # nothing cannot be spoiled
    assert np.mean([picture.scene.left == wanted.left for picture in pictures]) == pytest.approx(0.60, abs=0.03)
    # 0.4 + 0.6 / 4 = 0.55
    assert np.mean([picture.fault == "clean" for picture in pictures]) == pytest.approx(0.55, abs=0.03)
    assert {picture.fault for picture in pictures} == {"clean", "dark", "pale", "tinted"}


def test_the_generator_s_chances_are_what_it_draws() -> None:
    rng = np.random.default_rng(1)
    wanted = Scene(Thing("large", "red", "circle"), Thing("small", "blue", "star"))
    pictures = [draw_picture(wanted, rng) for _ in range(4000)]
    shown = Counter(
        kind_of(thing, asked) for p in pictures for thing, asked in zip(p.scene.things, wanted.things, strict=True)
    )
    faults = Counter(picture.fault for picture in pictures)
    # The widest of all: sqrt(0.55 * 0.45 / 4000) = 0.008.
    assert {kind: count / 8000 for kind, count in shown.items()} == pytest.approx(dict(KIND_CHANCES), abs=0.025)
    assert {fault: count / 4000 for fault, count in faults.items()} == pytest.approx(dict(FAULT_CHANCES), abs=0.025)
    assert sum(KIND_CHANCES.values()) == pytest.approx(1.0) and sum(FAULT_CHANCES.values()) == pytest.approx(1.0)


def test_an_attempt_of_a_kind_is_of_that_kind() -> None:
    rng = np.random.default_rng(2)
    thing = Thing("large", "red", "circle")
    assert [kind_of(attempt(thing, kind, rng), thing) for kind in KIND_CHANCES] == list(KIND_CHANCES)


def kind_of(shown: Thing | None, asked: Thing | None) -> str:
    if shown is None:
        return "missing"
    return next((name for name in ("size", "colour", "shape") if getattr(shown, name) != getattr(asked, name)), "right")


def test_a_prompt_names_both_places_in_order(truth) -> None:
    assert prompt_text(truth.wanted) == "large red circle , small blue star"


def test_drawing_depends_on_seed_set_and_index_alone() -> None:
    def numbers(*place: int | str) -> list[float]:
        return pair_generator(*place).random(4).tolist()  # type: ignore[arg-type]

    assert numbers(0, "train", 5) == numbers(0, "train", 5)
    assert len({tuple(numbers(s, n, i)) for s in (0, 1) for n in ("train", "test") for i in (0, 1, 2)}) == 12


def test_a_picture_is_a_value() -> None:
    scene = Scene(Thing("large", "red", "circle"), None)
    assert len({Picture(scene, "dark"), Picture(scene, "dark"), Picture(scene, "pale")}) == 2
