"""Page, report and metrics.json count the same things of the same rows: right, wrong, flips, disagreements."""

from collections.abc import Mapping
from itertools import compress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot.errors import DataError
from earshot.files import append_jsonl
from earshot.metrics import summarise
from earshot.predictions.facts import is_flipped, listener_gaps, outcome_of, side_of_people, widest_gaps
from earshot.predictions.judgement import JudgedSample, conclude
from earshot.predictions.run import Evaluation
from earshot.predictions.sides import is_right, side_of
from earshot.report.examples import confident_mistake, order_flip
from earshot.view.query import Query, select
from earshot.view.rows import GAP
from tests.view.runs import judged_rows

READERS = ("kin", "far")
P = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])
VOTES = st.sampled_from([(3, 1), (1, 3), (2, 2), (0, 0)])
LABEL = st.sampled_from([None, "first", "second", "tie"])


HEARD = st.dictionaries(st.sampled_from(READERS), P)
SAMPLE = st.one_of(st.none(), st.tuples(st.sampled_from(["first", "second"]), P, HEARD))
"""Malformed, or a side, the author's p and what readers heard."""
ORDERS = st.lists(SAMPLE, min_size=1, max_size=2)
PAIRS = st.lists(st.tuples(ORDERS, ORDERS, VOTES, LABEL), min_size=1, max_size=6)


