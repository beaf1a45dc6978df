"""A pair is kept where all that is known of it says the same; each of the others has the first reason against it."""

import pytest

from earshot.errors import InputError
from earshot.preferences.choosing import WHY, Rules, Seen, choose
from tests.preferences.ranked import game, row_of


def reasons(row, rules=None, seen=None, **more):
    return [choice.reason for choice in choose(row, rules or Rules(), seen or Seen(), **more)]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (game(0, 1, 0.9), "kept"),
        (game(0, 1, None, agree=None), "no_answer"),
        (game(0, 1, 0.5, agree=None), "tie"),
        (game(0, 1, 0.9, agree=False), "orders"),
        (game(0, 1, 0.59), "margin"),  # 0.59 - 0.41 = 0.18 < 0.2
        (game(0, 1, 0.61), "kept"),  # 0.61 - 0.39 = 0.22
        (game(0, 1, 0.9, p_read={"a": 0.6, "b": 0.4}), "agreement"),
        (game(0, 1, 0.9, p_read={"a": None}), "agreement"),  # a listener that broke agrees with nobody
        (game(0, 1, 0.9, p_author=0.3, p_read={"a": 0.9}), "agreement"),  # the listener decided
        (game(0, 1, 0.9, p_read={"a": 0.6}), "kept"),
        (game(0, 1, 0.1), "ranking"),  # the whole ranking has 0 above 1
    ],
)
def test_a_pair_has_the_first_reason_against_it(one, reason):
    assert reasons(row_of(one, strengths=(1.0, -1.0))) == [reason]
    assert reason in WHY


def test_the_winner_is_chosen_and_the_margin_is_the_difference_of_the_probabilities():
    (choice,) = choose(row_of(game(0, 1, 0.2), strengths=(-1.0, 1.0)), Rules(), Seen())
    assert (choice.chosen, choice.rejected, choice.agree) == (1, 0, True)
    assert choice.margin == pytest.approx(0.6)  # 0.8 - 0.2


def test_rules_are_loosened_one_by_one():
    row = row_of(game(0, 1, 0.55, p_read={"a": 0.4}), strengths=(1.0, -1.0))
    assert reasons(row, Rules(margin=0.0)) == ["agreement"]
    assert reasons(row, Rules(agreement=False)) == ["margin"]
    assert reasons(row, Rules(margin=0.0, agreement=False)) == ["kept"]


FOUR = [game(0, 1, 0.9), game(0, 2, 0.9), game(0, 3, 0.55), game(1, 2, 0.9), game(1, 3, 0.9), game(2, 3, 0.9)]


@pytest.mark.parametrize(
    ("select", "kept"),
    [
        ("all", [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]),
        ("best-against-rest", [(0, 1), (0, 2)]),
        ("best-against-worst", [(0, 2)]),  # against 3, the worst, it does not pass
    ],
)
def test_a_selection_takes_from_the_pairs_that_pass(select, kept):
    told = choose(row_of(*FOUR, strengths=(3.0, 2.0, 1.0, 0.0)), Rules(select=select), Seen())
    assert [(one.chosen, one.rejected) for one in told if one.reason == "kept"] == kept
    assert {one.reason for one in told} - {"kept"} == ({"margin"} if select == "all" else {"margin", "selection"})


def test_a_prompt_is_used_once_and_a_picture_under_one_prompt():
    seen, strengths = Seen(), (2.0, 1.0, 0.0)
    games = [game(0, 1, 0.9), game(0, 2, 0.9), game(1, 2, 0.9)]
    assert reasons(row_of(*games, strengths=strengths, digests="abc"), seen=seen) == ["kept"] * 3
    again = row_of(*games, strengths=strengths, digests="xyz", prompt=" A  Fox!")
    assert reasons(again, seen=seen) == ["duplicate_prompt"] * 3
    other = row_of(*games, strengths=strengths, digests="bpq", prompt="an owl")
    assert reasons(other, seen=seen) == ["duplicate_picture", "duplicate_picture", "kept"]


def test_a_pair_of_which_nothing_can_be_made_is_left_before_the_selection():
    row = row_of(*FOUR, strengths=(3.0, 2.0, 1.0, 0.0))
    told = reasons(row, Rules(select="best-against-worst"), usable=lambda one: one.second != 2)
    assert told == ["kept", "completions", "margin", "completions", "selection", "selection"]


def test_a_margin_that_is_no_difference_of_probabilities_is_refused():
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(InputError, match="expected 0 to 1"):
            Rules(margin=wrong)
