"""Best of n by a reward and by the truth: exact, with a judge who captures all and one who makes it worse."""

from itertools import combinations

import numpy as np
import pytest

from earshot.lab.overoptimise.best_of import best_of, choose, kl_of_best, sizes
from earshot.lab.overoptimise.pictures import draw
from earshot.lab.overoptimise.reached import points


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


def test_the_kl_of_best_of_n_is_that_of_the_chosen_rank() -> None:
    # The best of n has a density n u^(n - 1) in u, its place among all: KL = ∫ n u^(n-1) log(n u^(n-1)) du.
    u = (np.arange(200_000) + 0.5) / 200_000
    for n in (1, 2, 8):
        density = n * u ** (n - 1)
        assert kl_of_best(n) == pytest.approx(np.mean(density * np.log(density)), abs=1e-4)


def test_powers_of_two_are_looked_at_and_all() -> None:
    assert [sizes(many) for many in (2, 6, 8)] == [[1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_who_knows_the_truth_captures_all_and_who_is_wrong_less_than_nothing() -> None:
    drawn = draw(60, 8, seed=3)
    again = draw(60, 8, seed=3)
    assert [one.prompt for one in drawn] == [one.prompt for one in again]
    assert all((a.gold == b.gold).all() and a.images == b.images for a, b in zip(drawn, again, strict=True))
    knows, wrong = (
        points(choose(drawn, [sign * one.gold / 10 + 0.5 for one in drawn]), resamples=500) for sign in (1, -1)
    )
    assert [one.pressure for one in knows] == [1, 2, 4, 8]
    assert [one.kl.value for one in knows] == [pytest.approx(kl_of_best(n)) for n in (1, 2, 4, 8)]
    assert knows[0].captured.value is None  # any picture: nothing could be had
    assert all(one.captured.value == pytest.approx(1.0) for one in knows[1:])
    assert all(one.captured.value < 0 for one in wrong[1:])
    assert knows[0].gold.value == pytest.approx(wrong[0].gold.value)


def test_a_missing_score_is_not_a_score_of_zero() -> None:
    (one,) = draw(1, 4)
    (half,) = choose([one], [np.array([0.8, np.nan, np.nan, np.nan])])[-1:]
    assert half.reward == pytest.approx([0.8]) and half.gold == pytest.approx([one.gold[0]])
    blind = choose([one], [np.full(4, np.nan)])
    assert all(np.isnan(reached.reward).all() for reached in blind)
    assert [reached.gold[0] for reached in blind] == pytest.approx([one.gold.mean()] * 3)
