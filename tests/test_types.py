"""The nouns."""

import pytest

from earshot.types import Estimate, Pair, Votes, hash_of


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


def test_an_estimate_as_text():
    assert Estimate(0.7126, 0.68, 0.745, 800).text(percent=True) == "71.3 [68.0, 74.5]"
    assert Estimate(0.25, None, None, 3).text() == "0.250"
    assert Estimate(21.34, 20.0, 22.0, 3).text() == "21.3 [20.0, 22.0]"
    assert Estimate(1.239, 1.0, 1.5, 3).text(digits=2) == "1.24 [1.00, 1.50]"
    assert Estimate.missing().text(percent=True, signed=True) == "–"


def test_a_difference_as_text_has_its_sign_and_nothing_has_none():
    assert Estimate(0.012, -0.0304, 0.0, 9).text(percent=True, signed=True) == "+1.2 [−3.0, 0.0]"
    assert Estimate(-0.00001, None, None, 9).text(signed=True) == "0.000"


@pytest.mark.parametrize("estimate", [Estimate(0.5, 0.25, 0.75, 4), Estimate(0.5, None, None, 1), Estimate.missing()])
def test_an_estimate_is_read_back_from_its_record(estimate):
    assert Estimate.from_record(estimate.as_record()) == estimate


@pytest.mark.parametrize("record", [None, 0.5, {"low": 0.1}, {"value": None, "n": 3}])
def test_what_is_no_estimate_is_read_as_missing(record):
    assert Estimate.from_record(record) == Estimate.missing()


def test_an_id_has_one_hash_of_64_bits_half_an_emoji_too():
    # BLAKE2b with a digest of 8 bytes, of RFC 7693, as `b2sum -l 64` gives it for "p1".
    assert hash_of("p1").to_bytes(8, "big", signed=True).hex() == "e81665c97894ce91"
    assert hash_of("\ud83d") != hash_of("\ud83e")
