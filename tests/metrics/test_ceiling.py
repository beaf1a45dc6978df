"""How often one rater agrees with the others, against counting every rater."""

import numpy as np
import pytest

from earshot.metrics.ceiling import ceiling_statistics, leave_one_out_agreement, majority_agreement
from earshot.stats import bootstrap
from earshot.types import Estimate


def votes(*pairs: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs], dtype=float), np.array([p[1] for p in pairs], dtype=float)


def test_agreement_by_hand() -> None:
    a, b = votes((2, 1), (3, 1), (2, 2), (2, 0), (1, 1))
    assert leave_one_out_agreement(a, b) == pytest.approx(
        [
            (2 * 0.5 + 0) / 3,  # either of the two faces 1 : 1, the one faces 2 : 0
            (3 * 1 + 0) / 4,  # each of the three faces 2 : 1
            0,  # each faces 1 : 2
            1,
            0,
        ]
    )
    assert majority_agreement(a, b) == pytest.approx([2 / 3, 3 / 4, 1 / 2, 1, 1 / 2])


@pytest.mark.parametrize(("a", "b"), [(a, b) for a in range(6) for b in range(6) if a + b >= 2])
def test_agreement_is_that_of_each_rater_in_turn(a: int, b: int) -> None:
    raters, agree = [1] * a + [-1] * b, 0.0
    for i, side in enumerate(raters):
        rest = sum(raters[:i] + raters[i + 1 :])
        agree += 0.5 if rest == 0 else float(rest * side > 0)
    assert leave_one_out_agreement(*votes((a, b)))[0] == pytest.approx(agree / (a + b))
    assert leave_one_out_agreement(*votes((b, a)))[0] == pytest.approx(agree / (a + b))
    assert majority_agreement(*votes((a, b)))[0] >= agree / (a + b)


def test_pairs_of_fewer_than_two_votes_are_left_out() -> None:
    a, b = votes((3, 1), (1, 0), (0, 0), (2, 0))
    found = ceiling_statistics(a, b, np.arange(4), 4)
    assert {name: (s.value(), s.n) for name, s in found.items()} == {
        "ceiling.leave_one_out": (pytest.approx((0.75 + 1) / 2), 2),
        "ceiling.including": (pytest.approx((0.75 + 1) / 2), 2),
    }


def test_no_pair_of_two_votes_has_no_ceiling() -> None:
    found = bootstrap(ceiling_statistics(*votes((1, 0)), np.array([0]), 1), resamples=10)
    assert found["ceiling.leave_one_out"] == found["ceiling.including"] == Estimate.missing()


def test_votes_that_count_no_raters_are_left_out() -> None:
    found = ceiling_statistics(*votes((3, 1), (2.5, 1), (2, 0.5)), np.arange(3), 3)
    assert {name: (s.value(), s.n) for name, s in found.items()} == {
        "ceiling.leave_one_out": (0.75, 1),
        "ceiling.including": (0.75, 1),
    }
