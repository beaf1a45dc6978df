"""Traces: what an honest one says, and how often a careless observer is wrong."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from earshot.world.checker import check_trace
from earshot.world.language import Corruption, describe_picture, swap_trace, write_trace
from earshot.world.pairs import POPULATIONS, draw_pair
from earshot.world.scene import COLOURS, FAULTS, SHAPES, SIZES, Picture, Scene, Thing
from earshot.world.truth import Truth

HONEST = Corruption()


def test_an_honest_trace_word_by_word(truth) -> None:
    assert write_trace(truth, "first", np.random.default_rng(0), HONEST) == (
        "first : left large red circle yes , right small blue star no but small green star , dark . "
        "second : left large red circle no but nothing , right small blue star yes , clean . so first better"
    )


def test_a_description_has_no_judgement(truth) -> None:
    assert describe_picture(truth.second) == "left nothing , right small blue star , clean"


def test_an_observer_who_always_misreads_names_random_things() -> None:
    """With probability 1 everything is drawn anew: a colour is right by chance in one case of six, and so on."""
    thing = Thing("large", "red", "circle")
    truth = Truth(Scene(thing, thing), Picture(Scene(None, Thing("small", "blue", "star")), "pale"),
                  Picture(Scene(None, None), "clean"))  # fmt: skip
    rng = np.random.default_rng(0)
    said = []
    for _ in range(3000):
        words = write_trace(truth, "first", rng, Corruption(facts=1.0)).split(" . ")[0].split(" , ")
        assert words[0].endswith("left large red circle no but nothing")  # what is empty is seen to be empty
        said.append((words[1].split()[-3:], words[2]))
    for position, (values, value) in enumerate(((SIZES, "small"), (COLOURS, "blue"), (SHAPES, "star"))):
        share = np.mean([thing[position] == value for thing, _ in said])
        # 0.0091 is the standard error of a half.
        assert share == pytest.approx(1 / len(values), abs=0.03)
    assert np.mean([fault == "pale" for _, fault in said]) == pytest.approx(1 / len(FAULTS), abs=0.03)


def test_corruption_is_as_frequent_as_asked_for(draw) -> None:
    """Counted on the rendering, one claim an image: wrong with p * 3/4, for a quarter of the draws hits the truth."""
    rng = np.random.default_rng(1)
    for p in (0.0, 0.1, 0.4):
        wrong = total = 0
        for pair in draw("train", 800):
            for claim in check_trace(write_trace(pair.truth, "first", rng, Corruption(facts=p)), pair.truth):
                if claim.text in FAULTS:
                    total += 1
                    wrong += claim.status == "false"
        assert total == 1600
        assert wrong / total == pytest.approx(0.75 * p, abs=0.04)  # standard error 0.0115 at most


def test_the_conclusion_is_what_the_writer_is_told(truth) -> None:
    rng = np.random.default_rng(0)
    for better in ("first", "second"):
        assert write_trace(truth, better, rng, Corruption(facts=0.5)).endswith(f" . so {better} better")


def test_a_turned_trace_describes_the_first_image_first() -> None:
    trace = "first : left large red circle yes , dark . second : left large red circle no but nothing , clean"
    turned = "first : left large red circle no but nothing , clean . second : left large red circle yes , dark"
    assert swap_trace(trace) == turned and swap_trace(turned) == trace
    assert swap_trace(f" {trace} . so first better ") == f" {turned} . so second better "
    assert (
        swap_trace("first : left small") == "second : left small"
        and swap_trace("so first better") == "so second better"
    )
    assert swap_trace("left right") == "left right" and swap_trace("") == ""


def test_a_turned_trace_is_that_of_the_swapped_pair() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        truth = draw_pair(rng, POPULATIONS["train"]).truth
        trace = write_trace(truth, "first", np.random.default_rng(1), Corruption())
        assert swap_trace(trace) == write_trace(truth.swapped(), "second", np.random.default_rng(1), Corruption())


def test_a_selective_trace_tells_so_many_true_facts_and_each_as_often() -> None:
    rng = np.random.default_rng(0)
    told: Counter[str] = Counter()
    n = 1500
    for _ in range(n):
        truth = draw_pair(rng, POPULATIONS["train"]).truth
        trace = write_trace(truth, "second", rng, HONEST, facts_told=3)
        assert trace.endswith(" . so second better") and " :  " not in trace
        assert all(claim.status != "false" for claim in check_trace(trace, truth))
        facts = [
            (part.split(" : ")[0], fact.split()[0] if " " in fact else "rendering")
            for part in trace.split(" . ")[:-1]
            for fact in part.split(" : ")[1].split(" , ")
        ]
        assert len(set(facts)) == len(facts) == 3
        told.update(" ".join(fact) for fact in facts)
    assert len(told) == 6
    for count in told.values():
        assert count / n == pytest.approx(0.5, abs=0.05)  # 0.013 is the standard error


def test_a_selective_trace_is_the_whole_one_with_facts_left_out(truth) -> None:
    whole = write_trace(truth, "first", np.random.default_rng(0), HONEST)
    assert write_trace(truth, "first", np.random.default_rng(0), HONEST, facts_told=6) == whole
    for seed in range(40):
        trace = write_trace(truth, "first", np.random.default_rng(seed), HONEST, facts_told=1)
        image, fact = trace.removesuffix(" . so first better").split(" : ")
        assert image in ("first", "second") and fact in whole
        # It turns with the order of the images, also where it names one image alone.
        assert swap_trace(trace) == f"{'second' if image == 'first' else 'first'} : {fact} . so second better"
