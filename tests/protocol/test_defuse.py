"""No text can form a control token, whatever the tokens are; a text without any stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.errors import ModelError
from earshot.protocol import defuse

# Few letters, so that tokens nest, overlap and complete one another.
tokens = st.text("ab <", min_size=2, max_size=6).filter(lambda token: len(token.strip(" ")) >= 2)
token_sets = st.sets(tokens, max_size=5)
texts = st.text("ab <", max_size=40)


@pytest.mark.parametrize(
    ("text", "control", "expected"),
    [
        ("say <think> aloud", {"<think>"}, "say < think> aloud"),
        ("<<think>think>", {"<think>"}, "<< think>think>"),
        ("aaaa", {"aa"}, "a a a a"),
        ("abc", {"ab", "bc"}, "a b c"),
        ("ab", {"ab", "a b", "a  b"}, "a   b"),  # each broken form is the next token
        ("<think", {"<think>"}, "<think"),
        ("x", set(), "x"),
        ("a\nb", {"a\nb"}, "a \nb"),
        ("[INST] (.*) [/INST]", {"[INST]", "(.*)"}, "[ INST] ( .*) [/INST]"),
    ],
)
def test_each_token_is_broken_after_its_first_character(text, control, expected):
    assert defuse(text, control) == expected


@given(texts, token_sets)
def test_no_token_is_left(text, control):
    safe = defuse(text, control)
    assert not [token for token in control if token in safe]


@given(texts, token_sets)
def test_defusing_again_changes_nothing(text, control):
    assert defuse(defuse(text, control), control) == defuse(text, control)


@given(texts, token_sets)
def test_only_spaces_are_added(text, control):
    assert defuse(text, control).replace(" ", "") == text.replace(" ", "")


@given(texts, token_sets)
def test_a_text_without_tokens_stays_as_it_is(text, control):
    if not any(token.strip(" ") in text for token in control):
        assert defuse(text, control) == text


@given(st.text(), st.sets(st.text(min_size=2).filter(lambda token: len(token.strip(" ")) >= 2), max_size=4))
def test_it_holds_for_any_unicode(text, control):
    hidden = text.join(["", *sorted(control)])
    assert not [token for token in control if token in defuse(hidden, control)]


@pytest.mark.parametrize("token", ["", "x", " x ", "  "])
def test_a_token_that_no_space_can_break_is_refused(token):
    with pytest.raises(ModelError, match="expected at least 2"):
        defuse("text", [token])
