"""A configuration is read whole and checked, or refused in one line that says where."""

import os
from typing import Any

import pytest
from pydantic import Field, ValidationError

from earshot.config import Config, load_config, nearest, parse_yaml, to_yaml
from earshot.errors import ConfigError


class Inner(Config):
    rate: float = 0.5
    names: list[str] = Field(default_factory=list)


class Outer(Config):
    path: str
    steps: int = 3
    fast: bool = False
    inner: Inner = Inner()
    maybe: Inner | None = None
    table: dict[str, Any] = Field(default_factory=dict)


@pytest.fixture
def load(tmp_path):
    def load(text, *overrides):
        file = tmp_path / "job.yaml"
        file.write_text(text, encoding="utf-8")
        return load_config(Outer, file, overrides)

    return load


@pytest.fixture
def refusal(load, tmp_path):
    def refusal(text, *overrides):
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(str(tmp_path) + "/", "")

    return refusal


def test_the_file_fills_what_it_names_and_the_defaults_the_rest(load):
    config = load("path: here\ninner:\n  rate: 2\n")
    assert config == Outer(path="here", inner=Inner(rate=2.0))
    assert (config.steps, config.inner.rate, config.maybe) == (3, 2.0, None)


def test_a_config_cannot_be_changed(load):
    with pytest.raises(ValidationError, match="frozen"):
        load("path: here").path = "there"


def test_overrides_win_over_the_file_and_the_last_one_over_the_others(load):
    config = load("path: here\nsteps: 1", "steps=2", "steps=5", "inner.rate=1e-5", "maybe.rate=0.25")
    assert (config.steps, config.inner.rate, config.maybe) == (5, 0.00001, Inner(rate=0.25))


def test_an_override_is_read_as_yaml(load):
    config = load("path: x", "inner.names=[a, b]", "table.eval_strategy=no", "path=a=b", "fast=true")
    assert (config.inner.names, config.table, config.path, config.fast) == (
        ["a", "b"],
        {"eval_strategy": "no"},
        "a=b",
        True,
    )


def test_an_override_can_take_a_table_away(load):
    assert load("path: x\nmaybe: {rate: 1}", "maybe=null").maybe is None
    assert load("path: x\nmaybe: {rate: 1}", "maybe=").maybe is None


def test_an_unknown_key_names_its_line_and_the_nearest_known_key(refusal):
    text = "path: x\ninner:\n  rate: 1\n  nmaes: [a]\n"
    assert refusal(text) == "job.yaml:4: unknown key 'inner.nmaes'; the nearest known key is 'inner.names'"
    assert (
        refusal("path: x\nmaybe: {rat: 1}")
        == "job.yaml:2: unknown key 'maybe.rat'; the nearest known key is 'maybe.rate'"
    )


def test_an_unknown_key_unlike_any_other_lists_the_known_ones(refusal):
    assert (
        refusal("path: x\ninner: {zzzzzz: 1}")
        == "job.yaml:2: unknown key 'inner.zzzzzz'; the known keys are rate, names"
    )


def test_a_misspelt_required_key_is_called_misspelt_not_missing(refusal):
    assert refusal("pahts: x") == "job.yaml:1: unknown key 'pahts'; the nearest known key is 'path' (and 1 more)"


def test_an_unknown_key_of_an_override_names_the_override(refusal):
    assert refusal("path: x", "inner.rat=1") == (
        "override 'inner.rat=1': unknown key 'inner.rat'; the nearest known key is 'inner.rate'"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path: x\nsteps: many", "job.yaml:2: 'steps' is 'many', expected a valid integer"),
        ("path: x\nsteps: 1.0", "job.yaml:2: 'steps' is 1.0, expected a valid integer"),
        ("path: x\nsteps: true", "job.yaml:2: 'steps' is True, expected a valid integer"),
        ("path: x\nsteps: '3'", "job.yaml:2: 'steps' is '3', expected a valid integer"),
        ("path: x\nfast: yes", "job.yaml:2: 'fast' is 'yes', expected a valid boolean"),
        ("path: 3", "job.yaml:1: 'path' is 3, expected a valid string"),
        ("path: x\ninner: {rate: .nan}", "job.yaml:2: 'inner.rate' is nan, expected a finite number"),
        ("path: x\ninner:\n  names:\n    - a\n    - 5", "job.yaml:5: 'inner.names.1' is 5, expected a valid string"),
        ("path: x\ninner: 3", "job.yaml:2: 'inner' is 3, expected keys of its own, as in 'inner: {rate: …}'"),
        ("path: x\ntable: [1]", "job.yaml:2: 'table' is [1], expected keys of its own, as in 'table: {KEY: …}'"),
        ("steps: 3", "job.yaml: the key 'path' is missing"),
        ("path: x\nsteps: 3\npath: y", "job.yaml:3: the key 'path' is repeated, expected it once"),
        ("path: [x", "job.yaml:1: expected ',' or ']', but got '<stream end>'"),
        ("- path", "job.yaml: holds a list, expected the keys path, steps, fast, inner, maybe, table"),
    ],
)
def test_a_wrong_value_names_the_line_what_was_found_and_what_was_expected(refusal, text, message):
    assert refusal(text) == message


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing here\n"])
def test_an_empty_file_says_what_it_should_hold(refusal, text):
    assert refusal(text).startswith("job.yaml: empty, expected the keys path, steps, fast, inner, maybe, table;")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("steps", "override 'steps': expected key=value or key.sub=value"),
        ("=3", "override '=3': expected key=value or key.sub=value"),
        ("inner..rate=3", "override 'inner..rate=3': expected key=value or key.sub=value"),
        ("path.sub=3", "override 'path.sub=3': 'path' is a value, and has no keys of its own"),
        ("steps=x", "override 'steps=x': 'steps' is 'x', expected a valid integer"),
        ("inner={rate: x}", "override 'inner={rate: x}': 'inner.rate' is 'x', expected a valid number"),
    ],
)
def test_a_wrong_override_is_quoted(refusal, override, message):
    assert refusal("path: x", override) == message


def test_an_override_that_is_no_yaml_is_quoted(refusal):
    assert refusal("path: x", "steps=[1").startswith("override 'steps=[1': the value is no YAML (")


def test_a_missing_file_a_folder_a_binary_a_pipe_and_a_huge_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"path: \xff\xfe")
    (tmp_path / "huge.yaml").write_bytes(b"#" * 1_000_001)
    for name, problem in [
        ("none.yaml", "no such file"),
        ("", "is a folder"),
        ("pipe.yaml", "is a pipe"),
        ("/dev/zero", "a device"),
        ("binary.yaml", "not UTF-8 at byte 6"),
        ("huge.yaml", "larger than 1000000 bytes"),
    ]:
        with pytest.raises(ConfigError, match=problem) as caught:
            load_config(Outer, tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_what_was_resolved_can_be_written_and_loaded_again(tmp_path):
    config = Outer(path="no", inner=Inner(rate=1e-5), table={"a": [1, None, "1e-5"], "cap": float("inf")})
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config.model_dump()))
    assert load_config(Outer, file) == config


def test_the_nearest_name_is_close_or_none():
    assert nearest("learning_rte", ["learning_rate", "lr", "seed"]) == "learning_rate"
    assert nearest("qqq", ["learning_rate", "seed"]) is None
    assert nearest("x", []) is None


def test_text_that_is_no_yaml_is_a_config_error():
    assert parse_yaml("[1e-5, no]") == [1e-5, "no"]
    with pytest.raises(ConfigError, match=r"^1: "):
        parse_yaml("[1")
