"""The checker: honest traces hold, each kind of lie is found, and nothing that a model writes can break it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.protocol import swap_references
from earshot.types import other
from earshot.world.checker import Claim, check_trace, favoured_sides
from earshot.world.language import Corruption, write_trace
from earshot.world.pairs import POPULATIONS, draw_pair
from earshot.world.scene import COLOURS, FAULTS, PLACES, SHAPES, SIZES, Picture, Scene, Thing
from earshot.world.truth import Truth

HONEST = (
    "first : left large red circle yes , right small blue star no but small green star , dark . "
    "second : left large red circle no but nothing , right small blue star yes , clean . so first better"
)
# What `conftest.truth` is, for the properties, which take no fixtures of a function's scope.
WANTED = Scene(Thing("large", "red", "circle"), Thing("small", "blue", "star"))
TRUTH = Truth(
    WANTED,
    Picture(Scene(WANTED.left, Thing("small", "green", "star")), "dark"),
    Picture(Scene(None, WANTED.right), "clean"),
)
seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from(list(POPULATIONS))
VOCABULARY = [*SIZES, *COLOURS, *SHAPES, *FAULTS, *PLACES, "nothing", "yes", "no", "but", "first", "second"]
word_salads = st.lists(st.sampled_from([*VOCABULARY, "so", "better", ",", ".", ":", "banana"]), max_size=60)


def drawn(seed: int, name: str, corruption: Corruption) -> tuple[str, Truth]:
    rng = np.random.default_rng(seed)
    pair = draw_pair(rng, POPULATIONS[name])
    return write_trace(pair.truth, "first", rng, corruption), pair.truth


def counts(claims: list[Claim]) -> dict[str, int]:
    return dict(Counter(claim.status for claim in claims))


def false_claims(trace: str, truth: Truth) -> list[tuple[str | None, str]]:
    return [(claim.image, claim.text) for claim in check_trace(trace, truth) if claim.status == "false"]


def test_the_claims_of_an_honest_trace_by_hand(truth) -> None:
    assert check_trace(HONEST, truth) == [
        Claim("first", "left large red circle yes", "true"),
        Claim("first", "right small blue star no", "true"),
        Claim("first", "right small", "true"),
        Claim("first", "right green", "true"),
        Claim("first", "right star", "true"),
        Claim("first", "dark", "true"),
        Claim("second", "left large red circle no", "true"),
        Claim("second", "left nothing", "true"),
        Claim("second", "right small blue star yes", "true"),
        Claim("second", "clean", "true"),
        Claim(None, "so first better", "unchecked"),
    ]


@pytest.mark.parametrize(
    ("said", "lie", "found"),
    [
        # A thing that is there is denied, and one that is not is claimed.
        ("left large red circle yes", "left large red circle no", [("first", "left large red circle no")]),
        ("right small blue star no but", "right small blue star yes but", [("first", "right small blue star yes")]),
        # What is there instead: each attribute is a claim of its own.
        ("but small green star", "but large green star", [("first", "right large")]),
        ("but small green star", "but small red star", [("first", "right red")]),
        ("but small green star", "but small green square", [("first", "right square")]),
        ("but small green star", "but large red square",
         [("first", "right large"), ("first", "right red"), ("first", "right square")]),
        # Emptiness, both ways round.
        ("but small green star", "but nothing", [("first", "right nothing")]),
        ("but nothing", "but large blue circle",
         [("second", "left large"), ("second", "left blue"), ("second", "left circle")]),
        # The rendering, of either image.
        ("dark", "pale", [("first", "pale")]),
        ("clean", "tinted", [("second", "tinted")]),
        # Opinions are not lies.
        ("so first better", "so second better", []),
    ],
)  # fmt: skip
def test_each_planted_lie_is_found_and_nothing_else(truth, said, lie, found) -> None:
    assert HONEST.count(said) == 1
    trace = HONEST.replace(said, lie)
    assert false_claims(trace, truth) == found
    assert counts(check_trace(trace, truth))["unchecked"] == 1


def test_five_lies_in_one_trace_are_five(truth) -> None:
    trace = (
        "first : left large red circle no , right small blue star no but large green circle , clean . "
        "second : left large red circle no but nothing , right small blue star yes , dark . so second better"
    )
    # no; large, circle; clean; dark. True: no, green; no, nothing; yes.
    assert counts(check_trace(trace, truth)) == {"false": 5, "true": 5, "unchecked": 1}


def test_nothing_can_be_asked_for_too() -> None:
    picture = Picture(Scene(None, WANTED.right), "clean")
    truth = Truth(picture.scene, picture, TRUTH.first)
    assert counts(check_trace("first : left nothing yes . second : left nothing no", truth)) == {"true": 2}
    assert counts(check_trace("first : left nothing no . second : left nothing yes", truth)) == {"false": 2}


@given(seeds, names)
def test_an_honest_trace_has_no_false_claim_and_one_opinion(seed: int, name: str) -> None:
    claims = check_trace(*drawn(seed, name, Corruption()))
    assert [claim.text for claim in claims if claim.status != "true"] == ["so first better"]


@given(seeds, names)
def test_every_claim_of_a_careless_trace_is_checked(seed: int, name: str) -> None:
    claims = check_trace(*drawn(seed, name, Corruption(facts=0.5)))
    assert [claim.text for claim in claims if claim.status == "unchecked"] == ["so first better"]


@given(seeds, names, st.sampled_from([0.0, 0.3]))
def test_swapping_the_images_and_their_names_changes_no_status(seed: int, name: str, facts: float) -> None:
    trace, truth = drawn(seed, name, Corruption(facts=facts))
    claims, swapped = check_trace(trace, truth), check_trace(swap_references(trace), truth.swapped())
    assert [claim.status for claim in swapped] == [claim.status for claim in claims]
    assert [claim.image for claim in swapped] == [claim.image and other(claim.image) for claim in claims]


@given(word_salads)
def test_swapping_changes_no_status_of_a_word_salad_either(words: list[str]) -> None:
    trace = " ".join(words)
    statuses = [claim.status for claim in check_trace(trace, TRUTH)]
    assert [claim.status for claim in check_trace(swap_references(trace), TRUTH.swapped())] == statuses


@given(st.text() | word_salads.map(" ".join))
def test_whatever_a_model_writes_is_checked(trace: str) -> None:
    for claim in check_trace(trace, TRUTH):
        assert claim.text and claim.status in ("true", "false", "unchecked")
        assert claim.image is not None or claim.status == "unchecked"


@pytest.mark.parametrize(
    "trace",
    ["", " \n", "so", "so so so . so", "yes no", "first", "left", "first : left", "first : left yes", ", , . :",
     "first : left but but", "first : left large yes", "first : right large large star yes", "left red circle",
     "the first image is lovely", "\x00\ud800 first", "so first " * 20_000, "first " * 50_000, "no " * 50_000],
)  # fmt: skip
def test_garbage_is_neither_right_nor_wrong(trace: str) -> None:
    assert set(counts(check_trace(trace, TRUTH))) <= {"unchecked"}


def test_a_claim_before_any_image_is_named_is_unchecked(truth) -> None:
    assert counts(check_trace("left large red circle yes , dark . first : dark", truth)) == {"unchecked": 2, "true": 1}


def test_a_conclusion_ends_where_its_sentence_does(truth) -> None:
    claims = check_trace("first : dark so first better . second : pale", truth)
    assert claims == [
        Claim("first", "dark", "true"),
        Claim(None, "so first better", "unchecked"),
        Claim("second", "pale", "false"),
    ]


def test_commas_that_touch_their_words_and_capitals_are_read(truth) -> None:
    said = "First: left large red circle yes, right small blue star no but small green star, dark. Second: pale."
    assert counts(check_trace(said, truth)) == {"true": 6, "false": 1}


def test_a_repeated_claim_counts_each_time(truth) -> None:
    assert counts(check_trace("first : dark , dark , pale , pale , pale", truth)) == {"true": 2, "false": 3}


@pytest.mark.parametrize(
    ("trace", "favoured"),
    [
        (HONEST, []),
        ("first : right small blue star yes", ["first"]),  # a green one is there
        ("second : left large red circle yes , right small blue star yes , clean", ["second"]),
        ("first : left large red circle no but nothing", ["second"]),  # it is there
        ("first : clean . second : clean", ["first"]),  # the first is dark
        ("second : pale", ["first"]),  # and the second clean
        ("first : pale", []),  # one fault for another
        ("first : right small blue star no but large red star", []),  # it is small and green, and none was asked for
        ("clean . left large red circle yes . so second better", []),  # of no image
    ],
)
def test_a_false_claim_favours_the_image_that_it_puts_in_a_better_light(truth, trace: str, favoured: list[str]) -> None:
    assert favoured_sides(trace, truth) == favoured
    assert favoured_sides(swap_references(trace), truth.swapped()) == [other(side) for side in favoured]
