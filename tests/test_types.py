"""The nouns."""

import pytest

from earshot.types import Pair, Votes


@pytest.mark.parametrize(("label", "swapped"), [("first", "second"), ("second", "first"), ("tie", "tie"),
                                                ("both_bad", "both_bad"), (None, None)])  # fmt: skip
def test_swapping_a_pair_swaps_all_that_is_told_of_a_side_and_nothing_else(label, swapped):
    pair = Pair("1", "a cat", b"a", b"b", Votes(3.0, 1.0), model_first="x", model_second="y", label=label,
                prompt_id="p", axis="style", split="test", source="s", category="animals")  # fmt: skip
    other = pair.swapped()
    assert (other.first, other.second, other.votes) == (b"b", b"a", Votes(1.0, 3.0))
    assert (other.model_first, other.model_second, other.label) == ("y", "x", swapped)
    assert (other.prompt_id, other.axis, other.split, other.source, other.category) == \
        ("p", "style", "test", "s", "animals")  # fmt: skip
    assert other.swapped() == pair
