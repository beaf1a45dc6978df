"""Edits of the world: what they ask for in words, what they leave, and how they go wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from earshot.data.pairset import read_pairs
from earshot.errors import DataError
from earshot.files import read_jsonl
from earshot.images import load_image
from earshot.world.ceilings import _edited
from earshot.world.checker import check_trace
from earshot.world.edits import Edit, attempt_edit, draw_edit
from earshot.world.language import Corruption, write_trace
from earshot.world.make import Recipe, make_set
from earshot.world.pairs import EDITS, draw_pair, pair_generator
from earshot.world.scene import PLACES, Scene, Thing, is_held_out
from earshot.world.truth import read_truth

RED, BLUE, STAR = Thing("large", "red", "circle"), Thing("large", "blue", "circle"), Thing("small", "green", "star")
BLUE_STAR = Thing("small", "blue", "star")


@pytest.mark.parametrize(
    ("edit", "words", "wanted", "overdone"),
    [
        (Edit(Scene(RED, STAR), "left", BLUE, "colour"), "make left blue", Scene(BLUE, STAR), Scene(BLUE, BLUE_STAR)),
        (Edit(Scene(RED, STAR), "right", None), "remove right", Scene(RED, None), Scene(None, None)),
        (Edit(Scene(None, STAR), "left", RED), "add left large red circle", Scene(RED, STAR), Scene(RED, RED)),
    ],
)
def test_an_edit_is_said_in_words_and_leaves_the_rest_unless_it_is_overdone(
    edit: Edit, words: str, wanted: Scene, overdone: Scene
) -> None:
    assert (edit.words, edit.wanted, edit.overdone) == (words, wanted, overdone)


@pytest.mark.parametrize("held_out", [False, True])
def test_a_drawn_edit_asks_for_one_thing_and_can_be_overdone(held_out: bool) -> None:
    rng = np.random.default_rng(0)
    for edit in (draw_edit(rng, held_out=held_out) for _ in range(300)):
        changed = [place for place in PLACES if getattr(edit.original, place) != getattr(edit.wanted, place)]
        assert changed == [edit.place]
        assert edit.overdone != edit.wanted
        named = edit.target if edit.target is not None else getattr(edit.original, edit.place)
        assert is_held_out(named) == held_out


def test_an_attempt_does_it_or_not_or_overdoes_it_and_may_spoil_what_was_to_be_kept() -> None:
    rng, n = np.random.default_rng(0), 4_000
    edit = Edit(Scene(RED, STAR), "left", BLUE, "colour")
    scenes = [attempt_edit(edit, rng).scene for _ in range(n)]
    assert {scene.left for scene in scenes} == {RED, BLUE}

    def share(found: list[bool]) -> float:
        return float(np.mean(found))

    overdone = [scene == edit.overdone for scene in scenes]
    assert share([scene.left == RED for scene in scenes]) == pytest.approx(0.25, abs=0.03)  # not done
    # Overdone in 0.15; and among the other 0.85 a quarter is spoilt, a hundredth or so into just that.
    assert share(overdone) == pytest.approx(0.15, abs=0.03)
    kept = [scene.right == STAR for scene in scenes]
    assert share(kept) == pytest.approx(0.85 * 0.75, abs=0.03)
    assert share([scene.right is None for scene in scenes]) == pytest.approx(0.85 * 0.25 * 0.1, abs=0.02)


def test_a_set_of_edits_has_originals_truth_and_traces(tmp_path: Path) -> None:
    make_set(tmp_path / "set", Recipe("edit_test", corruption=Corruption()), 12, workers=1)
    truths = read_truth(tmp_path / "set") or {}
    traces = {row["id"]: row["trace"] for row in read_jsonl(tmp_path / "set" / "traces.jsonl")}
    for pair in read_pairs(tmp_path / "set"):
        truth = truths[pair.id]
        assert truth.edit is not None and pair.prompt == truth.edit.words == truth.swapped().prompt
        assert load_image(pair.original).size == (56, 56)
        claims = check_trace(traces[pair.id], truth)
        assert {claim.status for claim in claims if claim.image} == {"true"}


def test_the_original_shows_what_was_there_and_is_cleanly_rendered(tmp_path: Path) -> None:
    make_set(tmp_path / "set", Recipe("edit_test"), 8, workers=1)
    truths = read_truth(tmp_path / "set") or {}
    for pair in read_pairs(tmp_path / "set"):
        edit = truths[pair.id].edit
        found = np.asarray(load_image(pair.original), float)
        for place, half in zip(PLACES, (found[:, :28], found[:, 28:]), strict=True):
            empty = np.ptp(half.reshape(-1, 3), axis=0).max() < 40  # of one ground
            assert empty == (getattr(edit.original, place) is None)


def test_traces_tell_true_facts_of_every_kind_of_edit() -> None:
    population = EDITS["edit_test"]
    pairs = [draw_pair(pair_generator(5, "x", k), population) for k in range(60)]
    assert {pair.truth.prompt.split()[0] for pair in pairs} == {"make", "remove", "add"}
    rng = np.random.default_rng(0)
    for pair in pairs:
        trace = write_trace(pair.truth, "first", rng, Corruption())
        assert "false" not in {claim.status for claim in check_trace(trace, pair.truth)}


def test_truth_of_other_sets_says_nothing_of_edits(tmp_path: Path) -> None:
    make_set(tmp_path / "set", Recipe("test", size_px=16), 2, workers=1)
    assert [set(row) for row in read_jsonl(tmp_path / "set" / "truth.jsonl")] == [
        {"id", "wanted", "first", "second"}
    ] * 2
    assert {pair.original for pair in read_pairs(tmp_path / "set")} == {None}


def test_an_edit_that_does_not_leave_what_is_wanted_is_no_truth(tmp_path: Path) -> None:
    make_set(tmp_path / "set", Recipe("edit_test", size_px=16), 1, workers=1)
    file = tmp_path / "set" / "truth.jsonl"
    row = json.loads(file.read_text())
    row["wanted"] = row["edit"]["original"]
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="does not leave what is wanted"):
        read_truth(tmp_path / "set")


def test_attempts_are_of_the_kinds_that_ceilings_reckon_with() -> None:
    rng, n = np.random.default_rng(0), 8_000
    found = np.zeros((3, 3))
    for edit in (draw_edit(rng, held_out=False) for _ in range(n)):
        shown, beside = attempt_edit(edit, rng).scene, next(place for place in PLACES if place != edit.place)
        edited, kept = (
            int(getattr(shown, place) != getattr(edit.wanted, place)) * (1 if getattr(shown, place) is not None else 2)
            for place in (edit.place, beside)
        )
        found[edited, kept] += 1 / n
    expected = _edited().reshape(3, 3, 3, 3).sum(axis=(1, 3))  # of the first of two
    np.testing.assert_allclose(found, expected, atol=0.012)
    assert expected[2].sum() == pytest.approx(0.2 * 0.25)  # what was to come and did not