def rows_of(k: int, forward: Any, swapped: Any, votes: Any, label: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """A prediction, and what people said."""
    found = [
        JudgedSample(order, "no idea", None, "no think block", None)
        if one is None
        else JudgedSample(order, "words", one[0], None, one[1], one[2])
        for order, several in (("forward", forward), ("swapped", swapped))
        for one in several
    ]  # type: ignore[arg-type]
    judged = conclude(found, id=f"p{k}", question="q", seed=0, readers=READERS)
    people = {"id": f"p{k}", "prompt_id": f"prompt {k // 2}", "votes_first": votes[0], "votes_second": votes[1]}
    return judged.as_dict() | {"content": "c"}, people | {"content": "c"} | ({} if label is None else {"label": label})


@settings(max_examples=60)
@given(PAIRS)
def test_page_report_and_metrics_count_the_same(drawn: list[tuple[Any, ...]]) -> None:
    pairs = [rows_of(k, *one) for k, one in enumerate(drawn)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        append_jsonl(folder / "predictions.jsonl", [row for row, _ in pairs])
        append_jsonl(folder / "people.jsonl", [people for _, people in pairs])
        judged = Evaluation("run", folder)
        table = judged.table()
        metrics = summarise(table, listeners=READERS, resamples=5)
        page = judged_rows(folder)
        page.refresh()
        shown, rows = page.table(), list(judged.rows())
        outcome, flip = (shown[name].to_numpy() for name in ("outcome", "flip"))

    strict = [row for row in rows if outcome_of(row) != "open"]
    right = sum(outcome_of(row) == "right" for row in strict)
    assert metrics["accuracy"]["n"] == len(strict) == (outcome != "open").sum()
    assert (metrics["accuracy"]["value"] or 0) * max(len(strict), 1) == right == (outcome == "right").sum()
    # Every confident mistake of the report is wrong; one without a side is wrong, and not confident.
    mistakes = [row for row in rows if confident_mistake(row) is not None]
    assert all(outcome_of(row) == "wrong" and row["p_first"] != 0.5 for row in mistakes)
    assert len(mistakes) == sum(row["p_first"] not in (None, 0.5) for row in strict) - right

    consistent = metrics["position_consistency"]
    flips = consistent["n"] - round((consistent["value"] or 0) * consistent["n"])
    assert flips == flip.sum() == sum(map(is_flipped, rows))
    assert flips == sum(order_flip(row) is not None for row in rows)

    for reader in READERS:
        apart = metrics[f"disagreement.{reader}"]
        samples = [sample for row in rows for sample in row["samples"] if reader in sample["listener"]]
        differing = [sample for sample in samples if reader in listener_gaps([sample])]
        assert apart["n"] == len(samples)
        assert round((apart["value"] or 0) * apart["n"]) == len(differing)
        # The page lists pairs: those with a completion that metrics.json counts, by how far the widest is apart.
        on_the_page = (
            shown[GAP + reader].to_numpy() if GAP + reader in shown.column_names else np.full(len(rows), np.nan)
        )
        gaps = [listener_gaps(row["samples"]).get(reader, np.nan) for row in rows]
        np.testing.assert_allclose(on_the_page, gaps, rtol=1e-6)
        np.testing.assert_allclose(widest_gaps(table).get(reader, np.full(len(rows), np.nan)), gaps)
        facet = select(shown, Query(listener=reader))
        assert len(facet.rows) == facet.counts["listener"].get(reader, 0) == np.count_nonzero(~np.isnan(gaps))
        check_reader(reader, rows, metrics)

    for verdict, count in (("right", right), ("wrong", len(strict) - right), ("open", len(rows) - len(strict))):
        chosen = select(shown, Query(verdict=verdict))
        assert len(chosen.rows) == chosen.counts["verdict"][verdict] == count
    assert len(select(shown, Query(flips=True)).rows) == flips


def check_reader(reader: str, rows: list[dict[str, Any]], metrics: Mapping[str, Any]) -> None:
    """What metrics.json says of a reader's p, row by row with the scalar rules."""
    p_read = [row["p_read"][reader] for row in rows]
    p_author = [row["p_author"] for row in rows]
    known = [p is not None for p in p_read]
    asked = [
        side_of_people(row) is not None and any(known) and (there or own is None)
        for row, own, there in zip(rows, p_author, known, strict=True)
    ]
    follows = [side_of(p) is not None and side_of(p) == side_of(own) for p, own in zip(p_read, p_author, strict=True)]
    both = [there and own is not None for there, own in zip(known, p_author, strict=True)]
    reads = [is_right(p, side_of_people(row)) for p, row in zip(p_read, rows, strict=True)]
    agreed = [a and f for a, f in zip(asked, follows, strict=True)]
    expected = {
        "accuracy.read": list(compress(reads, asked)),
        "follows_trace": list(compress(follows, both)),
        "coverage.agree": list(compress(follows, asked)),
        "accuracy.agree": [outcome_of(row) == "right" for row in compress(rows, agreed)],
    }
    for name, values in expected.items():
        found = metrics[f"{name}.{reader}"]
        assert (found["n"], round((found["value"] or 0) * found["n"])) == (len(values), sum(map(bool, values))), name


HOSTILE: list[dict[str, Any]] = [
    {"p_first": "0.7"},
    {"p_first": True},
    {"p_first": 1.5},
    {"p_first_swapped": -0.1},
    {"votes_first": -1},
    {"votes_second": None},
    {"label": "neither"},
    {"samples": [3]},
]
SAMPLES: list[dict[str, Any]] = [
    {"side": None},  # with no reason why it is no verdict
    {"malformed": "no answer"},  # with a side
    {"side": "left"},
    {"verdict": 3},
    {"p_first": 2},
    {"listener": {"kin": 2}},
    {"listener": [0.5]},
    {"believed": {"eye": -1}},
]


@pytest.mark.parametrize("wrong", [*HOSTILE, *({"samples": [sample]} for sample in SAMPLES)], ids=str)
def test_a_row_that_metrics_refuse_is_left_out_of_the_page(tmp_path: Path, wrong: dict[str, Any]) -> None:
    good, bad = (rows_of(k, [("first", 0.9, {})], [("first", 0.9, {})], (3, 1), None) for k in (0, 1))
    whole = bad[0] | bad[1]
    change = dict(wrong)
    if wrong.get("samples") not in (None, [3]):
        change["samples"] = [*whole["samples"][:1], whole["samples"][1] | wrong["samples"][0]]
    append_jsonl(tmp_path / "predictions.jsonl", [good[0] | good[1], whole | change])
    with pytest.raises(DataError, match=r"predictions\.jsonl:2"):
        Evaluation("run", tmp_path).table()
    page = judged_rows(tmp_path)
    assert (page.refresh(), page.state()["left_out"]) == (1, 1)


def test_even_is_on_no_side_for_the_report_as_for_the_page() -> None:
    def row(p: float | None, forward: float, swapped: float) -> dict[str, Any]:
        return {"votes_first": 3, "votes_second": 1, "p_first": p, "p_first_forward": forward,
                "p_first_swapped": swapped, "samples": []}  # fmt: skip

    assert order_flip(row(0.3, 0.5, 0.1)) == 0.4  # 0.5 is not on the second side, so the orders are not on one
    assert confident_mistake(row(0.5, 0.5, 0.5)) is None and outcome_of(row(0.5, 0.5, 0.5)) == "wrong"
    for side in ("first", "second"):
        sample = {"order": "forward", "side": side, "malformed": None, "p_first": 0.9, "listener": {"kin": 0.5}}
        assert listener_gaps([sample]) == {"kin": 0.4}
