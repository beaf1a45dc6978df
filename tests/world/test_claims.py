"""Claims of the world's language, and the lesson in checking them."""

import numpy as np

from earshot.protocol import Claim, prompt_set
from earshot.world.checker import check_trace
from earshot.world.claims import draw_claim, draw_questions, split_world_claims
from earshot.world.language import Corruption, write_trace
from earshot.world.pairs import POPULATIONS, draw_pair
from earshot.world.scene import FAULTS, Picture, Scene, Thing
from earshot.world.truth import Truth

BRIEF = prompt_set("brief")


def test_a_trace_is_cut_into_what_it_says_of_either_image() -> None:
    trace = (
        "first : left large red circle yes , right small blue star no but small green star , dark . "
        "second : left large red circle no but nothing . so first better"
    )
    assert split_world_claims(trace) == [
        Claim("first", "left large red circle"),
        Claim("first", "right small blue star", denied=True),
        *(Claim("first", f"right {word}") for word in ("small", "green", "star")),
        Claim("first", "dark"),
        Claim("second", "left large red circle", denied=True),
        Claim("second", "left nothing"),
    ]
    assert split_world_claims("so first better . hello , image 1 is good") == []


def test_a_claim_knows_its_own_words_and_a_place_is_its_first_claim_s() -> None:
    trace = (
        "FIRST: left  large red circle yes, right small blue star no but small green. pale "
        "second left blue red, so nothing"
    )
    assert [(claim.text, trace[slice(*claim.span)]) for claim in split_world_claims(trace)] == [
        ("left large red circle", "left  large red circle yes"),
        ("right small blue star", "right small blue star no"),
        ("right small", "small"),
        ("right green", "green"),
        ("pale", "pale"),
        ("left blue", "left blue"),
        ("left red", "red"),
    ]


def test_a_claim_taken_by_itself_is_as_true_as_in_its_trace() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        truth = draw_pair(rng, POPULATIONS["test"]).truth
        trace = write_trace(truth, "first", rng, Corruption(facts=0.3))
        checked = [claim for claim in check_trace(trace, truth) if claim.status != "unchecked"]
        for claim, known in zip(split_world_claims(trace), checked, strict=True):
            assert (holds(claim.text, truth, claim.image) != claim.denied) == (known.status == "true")


def holds(text: str, truth: Truth, image: str) -> bool:
    """Whether a claim without yes or no is true, by the world's own checker."""
    words = text.split()
    whole = f"{text} yes" if len(words) == 4 or words[1:] == ["nothing"] else text
    [known] = check_trace(f"{image} : {whole}", truth)
    return known.status == "true"


def test_the_lesson_draws_claims_that_are_as_true_as_it_says() -> None:
    rng = np.random.default_rng(1)
    thing = Thing("small", "red", "star")
    pictures = [Picture(Scene(thing, None), "dark"), Picture(Scene(thing, Thing("large", "blue", "circle")), "clean")]
    seen = set()
    for k in range(2000):
        picture = pictures[k % 2]
        truth, told = Truth(picture.scene, picture, picture), bool(rng.random() < 0.5)
        text = draw_claim(picture, told, rng)
        assert holds(text, truth, "first") == told, (text, picture)
        seen.add((len(text.split()), text.endswith("nothing"), told))
    assert seen == {(n, False, t) for n in (1, 2, 4) for t in (True, False)} | {(2, True, True), (2, True, False)}


def test_half_of_the_questions_are_true_and_all_are_of_one_image() -> None:
    rng = np.random.default_rng(2)
    drawn = [draw_questions(rng, 28, 4) for _ in range(100)]
    share = np.mean([one.holds for one in drawn])
    assert abs(share - 0.5) < 4 * 0.025  # standard error of 400 throws of a coin
    assert all(len(one.claims) == len(one.holds) == 4 and one.image.size == (28, 28) for one in drawn)
    assert set(FAULTS) <= {claim for one in drawn for claim in one.claims}
    # What holds of an image cannot also be denied of it.
    for one in drawn:
        true = {claim for claim, holds in zip(one.claims, one.holds, strict=True) if holds}
        assert not true & {claim for claim, holds in zip(one.claims, one.holds, strict=True) if not holds}
