"""Where what is left of a text stood before something was cut out of it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from earshot.protocol.places import NOWHERE, Placed, Span, joined


def test_what_is_left_knows_where_it_stood() -> None:
    text = Placed.of("a cut b cut c").sub(re.compile("cut "), "")
    assert (text.text, list(text.places)) == ("a b c", [0, 1, 6, 7, 12])
    assert text.spans(Span(0, 5)) == [Span(0, 2), Span(6, 8), Span(12, 13)]
    assert text.spans(Span(3, 4)) == [Span(7, 8)]
    second = text.sub(re.compile("b"), "--")
    assert (second.text, list(second.places)) == ("a -- c", [0, 1, NOWHERE, NOWHERE, 7, 12])
    assert second.spans(Span(2, 4)) == []  # what was put in stood nowhere


@given(
    st.text("ab \n", max_size=30), st.sampled_from(["a+", r"\s+", "b", "x", "a|$"]), st.sampled_from(["", "\n", "\\1"])
)
def test_it_is_cut_as_a_text_is_cut(text: str, pattern: str, by: str) -> None:
    compiled, placed = re.compile(pattern), Placed.of(text)
    assert placed.sub(compiled, by).text == compiled.sub(lambda _: by, text)
    assert [one.text for one in placed.split(compiled)] == compiled.split(text)
    assert placed.stripped().text == text.strip() and placed.stripped("a ").text == text.strip("a ")
    assert joined(placed.split(compiled)).text == "".join(compiled.split(text))
    for made in (placed.sub(compiled, by), placed.stripped(), *placed.split(compiled)):
        stood = [(place, one) for place, one in zip(made.places, made.text, strict=True) if place != NOWHERE]
        assert all(text[place] == one for place, one in stood)
        assert stood == sorted(stood, key=lambda two: two[0])
