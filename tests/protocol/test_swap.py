"""A trace reads as if its images had been shown in the other order, and nothing else in it changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.protocol import swap_references

SWAPPED = [
    ("The first image shows a red circle.", "The second image shows a red circle."),
    ("Image 1 has 2 cats, image 2 has 1.5 dogs.", "Image 2 has 2 cats, image 1 has 1.5 dogs."),
    ("images 1 and 2 differ", "images 2 and 1 differ"),
    ("**Image A**: good. **Image B**: bad", "**Image B**: good. **Image A**: bad"),
    ("Model A > model B: [[A>B]]", "Model B > model A: [[B>A]]"),
    ("the 1st one and the FIRST one", "the 2nd one and the SECOND one"),
    ("the former, not the latter", "the latter, not the former"),
    ("Image One is dark", "Image Two is dark"),
    ("image #1, Image (2)", "image #2, Image (1)"),
    ("Final answer: 1", "Final answer: 2"),
    ("the left image shows a cat on the right", "the right image shows a cat on the right"),
    ("the image on the left", "the image on the right"),
    ("first : red circle left . so first better", "second : red circle left . so second better"),
]

UNCHANGED = [
    "",
    "At first glance both are fine.",
    "First of all, they differ.",
    "It took a second.",
    "a red circle on the left, 1 cat, 2 dogs",
    "in this image a cat sits",
    "a firsthand, second-rate view",
    "image 12 and image 1.5",
    "the left circle is larger than the right circle",
]

phrases = st.sampled_from([text for pair in SWAPPED for text in pair] + UNCHANGED)
traces = st.lists(phrases, max_size=6).map(" . ".join)


@pytest.mark.parametrize(("trace", "swapped"), SWAPPED)
def test_references_change_places(trace, swapped):
    assert swap_references(trace) == swapped
    assert swap_references(swapped) == trace


@pytest.mark.parametrize("trace", UNCHANGED)
def test_what_is_no_reference_stays(trace):
    assert swap_references(trace) == trace


@given(traces)
def test_swapping_twice_gives_the_trace_back(trace):
    assert swap_references(swap_references(trace)) == trace
