"""Page, report and metrics.json count the same things of the same rows: right, wrong, flips, disagreements."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot.metrics import summarise
from earshot.predictions.facts import is_flipped, listener_gaps, outcome_of
from earshot.predictions.judgement import JudgedSample, conclude
from earshot.predictions.run import Evaluation
from earshot.report.examples import confident_mistake, order_flip
from earshot.rundir import append_jsonl
from earshot.view.columns import GAP, RIGHT, WRONG
from earshot.view.judged import JudgedIndex
from earshot.view.sources import Source

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
    judged = conclude(found, id=f"p{k}", question="q", seed=0, readers=READERS, content="c")
    people = {"id": f"p{k}", "prompt_id": f"prompt {k // 2}", "votes_first": votes[0], "votes_second": votes[1]}
    return judged.as_dict(), people | {"content": "c"} | ({} if label is None else {"label": label})


@settings(max_examples=60)
@given(PAIRS)
def test_page_report_and_metrics_count_the_same(drawn: list[tuple[Any, ...]]) -> None:
    pairs = [rows_of(k, *one) for k, one in enumerate(drawn)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        append_jsonl(folder / "predictions.jsonl", [row for row, _ in pairs])
        append_jsonl(folder / "people.jsonl", [people for _, people in pairs])
        judged = Evaluation("run", folder, {}, {})
        metrics = summarise(judged.table(), listeners=READERS, resamples=5)
        index = JudgedIndex([Source("run", "set", folder, None)])
        index.refresh()
        columns, rows = index.columns.snapshot(), list(judged.rows())

    strict = [row for row in rows if outcome_of(row) != "open"]
    right = sum(outcome_of(row) == "right" for row in strict)
    assert metrics["accuracy"]["n"] == len(strict) == np.isin(columns["outcome"], [RIGHT, WRONG]).sum()
    assert (metrics["accuracy"]["value"] or 0) * max(len(strict), 1) == right == (columns["outcome"] == RIGHT).sum()
    # Every confident mistake of the report is wrong; one without a side is wrong, and not confident.
    mistakes = [row for row in rows if confident_mistake(row) is not None]
    assert all(outcome_of(row) == "wrong" and row["p_first"] != 0.5 for row in mistakes)
    assert len(mistakes) == sum(row["p_first"] not in (None, 0.5) for row in strict) - right

    consistent = metrics["position_consistency"]
    flips = consistent["n"] - round((consistent["value"] or 0) * consistent["n"])
    assert flips == columns["flip"].sum() == sum(map(is_flipped, rows))
    assert flips == sum(order_flip(row) is not None for row in rows)

    for reader in READERS:
        apart = metrics[f"disagreement.{reader}"]
        samples = [sample for row in rows for sample in row["samples"] if reader in sample["listener"]]
        differing = [sample for sample in samples if reader in listener_gaps([sample])]
        assert apart["n"] == len(samples)
        assert round((apart["value"] or 0) * apart["n"]) == len(differing)
        on_the_page = ~np.isnan(columns.get(GAP + reader, np.full(len(rows), np.nan)))
        assert on_the_page.tolist() == [reader in listener_gaps(row["samples"]) for row in rows]


def test_even_is_on_no_side_for_the_report_as_for_the_page() -> None:
    def row(p: float | None, forward: float, swapped: float) -> dict[str, Any]:
        return {"votes_first": 3, "votes_second": 1, "p_first": p, "p_first_forward": forward,
                "p_first_swapped": swapped, "samples": []}  # fmt: skip

    assert order_flip(row(0.3, 0.5, 0.1)) == 0.4  # 0.5 is not on the second side, so the orders are not on one
    assert confident_mistake(row(0.5, 0.5, 0.5)) is None and outcome_of(row(0.5, 0.5, 0.5)) == "wrong"
    for side in ("first", "second"):
        sample = {"order": "forward", "side": side, "malformed": None, "p_first": 0.9, "listener": {"kin": 0.5}}
        assert listener_gaps([sample]) == {"kin": 0.4}
