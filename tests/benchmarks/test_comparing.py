"""Two judges on the same pairs: paired, over what both have, and never over pairs that only look the same."""

from dataclasses import replace

import numpy as np
import pytest

from earshot.benchmarks.answers import Judged
from earshot.benchmarks.comparing import Comparison, compare
from earshot.benchmarks.protocols import find_protocol
from earshot.errors import DataError
from earshot.types import hash_of

from .judging import judged, with_p

# Prompt 0 has two pairs, prompts 1 and 2 one each.
TRUTH, PROMPTS = ["first", "second", "first", "second"], [0, 0, 1, 2]
GOOD = judged(TRUTH, ["first", "second", "first", "first"], PROMPTS)  # 3 of 4
POOR = judged(TRUTH, ["first", "first", None, "first"], PROMPTS)  # 1 of 4


def less(one: Judged, other: Judged, name: str = "hpdv3") -> Comparison:
    return compare((find_protocol(name), one), (find_protocol(name), other), resamples=200)


def test_the_difference_is_of_the_two_and_its_sign_turns_with_them() -> None:
    micro, macro = less(GOOD, POOR), less(GOOD, POOR, "imagereward-macro")
    assert (micro.score.value, micro.against.value, micro.difference.value) == (0.75, 0.25, 0.5)
    # Means of prompts: 1, 1, 0 against 1/2, 0, 0.
    assert macro.difference.value == pytest.approx(2 / 3 - 1 / 6)
    back = less(POOR, GOOD).difference
    assert (back.value, back.low, back.high) == (-0.5, -(micro.difference.high or 0), -(micro.difference.low or 0))
    assert (micro.n_shared, micro.n_only, micro.n_only_against) == (4, 0, 0)


def test_it_is_paired_so_that_the_same_answers_differ_by_nothing_at_all() -> None:
    rng = np.random.default_rng(0)
    p = with_p(["first"] * 200, rng.random(200).tolist(), (np.arange(200) // 2).tolist())
    same = less(p, p)
    assert (same.difference.value, same.difference.low, same.difference.high) == (0.0, 0.0, 0.0)
    assert (same.score.high or 0) - (same.score.low or 0) > 0.1


def test_files_in_another_order_with_other_numbers_of_prompts_are_put_together() -> None:
    rng = np.random.default_rng(1)
    prompts = np.arange(60) // 3
    one, other = (with_p(["first"] * 60, rng.random(60).tolist(), prompts.tolist()) for _ in range(2))
    order = rng.permutation(60)
    renumbered = replace(other.where(order), cluster=rng.permutation(20)[prompts[order]])
    assert less(one, renumbered) == less(one, other)


def test_pairs_that_only_one_has_are_counted_and_left_out() -> None:
    found = less(GOOD.where(np.array([0, 1, 2])), POOR.where(np.array([3, 2, 1])))
    assert (found.n_shared, found.n_only, found.n_only_against) == (2, 1, 1)
    assert (found.score.value, found.against.value, found.difference.n) == (1.0, 0.0, 2)  # pairs 1 and 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pair_hash": np.array([hash_of(f"x{i}") for i in range(4)])}, "share no pair"),
        ({"label": -POOR.label}, "4 of 4 shared pairs have other votes"),
        ({"majority": np.array([1, 1, 1, -1], dtype=np.int8)}, "1 of 4 shared pairs have other votes"),
        ({"cluster": np.array([0, 1, 1, 2])}, "shared pairs have other prompts"),
        ({"cluster": np.zeros(4, dtype=np.int64)}, "shared pairs have other prompts"),
    ],
)
def test_answers_to_other_pairs_of_the_same_ids_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        less(GOOD, replace(POOR, **change))  # type: ignore[arg-type]
