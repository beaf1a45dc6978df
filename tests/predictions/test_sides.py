"""One number and an array are judged alike, and one half is no side."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from earshot.predictions.sides import (
    differ,
    differs,
    flips,
    gap,
    is_flip,
    is_right,
    right,
    side_of,
    signs_of,
)

P = st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0, np.nextafter(0.5, 1), np.nextafter(0.5, 0)]), st.floats(0, 1))
SIDE = st.sampled_from(["first", "second", None])
SIGN = {"first": 1.0, "second": -1.0, None: 0.0}


def column(*values: float | None) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def test_one_half_is_no_side():
    assert [side_of(p) for p in (0.5, None, 0.6, 0.4)] == [None, None, "first", "second"]
    assert is_right(0.5, "first") is False and is_right(0.5, "second") is False
    assert is_flip(0.5, 0.1) is True and is_flip(0.5, 0.5) is True and is_flip(0.9, 0.6) is False
    assert differs(0.5, "first") is True and differs(0.5, "second") is True and differs(0.4, "second") is False
    assert gap(0.9, 0.5) == 0.4


def test_what_is_missing_counts_as_nothing():
    assert is_right(None, "first") is False  # nothing was said, which is not right
    assert is_right(0.9, None) is None
    assert is_flip(None, 0.9) is None
    assert differs(None, "first") is None and differs(0.9, None) is None
    assert gap(None, 0.5) is None


@given(P, P, SIDE)
def test_an_array_is_judged_as_its_numbers_are(p, q, side):
    sign = np.array([SIGN[side]])
    expected = np.nan if p is None else SIGN[side_of(p)]
    np.testing.assert_equal(signs_of(column(p)), [expected])
    assert right(column(p), sign)[0] == bool(is_right(p, side))
    assert flips(column(p), column(q))[0] == bool(is_flip(p, q))
    assert differ(column(p), sign)[0] == bool(differs(p, side))
