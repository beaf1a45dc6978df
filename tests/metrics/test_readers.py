"""What a reader makes of the pairs: its accuracy, whether the author follows it, and the pairs on which both agree."""

from collections.abc import Mapping
from typing import Any

import pytest

from earshot.metrics import summarise
from earshot.predictions.judgement import JudgedSample, conclude
from earshot.predictions.table import PredictionTable

NOTHING = {"value": None, "low": None, "high": None, "n": 0}
AGREE = ("coverage.agree", "accuracy.agree", "aurc.agree", "selective_accuracy.50.agree", "selective_accuracy.80.agree")


def row(
    name: str, author: float | None, reader: float | None, votes: tuple[int, int] = (3, 1), **options: Any
) -> dict[str, Any]:
    """A judged pair; without an author's p both samples are malformed, without a reader's it broke."""
    samples = [
        JudgedSample(order, "x", None, "no answer", None)
        if author is None
        else JudgedSample(order, "x", "first", None, author, {} if reader is None else {"kin": reader}, {"eye": 0.25})
        for order in ("forward", "swapped")
    ]  # type: ignore[arg-type]
    judged = conclude(samples, id=name, question="q", seed=0, readers=["kin"], **options)
    return judged.as_dict() | {"prompt_id": name, "votes_first": votes[0], "votes_second": votes[1]}


def metrics(*rows: Mapping[str, Any]) -> dict[str, Any]:
    return summarise(PredictionTable.from_rows(rows), listeners=["kin"], resamples=50)


ROWS = (
    row("both right", 0.9, 0.8),
    row("author right, reader on no side", 0.7, 0.5),
    row("reader right", 0.2, 0.6),
    row("both wrong", 0.3, 0.1),
    row("author on no side", 0.5, 0.9),
    row("malformed: nothing to read", None, None),
    row("the reader broke", 0.9, None),
    row("a tie, on one side", 0.8, 0.7, (2, 2)),
)


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("accuracy", 3 / 7, 7),  # both right, author right, the reader broke
        ("accuracy.read.kin", 3 / 6, 6),  # both right, reader right, author on no side; malformed is wrong
        ("follows_trace.kin", 3 / 6, 6),  # both right, both wrong, the tie; on no side nobody follows
        ("coverage.agree.kin", 2 / 6, 6),  # both right, both wrong
        ("accuracy.agree.kin", 1 / 2, 2),
        ("believed.eye", 0.25, 14),  # 7 well-formed pairs of two samples
    ],
)
def test_each_quantity_by_hand(name: str, value: float, n: int) -> None:
    found = metrics(*ROWS)[name]
    assert (found["value"], found["n"]) == (pytest.approx(value), n)


def test_a_reader_that_broke_or_was_never_heard_is_missing_and_not_wrong() -> None:
    broke = [row("a", 0.9, None), row("b", None, None)]
    first_format = [{key: value for key, value in one.items() if key != "p_read"} for one in ROWS]
    for found in (metrics(*broke), metrics(*first_format)):
        for name in ("accuracy.read", "follows_trace", *AGREE):
            assert found[f"{name}.kin"] == NOTHING


def test_pairs_on_which_both_agree_come_first_however_sure_the_others_are() -> None:
    # Two pairs on which both agree, barely and rightly; two on which they differ, the author certain and wrong.
    found = metrics(row("a", 0.501, 0.9), row("b", 0.501, 0.9), row("c", 0.0, 0.9), row("d", 0.0, 0.9))
    assert found["selective_accuracy.50.agree.kin"]["value"] == 1.0
    # risks 0, 0, 1/3, 2/4 over the coverages 1/4 … 1
    assert found["aurc.agree.kin"]["value"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found["selective_accuracy.50"]["value"] == 0.0  # by the author's certainty alone


def test_where_a_reader_decides_the_answer_is_its_own_and_the_authors_stands_beside_it() -> None:
    found = metrics(row("a", 0.9, 0.2, decide="kin"), row("b", 0.9, 0.8, decide="kin"))
    assert found["accuracy"]["value"] == found["accuracy.read.kin"]["value"] == 0.5
    assert found["accuracy.author"]["value"] == 1.0
    assert "accuracy.author" not in metrics(*ROWS)
