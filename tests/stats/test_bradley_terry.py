"""Strengths are those of Bradley and Terry, and with a prior finite in any tournament."""

import numpy as np
import pytest
from scipy.special import expit

from earshot.errors import DataError
from earshot.stats.bradley_terry import fit_strengths


def wins_of(p):
    """Everybody against everybody, once, with these probabilities."""
    return np.where(np.eye(len(p)) > 0, 0.0, p)


def without_prior(wins):
    return fit_strengths(wins, prior=0.0).value


def test_strengths_are_those_that_another_implementation_gives():
    wins = np.array([[0, 7, 9, 2.5], [3, 0, 6, 4], [1, 4, 0, 8], [5.5, 1, 2, 0]])
    # evalica 0.4.2, bradley_terry(tolerance=1e-12), in log-odds with mean 0.
    evalica = [0.5196561499915321, 0.12007917199472265, -0.20812438243105574, -0.43161093955519897]
    assert without_prior(wins) == pytest.approx(evalica, abs=1e-12)


def test_a_prior_is_outweighed_by_many_games():
    wins = np.array([[0, 7, 9], [3, 0, 6], [1, 4, 0]], dtype=float)
    assert fit_strengths(1e6 * wins).value == pytest.approx(without_prior(wins), abs=1e-5)


def test_strengths_of_two_are_the_log_odds_of_winning() -> None:
    # 3 wins of 4: the gap is ln 3.
    assert without_prior(np.array([[0.0, 3.0], [1.0, 0.0]])) == pytest.approx([np.log(3) / 2, -np.log(3) / 2], abs=1e-6)


def test_strengths_add_up_along_a_chain() -> None:
    # a beats b 2 : 1 and b beats c 4 : 1, so a would beat c 8 : 1.
    a, b, c = without_prior(np.array([[0.0, 2, 0], [1, 0, 4], [0, 1, 0]]))
    assert (a - b, b - c) == pytest.approx((np.log(2), np.log(4)), abs=1e-6)


def test_strengths_are_where_expected_wins_are_the_wins() -> None:
    wins = np.random.default_rng(0).integers(1, 30, size=(7, 7)).astype(float)
    np.fill_diagonal(wins, 0)
    s = without_prior(wins)
    chance = 1 / (1 + np.exp(s[None] - s[:, None]))
    assert (chance * (wins + wins.T)).sum(axis=1) == pytest.approx(wins.sum(axis=1), rel=1e-5)


def test_intervals_without_a_prior_are_those_of_the_gap():
    # 3 wins of 4: the information on the gap is 4 · ¾ · ¼ = ¾, and either strength is half the gap.
    value, low, high = fit_strengths(np.array([[0.0, 3.0], [1.0, 0.0]]), prior=0.0)
    assert high - value == pytest.approx([1.959964 / np.sqrt(0.75) / 2] * 2, rel=1e-6)
    assert value - low == pytest.approx(high - value)


def test_who_never_loses_has_no_strength_without_a_prior():
    assert np.isnan(fit_strengths(np.array([[0.0, 1.0], [0.0, 0.0]]), prior=0.0)).all()


def test_steps_that_do_not_settle_are_an_error():
    with pytest.raises(DataError, match="no strengths of 2 after 3 steps"):
        fit_strengths(np.array([[0.0, 1e9], [1.0, 0.0]]), prior=0.0, limit=3)


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
