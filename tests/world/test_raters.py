"""Simulated raters: what a picture is worth to them, and how often they say so."""

from __future__ import annotations

import numpy as np
import pytest

from earshot.world.pairs import MIN_ADVANTAGE, POPULATIONS
from earshot.world.raters import RATERS, Raters, utility, vote
from earshot.world.scene import Picture, Scene, Thing


def test_utility_by_hand(truth) -> None:
    raters = Raters(alignment=1.0, missing=0.4, quality=1.0)
    assert utility(Picture(truth.wanted, "clean"), truth.wanted, raters) == pytest.approx(2.0)
    # The circle is right (+1), the star has another colour (0), dark (-0.5).
    assert utility(truth.first, truth.wanted, raters) == pytest.approx(0.5)
    # The circle is missing (-0.4), the star is right (+1), clean.
    assert utility(truth.second, truth.wanted, raters) == pytest.approx(0.6)
    # Twice the weight on rendering: 1 - 2 * 0.5 = 0.
    assert utility(truth.first, truth.wanted, Raters(quality=2.0)) == pytest.approx(0.0)


@pytest.mark.parametrize(("fault", "loss"), [("clean", 0.0), ("dark", 0.5), ("tinted", 0.65), ("pale", 0.9)])
def test_each_fault_costs_what_it_costs(truth, fault, loss) -> None:
    assert utility(Picture(truth.wanted, fault), truth.wanted, Raters()) == pytest.approx(2.0 - loss)


def test_nothing_where_nothing_was_asked_for_is_right() -> None:
    scene = Scene(Thing("large", "red", "circle"), None)
    assert utility(Picture(scene, "clean"), scene, Raters()) == pytest.approx(2.0)


def test_raters_vote_with_the_bradley_terry_rate() -> None:
    rng = np.random.default_rng(0)
    first = sum(vote(0.5, Raters(sharpness=2.0, n_votes=15), rng).first for _ in range(2000))
    # sigmoid(2 * 0.5) = 0.7311; of 30,000 votes the standard error is 0.0026.
    assert first / 30_000 == pytest.approx(0.7311, abs=0.01)


def test_an_advantage_for_the_second_is_the_mirror_image() -> None:
    mean = [np.mean([vote(a, Raters(), rng).share_first for _ in range(2000)])
            for a, rng in ((0.4, np.random.default_rng(1)), (-0.4, np.random.default_rng(2)))]  # fmt: skip
    assert mean[0] + mean[1] == pytest.approx(1.0, abs=0.02)


def test_there_are_no_ties(draw) -> None:
    assert all(raters.n_votes % 2 == 1 for raters in RATERS.values())
    pairs = draw("train", 300)
    assert all(pair.votes.total == 15 and pair.votes.majority for pair in pairs)


def test_the_axes_order_the_same_pictures_differently(truth) -> None:
    """Right but pale, half right and clean, half missing and clean: each axis has its own order."""
    wrong = Thing("small", "green", "star")
    pictures = {
        "right but pale": Picture(truth.wanted, "pale"),
        "one wrong": Picture(Scene(truth.wanted.left, wrong), "clean"),
        "one missing": Picture(Scene(truth.wanted.left, None), "clean"),
        "one wrong, dark": Picture(Scene(truth.wanted.left, wrong), "dark"),
    }
    orders = {
        axis: sorted(pictures, key=lambda name: -utility(pictures[name], truth.wanted, raters))
        for axis, raters in RATERS.items()
    }
    # preference 2 - 0.9 = 1.1, 1, 1 - 0.4 = 0.6, 1 - 0.5 = 0.5
    assert orders["preference"] == ["right but pale", "one wrong", "one missing", "one wrong, dark"]
    # style 1 - 1.8 = -0.8, 0.5, 0.5 - 0.2 = 0.3, 0.5 - 1 = -0.5
    assert orders["style"] == ["one wrong", "one missing", "one wrong, dark", "right but pale"]


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_pairs_differ_to_those_who_vote_and_the_better_side_wins_more_often(draw, name) -> None:
    raters = RATERS[POPULATIONS[name].axis]
    pairs = draw(name, 400)
    for pair in pairs:
        gap = utility(pair.truth.first, pair.truth.wanted, raters) - utility(
            pair.truth.second, pair.truth.wanted, raters
        )
        assert pair.advantage == pytest.approx(gap)
        assert abs(pair.advantage) >= MIN_ADVANTAGE
    agree = np.mean([(pair.advantage > 0) == (pair.votes.majority == "first") for pair in pairs])
    assert agree > 0.9  # fifteen raters of whom each is right with at least sigmoid(0.6) = 0.65
    assert 0.4 < np.mean([pair.advantage > 0 for pair in pairs]) < 0.6  # neither side is the better by habit
