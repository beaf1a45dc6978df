"""Risk and coverage by hand, with ties; the statistic with intervals says the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.errors import DataError
from earshot.metrics.selective import confidence_of, risk_coverage, selective_statistics

CONFIDENCE = np.array([0.9, 0.1, 0.5, 0.7])
RIGHT = np.array([True, False, True, False])


def area_of(confidence: np.ndarray, right: np.ndarray) -> float:
    return selective_statistics(confidence, right, np.arange(len(right)), len(right))["aurc"].value()


def test_a_curve_by_hand() -> None:
    # Surest first: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 1/2.
    curve = risk_coverage(CONFIDENCE, RIGHT)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert area_of(CONFIDENCE, RIGHT) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_pairs_of_one_confidence_count_as_their_mean() -> None:
    # All alike: half wrong at any coverage, in whatever order the rows come.
    curve = risk_coverage(np.full(4, 0.3), RIGHT)
    assert (curve.coverage.tolist(), curve.risk.tolist()) == ([1.0], [0.5])
    assert area_of(np.full(4, 0.3), RIGHT) == pytest.approx(0.5)
    # One sure and right, then three of which two are wrong: risks 0, (2/3)/2, (4/3)/3, 2/4.
    tied = area_of(np.array([0.9, 0.2, 0.2, 0.2]), RIGHT)
    assert tied == pytest.approx((0 + 1 / 3 + 4 / 9 + 1 / 2) / 4)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=20), st.randoms())
def test_the_order_of_rows_does_not_matter(rows: list[tuple[int, bool]], random) -> None:
    def area(rows: list[tuple[int, bool]]) -> float:
        return area_of(np.array([r[0] / 5 for r in rows]), np.array([r[1] for r in rows]))

    shuffled = random.sample(rows, len(rows))
    assert area(shuffled) == pytest.approx(area(rows), abs=1e-12)


def test_accuracy_on_the_surest() -> None:
    # Of the four the surest two: one right. 80 % are 3.2 pairs, of which the second is wrong and a fifth of the last.
    found = selective_statistics(CONFIDENCE, RIGHT, np.arange(4), 4)
    assert found["selective_accuracy.50"].value() == pytest.approx(1 / 2)
    assert found["selective_accuracy.80"].value() == pytest.approx(1 - 1.2 / 3.2)


def test_the_statistics_are_the_curve_where_confidences_lie_on_the_grid() -> None:
    rng = np.random.default_rng(0)
    confidence, right, clusters = (
        rng.integers(0, 200, 700) / 200 + 1e-9,
        rng.random(700) < 0.7,
        rng.integers(0, 30, 700),
    )
    found = selective_statistics(confidence, right, clusters, 30)
    curve = risk_coverage(confidence, right)

    def risk_at(coverage: np.ndarray) -> np.ndarray:
        """Errors grow in a straight line from one point of the curve to the next, as of pairs in no order."""
        return np.interp(coverage, np.append(0, curve.coverage), np.append(0, curve.risk * curve.coverage)) / coverage

    assert found["aurc"].value() == pytest.approx(risk_at(np.arange(1, 701) / 700).mean(), abs=1e-12)
    for percent in (50, 80):
        expected = 1 - risk_at(np.array([percent / 100]))[0]
        assert found[f"selective_accuracy.{percent}"].value() == pytest.approx(expected, abs=1e-12)
    assert found["aurc"].n == 700


def test_a_pair_without_an_answer_is_the_least_sure() -> None:
    assert confidence_of(np.array([1.0, 0.5, np.nan, 0.25, 0.0])) == pytest.approx([1, 0, 0, 0.5, 1])


def test_what_has_no_curve_is_refused() -> None:
    for confidence in (np.zeros(0), np.array([np.nan])):
        with pytest.raises(DataError, match="at least one pair and no NaN"):
            risk_coverage(confidence, np.ones(len(confidence), dtype=bool))
    nothing = selective_statistics(np.zeros(0), np.zeros(0, dtype=bool), np.zeros(0, dtype=int), 2)
    assert all(np.isnan(s.value()) for s in nothing.values())
