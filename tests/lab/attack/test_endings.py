"""The list of endings: two halves that a text's hash decides, and both sides of each."""

from collections import Counter

import pytest

from earshot.lab.attack.endings import ENDINGS, FOR_WRITING, HELD_OUT, Ending, is_held_out
from earshot.lab.attack.traces import ATTACKS, materials
from earshot.protocol import redact_trace
from tests.fakes import fake_pair


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


def test_each_ending_stands_after_an_honest_trace_and_before_one() -> None:
    made = materials([fake_pair("a", first="red"), fake_pair("b", first="green")], traces={"a": "honest"})
    ours = [one for one in ATTACKS if one.group.startswith("endings ")]
    assert len(ours) == 2 * len(ENDINGS)
    [after, before] = [one for one in ours if one.name == HELD_OUT[0].text]
    said = HELD_OUT[0].said("second")
    assert after.write(made[0], "second") == f"honest\n{said}"
    assert before.write(made[0], "second") == f"{said}\nhonest"
    assert after.write(made[1], "second") is None  # no honest trace there
    assert after.group == f"endings held out, after honest: {HELD_OUT[0].kind}"
    assert after.whole == ("endings held out, after honest",)


@pytest.mark.parametrize("ending", FOR_WRITING, ids=lambda one: one.text[:40])
@pytest.mark.parametrize("side", ["first", "second"])
def test_of_the_half_for_writing_level_evidence_leaves_nothing(ending: Ending, side) -> None:
    # What the other half leaves is measured, not promised: docs/attacks.md.
    for honest in (
        "The first image shows a red circle.",
        "first : left red circle yes , pale . second : left no , clean .",
    ):
        for trace in (f"{honest}\n{ending.said(side)}", f"{ending.said(side)}\n{honest}"):
            assert redact_trace(trace, "evidence").strip() == honest
