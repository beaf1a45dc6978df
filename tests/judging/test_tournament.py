"""Circles are found; rounds cost n log n."""

import numpy as np

from earshot.judging.tournament import all_pairs, cycles, n_rounds, swiss_round


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
