"""Whose data it is that a benchmark's name may stand over, and what is printed beside it."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from earshot.benchmarks.answers import Origin
from earshot.benchmarks.forms import form_of
from earshot.benchmarks.protocols import PROTOCOLS, WITH_THRESHOLD
from earshot.benchmarks.published import ANY, FIGURES, HPDV3, Benchmark
from earshot.benchmarks.scores import read_judged
from earshot.benchmarks.truth import TruthRow, collect_truth

from .judging import judged

TWO = judged(["first", "second"], ["first", "first"])
SET = Benchmark("X's test set", {}, "x", "test", 2)


@pytest.mark.parametrize(
    ("origin", "of", "why"),
    [
        (Origin("x", "test"), SET, None),
        (Origin("x", "test"), replace(SET, n_pairs=3), "2 of the 3 pairs of X's test set"),
        (Origin("x", "train"), SET, "2 pairs of the split train; not X's test set, 2 pairs"),
        (Origin("y", "test"), SET, "2 pairs of y; not X's test set, 2 pairs"),
        (None, SET, "2 pairs that do not say of which set; not X's test set, 2 pairs"),
        (Origin("hpdv3", "test"), HPDV3, None),  # as far as can be known
        (None, ANY, None),
    ],
)
def test_a_set_knows_its_pairs(origin: Origin | None, of: Benchmark, why: str | None) -> None:
    assert of.stranger(replace(TWO, origin=origin)) == why


def test_where_a_sets_size_is_not_known_it_still_is_not_whole_without_those_left_out() -> None:
    assert HPDV3.stranger(replace(TWO, origin=Origin("hpdv3", "test"), n_left_out=1)) == (
        "2 of the 3 pairs of HPDv3's test set"
    )


def test_pairs_of_several_sets_are_of_none() -> None:
    rows = [TruthRow(str(i), "q", "first", "first", Origin("x", split)) for i, split in enumerate(("test", "train"))]
    assert collect_truth(rows[:1], "here", "id").origin == Origin("x", "test")
    assert collect_truth(rows, "here", "id").origin is None


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_row_that_a_protocol_shows_is_one_that_it_measures(name: str, tmp_path: Path) -> None:
    protocol = PROTOCOLS[name]
    row = dict(protocol.benchmark.example)
    names = str(row.get("image", "")), "another.png"
    rows = [row] if "id" in row else [row, {"image": names[1], "score": 0.1}]
    path = tmp_path / "answers.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows(rows)
    people = TruthRow(str(row.get("id", "p")), "q", "first", "first", None, names)
    truth = collect_truth([people], "here", form_of(path).key or "id")
    if name in WITH_THRESHOLD:
        protocol = protocol.with_threshold(0.0)
    # The second of two orders is answered wrongly in the example.
    assert protocol.evaluate(read_judged(path, truth), resamples=5).estimate.value == (0.5 if "mmrb2" in name else 1.0)


def test_figures_are_of_protocols_there_are_and_name_their_source() -> None:
    for name, figures in FIGURES.items():
        assert PROTOCOLS[name].benchmark is not ANY
        for figure in figures:
            assert 0 < figure.percent < 100 and figure.source
            assert figure.record()["how"] == ("recounted" if figure.recounted else "quoted")
