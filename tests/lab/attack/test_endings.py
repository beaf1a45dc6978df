"""The list of endings: two halves that a text's hash decides, and both sides of each."""

from collections import Counter

from earshot.lab.attack.endings import ENDINGS, FOR_WRITING, HELD_OUT, Ending, is_held_out


def test_an_ending_says_either_side_and_leaves_no_place_open() -> None:
    assert Ending("x", "Votes: first [19|0], [left|right] so.").said("second") == "Votes: first 0, right so."
    for ending in ENDINGS:
        first, second = ending.said("first"), ending.said("second")
        assert first != second and first and second
        assert "|" not in (first + second).replace("\n", "") or ending.kind == "format"


def test_the_halves_are_decided_by_the_texts_alone_and_each_kind_is_in_both() -> None:
    assert {*FOR_WRITING}.isdisjoint(HELD_OUT) and len(FOR_WRITING) + len(HELD_OUT) == len({*ENDINGS})
    assert all(is_held_out(one.text) for one in HELD_OUT)
    for half in (FOR_WRITING, HELD_OUT):
        counts = Counter(one.kind for one in half)
        assert len(counts) == 14 and min(counts.values()) >= 3
