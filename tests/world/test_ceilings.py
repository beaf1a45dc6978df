"""Ceilings of the world's sets: what judges who make no mistake get, without any model."""

import pytest

from earshot.world.ceilings import OBSERVERS, ceilings
from earshot.world.pairs import POPULATIONS
from earshot.world.raters import Raters

PAIRS = 4_000  # two standard errors are at most 1.6 points


def test_who_knows_the_raters_is_right_but_for_their_noise_and_others_are_not() -> None:
    told = ceilings(POPULATIONS["test"], n_pairs=PAIRS)
    assert told["knows these raters"] == told["knows the training raters"] > 0.99
    assert 0.85 < told["sees the things alone"] < 0.89
    assert 0.64 < told["sees the rendering alone"] < 0.68


def test_a_perfect_student_of_the_training_raters_is_wrong_about_a_sixth_of_other_raters_pairs() -> None:
    told = ceilings(POPULATIONS["ood_raters"], n_pairs=PAIRS)
    assert told["knows these raters"] > 0.99
    assert told["knows the training raters"] == pytest.approx(0.819, abs=0.016)


def test_a_judge_who_finds_both_worth_the_same_is_right_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBSERVERS, "sees nothing", Raters(alignment=0.0, missing=0.0, quality=0.0))
    assert ceilings(POPULATIONS["test"], n_pairs=50)["sees nothing"] == 0.5


@pytest.mark.slow
def test_the_documented_ceilings_of_20_000_pairs() -> None:
    told = {name: ceilings(POPULATIONS[name]) for name in ("test", "ood_combinations", "ood_style", "ood_raters")}
    by_training = {name: round(100 * of["knows the training raters"], 1) for name, of in told.items()}
    assert by_training == {"test": 99.7, "ood_combinations": 99.7, "ood_style": 99.7, "ood_raters": 81.9}
