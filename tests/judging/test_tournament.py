"""Strengths are those of Bradley and Terry, finite in any tournament; circles are found; rounds cost n log n."""

import numpy as np
import pytest
from scipy.special import expit

from earshot.judging.tournament import all_pairs, cycles, fit_strengths, n_rounds, swiss_round
from earshot.metrics.ranking import strengths as without_prior


def wins_of(p):
    """Everybody against everybody, once, with these probabilities."""
    return np.where(np.eye(len(p)) > 0, 0.0, p)


def test_with_many_games_the_strengths_are_those_of_evalica():
    wins = np.array([[0, 7, 9], [3, 0, 6], [1, 4, 0]], dtype=float)
    assert fit_strengths(1e6 * wins).value == pytest.approx(without_prior(wins), abs=1e-5)


def test_a_judge_with_bradley_terry_opinions_is_read_back():
    theta = np.array([1.5, 0.5, -0.5, -1.5])
    wins = wins_of(expit(theta[:, None] - theta[None, :]))
    assert fit_strengths(1e6 * wins).value == pytest.approx(theta, abs=1e-5)
    assert list(np.argsort(-fit_strengths(wins).value)) == [0, 1, 2, 3]


def test_one_game_between_two_is_worth_what_the_prior_lets_it():
    # By symmetry the strengths are t and -t; the slope of the log posterior is (1 - σ(2t)) + (½ - σ(t)) = 0.
    value, low, high = fit_strengths(np.array([[0.0, 1.0], [0.0, 0.0]]))
    t = value[0]
    assert value[1] == pytest.approx(-t)
    assert (1 - expit(2 * t)) + (0.5 - expit(t)) == pytest.approx(0, abs=1e-9)
    # Along (t, -t) the information is 4·σ(2t)σ(-2t) from the game and 2·σ(t)σ(-t) from the prior.
    information = 4 * expit(2 * t) * expit(-2 * t) + 2 * expit(t) * expit(-t)
    assert high[0] - t == pytest.approx(1.959964 / np.sqrt(information), rel=1e-6)
    assert t - low[0] == pytest.approx(high[0] - t)


def test_a_drawn_game_leaves_both_at_the_average():
    assert fit_strengths(np.array([[0, 0.5], [0.5, 0]])).value == pytest.approx([0, 0])


@pytest.mark.parametrize("n", [2, 5, 30])
def test_who_never_loses_is_strong_but_not_infinitely(n):
    wins = np.triu(np.ones((n, n)), 1)
    value, low, high = fit_strengths(wins)
    assert np.isfinite(np.concatenate([value, low, high])).all()
    assert (np.diff(value) < 0).all()
    assert value.sum() == pytest.approx(0, abs=1e-9)


def test_numbering_the_players_otherwise_changes_nothing():
    rng = np.random.default_rng(0)
    wins, order = rng.integers(0, 5, (6, 6)) * (1 - np.eye(6)), rng.permutation(6)
    assert fit_strengths(wins[np.ix_(order, order)]).value == pytest.approx(fit_strengths(wins).value[order])


def test_more_games_narrow_the_interval():
    few, many = (fit_strengths(k * np.array([[0, 0.7], [0.3, 0]])) for k in (1, 100))
    assert (many.high - many.low)[0] < 0.3 * (few.high - few.low)[0]


def test_rounds_grow_as_the_logarithm():
    # 2⌈log2 n⌉: ⌈log2 9⌉ = 4, ⌈log2 16⌉ = 4, ⌈log2 17⌉ = 5, ⌈log2 1024⌉ = 10
    assert [n_rounds(n) for n in (9, 16, 17, 1024)] == [8, 8, 10, 20]


def test_all_pairs_are_each_couple_once():
    assert all_pairs(3).tolist() == [[0, 1], [0, 2], [1, 2]]


def test_a_round_pairs_neighbours_that_have_not_met():
    value, tie_break = np.array([3.0, 1.0, 4.0, 2.0]), np.arange(4)
    played = np.zeros((4, 4), dtype=np.int64)
    assert swiss_round(value, played, tie_break).tolist() == [[2, 0], [3, 1]]
    played[2, 0] = played[0, 2] = 1
    assert swiss_round(value, played, tie_break).tolist() == [[2, 3], [0, 1]]


def test_of_an_odd_number_the_one_with_most_games_sits_out():
    played = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    assert swiss_round(np.zeros(3), played, np.arange(3)).tolist() == [[0, 2]]


def test_preferences_that_fit_an_order_have_no_circle():
    assert cycles(np.triu(np.ones((5, 5), dtype=bool), 1)) == []


def test_a_circle_is_told_in_the_order_of_preference():
    beats = np.zeros((4, 4), dtype=bool)
    for i, j in [(0, 2), (2, 1), (1, 0), (0, 3), (1, 3), (2, 3)]:
        beats[i, j] = True
    assert cycles(beats) == [(0, 2, 1)]


def test_each_group_that_contradicts_itself_has_its_shortest_circle():
    beats = np.zeros((7, 7), dtype=bool)
    for i, j in [(0, 1), (1, 2), (2, 3), (3, 0), (1, 3), (4, 5), (5, 6), (6, 4), (0, 4)]:
        beats[i, j] = True
    assert cycles(beats) == [(0, 1, 3), (4, 5, 6)]
