"""Risk and coverage by hand, with ties; the statistic with intervals says the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.errors import DataError
from earshot.metrics.selective import confidence_of, risk_coverage, selective_accuracy, selective_statistics

CONFIDENCE = np.array([0.9, 0.1, 0.5, 0.7])
RIGHT = np.array([True, False, True, False])


def test_a_curve_by_hand() -> None:
    # Surest first: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 1/2.
    curve = risk_coverage(CONFIDENCE, RIGHT)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.aurc == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_pairs_of_one_confidence_count_as_their_mean() -> None:
    # All alike: half wrong at any coverage, in whatever order the rows come.
    curve = risk_coverage(np.full(4, 0.3), RIGHT)
    assert (curve.coverage.tolist(), curve.risk.tolist(), curve.aurc) == ([1.0], [0.5], pytest.approx(0.5))
    # One sure and right, then three of which two are wrong: risks 0, (2/3)/2, (4/3)/3, 2/4.
    tied = risk_coverage(np.array([0.9, 0.2, 0.2, 0.2]), RIGHT)
    assert tied.aurc == pytest.approx((0 + 1 / 3 + 4 / 9 + 1 / 2) / 4)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20), st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[tuple[int, bool]], random) -> None:
    def area(rows: list[tuple[int, bool]]) -> float:
        return risk_coverage(np.array([r[0] / 5 for r in rows]), np.array([r[1] for r in rows])).aurc

    shuffled = random.sample(rows, len(rows))
    assert area(shuffled) == pytest.approx(area(rows), abs=1e-12)


def test_accuracy_on_the_surest() -> None:
    # Of four: the first one right; two: one right; three: two right. Three and a half: 3.5 pairs with 1.5 wrong.
    assert selective_accuracy(CONFIDENCE, RIGHT, np.array([0.25, 0.5, 0.75, 1.0])) == pytest.approx(
        [1, 1 / 2, 2 / 3, 1 / 2]
    )
    assert selective_accuracy(CONFIDENCE, RIGHT, np.array([0.875])) == pytest.approx([1 - 1.5 / 3.5])


def test_the_statistics_are_the_curve_where_confidences_lie_on_the_grid() -> None:
    rng = np.random.default_rng(0)
    confidence, right, clusters = (
        rng.integers(0, 200, 700) / 200 + 1e-9,
        rng.random(700) < 0.7,
        rng.integers(0, 30, 700),
    )
    found = selective_statistics(confidence, right, clusters, 30)
    assert found["aurc"].value() == pytest.approx(risk_coverage(confidence, right).aurc, abs=1e-12)
    for percent in (50, 80):
        expected = selective_accuracy(confidence, right, np.array([percent / 100]))[0]
        assert found[f"selective_accuracy.{percent}"].value() == pytest.approx(expected, abs=1e-12)
    assert found["aurc"].n == 700


def test_a_pair_without_an_answer_is_the_least_sure() -> None:
    assert confidence_of(np.array([1.0, 0.5, np.nan, 0.25, 0.0])) == pytest.approx([1, 0, 0, 0.5, 1])


def test_what_has_no_curve_is_refused() -> None:
    for confidence in (np.zeros(0), np.array([np.nan])):
        with pytest.raises(DataError, match="at least one pair and no NaN"):
            risk_coverage(confidence, np.ones(len(confidence), dtype=bool))
    with pytest.raises(DataError, match=r"outside \(0, 1\]"):
        selective_accuracy(CONFIDENCE, RIGHT, np.array([0.0]))
    nothing = selective_statistics(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0, dtype=int), 2)
    assert all(np.isnan(s.value()) for s in nothing.values())
