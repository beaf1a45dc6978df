"""Best of n by a reward and by the truth: exact, with controls that capture nothing and a judge that captures all."""

from itertools import combinations

import numpy as np
import pytest

from earshot.judging.model import RewardModel
from earshot.lab.overoptimise import OWN, Drawn, best_of, compared, draw, measure, scores
from earshot.lab.screen import CONTROLS
from tests.judging.opinions import Opinionated


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_the_best_of_n_is_the_mean_over_all_choices_of_n_and_equals_share(n: int) -> None:
    score = np.array([0.1, 0.7, 0.7, 0.3, np.nan, 0.9])
    worth = np.array([1.0, 5.0, 2.0, -1.0, 7.0, 3.0])
    filled = np.where(np.isnan(score), -1.0, score)
    by_hand = []
    for chosen in combinations(range(6), n):
        top = max(filled[[*chosen]])
        by_hand.append(np.mean([worth[k] for k in chosen if filled[k] == top]))
    if n in (1, 6):  # of some, one of two equals may be chosen alone: then it is worth what both are in the mean
        assert best_of(n, score, worth) == pytest.approx(np.mean(by_hand))
    even = np.where(filled == 0.7, 3.5, worth)
    exact = [even[max(chosen, key=lambda k: filled[k])] for chosen in combinations(range(6), n)]
    assert best_of(n, score, worth) == pytest.approx(np.mean(exact))


def test_who_knows_the_truth_captures_all_and_who_knows_nothing_captures_nothing() -> None:
    drawn = draw(60, 8, seed=3)
    assert [one.prompt for one in drawn] == [one.prompt for one in draw(60, 8, seed=3)]
    judged = [{"gold": one.gold / 10 + 0.5, "wrong": -one.gold / 10 + 0.5} for one in drawn]
    found = measure(drawn, judged, resamples=500)
    assert list(found) == [*CONTROLS, "gold", "wrong"]
    assert [one.n for one in found["gold"]] == [2, 4, 8]
    assert all(one.captured.value == pytest.approx(1.0) for one in found["gold"])
    assert all(one.captured.value < 0 for one in found["wrong"])
    for name in CONTROLS:
        last = found[name][-1].captured
        assert last.low < 0 < last.high and last.high - last.low < 1
    assert found["gold"][0].kl == pytest.approx(np.log(2) - 0.5)
    told = compared(8, drawn, [one["gold"] for one in judged], [one["wrong"] for one in judged], resamples=500)
    assert told.value == pytest.approx(1.0 - found["wrong"][-1].captured.value)


def test_every_picture_meets_all_others_or_as_many_as_are_asked_for() -> None:
    drawn = Drawn("a", draw(1, 8)[0].images, np.arange(8.0))
    asked: list[int] = []

    class Counting(RewardModel):
        def answer(self, questions, wanted=None):  # type: ignore[no-untyped-def]
            asked.append(len(questions))
            return super().answer(questions, wanted)

    model = Counting(Opinionated())
    told, lost = scores(model, drawn)
    assert asked == [28] and lost == 0 and told[OWN].shape == (8,)
    assert told[OWN].mean() == pytest.approx(0.5)
    scores(model, drawn, against=4)
    assert asked[1] == 16
