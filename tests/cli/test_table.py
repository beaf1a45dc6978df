"""Tables of the terminal: one look, in which no number is cut, however narrow the terminal or the pipe."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.cli.evaluate import metric_rows, print_metrics
from earshot.cli.table import facts, table
from earshot.lab.commands.bench import _print_table

ESTIMATE = re.compile(r"[+−]?\d+\.\d+ \[[+−]?\d+\.\d+, [+−]?\d+\.\d+\]")
METRICS = {
    "accuracy": {"value": 0.765, "low": 0.732, "high": 0.798, "n": 600},
    "accuracy_macro": {"value": 0.75, "low": 0.7, "high": 0.8, "n": 600},
    "follows_trace.a-listener-with-a-long-name-of-its-own": {"value": 1.0, "low": 1.0, "high": 1.0, "n": 600},
    "trace_length": {"value": 17.3, "low": 16.25, "high": 18.0, "n": 1200},
    "brier": {"value": 0.2, "low": None, "high": None, "n": 600},
    "protocol.hpdv2": {"value": 0.75, "low": 0.5, "high": 0.9, "n": 600},
    "n_pairs": 1200,
    "n_malformed": 0,
}
words = st.text("abc ", min_size=1, max_size=60).map(lambda text: " ".join(text.split()))
cells = st.text("0123456789.[],", max_size=20)


@given(st.lists(st.tuples(words, cells, cells), min_size=1, max_size=5), st.integers(20, 120))
def test_every_cell_is_whole_and_no_line_is_wider_than_the_terminal(rows, width):
    text = table(("", "one", "two"), rows, width=width)
    for _, *numbers in rows:
        assert all(number in text for number in numbers)
    if width >= 2 * (20 + 2) + 16:
        assert all(len(line) <= width for line in text.splitlines())


def test_labels_stand_to_the_left_and_cells_to_the_right():
    rows = [("accuracy, %", "76.5 [73.2, 79.8]"), ("of a long name that is wrapped", "1.0")]
    assert table(("", "model"), rows, width=38).splitlines() == [
        "                                 model",
        "accuracy, %          76.5 [73.2, 79.8]",
        "of a long name that                1.0",
        "  is wrapped",
    ]
    assert table(("", "model"), rows, width=30).splitlines() == [
        "accuracy, %",
        "    model: 76.5 [73.2, 79.8]",
        "of a long name that is wrapped",
        "    model: 1.0",
    ]


def test_a_label_alone_is_a_heading_and_takes_no_room_from_the_cells():
    rows = [("disagreement with the held-out listener, %",), ("  in distribution", "43.5 [17.4, 70.8]")]
    assert table(("", "SFT only"), rows, width=40).splitlines() == [
        "                            SFT only",
        "disagreement with the held-out listener,",
        "  %",
        "  in distribution  43.5 [17.4, 70.8]",
    ]


def test_facts_are_wrapped_beside_their_names_and_addresses_are_not_broken():
    text = facts([("hub", "see https://example.com/a-very-long-address-indeed"), ("a", "b")], width=30)
    assert text.splitlines() == ["hub  see", "     https://example.com/a-very-long-address-indeed", "a    b"]


@pytest.mark.parametrize("columns", ["20", "80", "200"])
def test_what_an_evaluation_prints_is_estimates_of_one_form(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    print_metrics(
        METRICS, "model", Path("set"), Path("a/very/long/path/of/a/run/that/does/not/fit/in/eighty/columns/x")
    )
    shown = capsys.readouterr().out
    assert "…" not in shown and "..." not in shown
    assert "76.5 [73.2, 79.8]" in shown and "100.0 [100.0, 100.0]" in shown and "17.3 [16.2, 18.0]" in shown
    assert len(ESTIMATE.findall(shown)) == 5 and " to " not in shown
    assert "a/very/long/path/of/a/run/that/does/not/fit/in/eighty/columns/x: predictions.jsonl" in shown  # one line
    rows = dict(metric_rows(METRICS))
    assert rows["accuracy, %"] == "76.5 [73.2, 79.8]" and rows["pairs"] == "1,200" and "malformed" not in rows


def test_a_benchmark_prints_its_ratios_in_the_same_form(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    ratio = {"ratio": 1.5, "low": 1.25, "high": 1.75, "ours": 2.0, "stock": 3.0}
    parts = dict.fromkeys(("step", "generate", "listener", "train_pass"), ratio)
    memory = {"peak_memory": ratio | {"ours": 2**20 * 1234.5, "stock": 2**20 * 9999.5}}
    _print_table("step", {**parts, **memory, "shape": {"pixels": 56}, "ideal_ratio": 1.6, "work": {}})
    shown = capsys.readouterr().out
    assert shown.count("1.50 [1.25, 1.75]") == 5 and "1234.5 MiB" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize(("named", "told"), [("ood_raters", "at most 81.8 % by a perfect student"), ("mine", "")])
def test_an_evaluation_on_a_set_of_the_world_says_what_anybody_could_reach(named, told, tmp_path, capsys):
    (tmp_path / "dataset.json").write_text(json.dumps({"source": "earshot world", "set": named}))
    print_metrics(METRICS, "model", tmp_path, Path("run"))
    shown = capsys.readouterr().out
    assert (f"accuracy: {told}" in shown) if told else "at most" not in shown
