"""The YAML of configurations has no surprises."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from earshot.config.yaml_text import compose, line_of, to_yaml

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abn01e-. ", max_size=6), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 0.00001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("010", 10),
        ("0x10", 16),
        ("0o17", 15),
        ("1_000_000", 1_000_000),
        ("-3", -3),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.2.3", "1.2.3"),
        ("'5'", "5"),
        ("~", None),
        ("null", None),
        ("", None),
        ("# only a comment", None),
    ],
)
def test_a_plain_value_is_read_by_the_rules_of_yaml_1_2(text, value):
    found = compose(text)[0]
    assert found == value
    assert type(found) is type(value)


def test_an_empty_value_of_a_key_is_none():
    assert compose("a:\nb: 1")[0] == {"a": None, "b": 1}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' is repeated"),
        ("t: {x: 1, x: 2}", "the key 'x' is repeated"),
        ("1: one", "the key is '1', expected a name"),
        ("true: one", "the key is 'true', expected a name"),
        ("[a]: one", "the key is 'a list or a table', expected a name"),
        ("a: &big [1]\nb: *big", r"\*big is an alias"),
        ("a: &me [*me]", r"\*me is an alias"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: 1\n--- \nb: 2", "found another document"),
        ("a: [1", "expected ',' or ']'"),
        ("a: \x00", "special characters are not allowed"),
        ("[" * 100_000, "nested too deeply"),
        ("a: " + "9" * 5_000, "an impossible value"),
    ],
)
def test_text_that_is_hostile_or_ambiguous_is_refused(text, problem):
    with pytest.raises(yaml.YAMLError, match=problem):
        compose(text)


@given(plain_values)
def test_what_is_written_is_read_back_as_the_same_value(value):
    assert compose(to_yaml(value))[0] == value


@pytest.mark.parametrize("text", ["1e-5", "no", "0o17", "010", "1:30", "~", "", "2024-01-01", "1_0", "\u2028", "a: b"])
def test_a_string_that_looks_like_something_else_stays_a_string(text):
    assert compose(to_yaml({"key": text}))[0] == {"key": text}
    # Any other YAML reader agrees.
    assert yaml.safe_load(to_yaml({"key": text})) == {"key": text}


def test_a_value_that_occurs_twice_is_written_twice():
    shared = ["x"]
    assert compose(to_yaml({"a": shared, "b": shared}))[0] == {"a": ["x"], "b": ["x"]}


def test_the_line_of_a_place_is_that_of_its_deepest_known_part():
    _, node = compose("a: 1\nb:\n  c: 2\n  d:\n    - 5\n    - 6\n")
    assert line_of(node, ("a",)) == 1
    assert line_of(node, ("b", "c")) == 3
    assert line_of(node, ("b", "d", 1)) == 6
    assert line_of(node, ("b", "missing")) == 2
    assert line_of(node, ("b", "c", "deeper")) == 3
    assert line_of(node, ("missing",)) is None
