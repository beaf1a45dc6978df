"""How many pairs show a difference: Connor's formula by hand, its inverse, and whether sets of that size do show it."""

import math

import numpy as np
import pytest

from earshot.errors import InputError
from earshot.stats import (
    bootstrap,
    design_effect,
    detectable_difference,
    mean_statistic,
    pairs_needed,
)


def test_connors_formula_by_hand() -> None:
    # (1.960 √0.2 + 0.842 √(0.2 - 0.01))² / 0.01 = (0.8765 + 0.3669)² / 0.01 = 154.6
    assert pairs_needed(0.1, 0.2) == 155
    assert pairs_needed(-0.1, 0.2) == pairs_needed(0.1, 0.2)


def test_prompts_of_many_pairs_need_more_pairs() -> None:
    # 1 + 9 · 0.2 = 2.8; 154.6 · 2.8 = 432.9 pairs.
    assert design_effect(10.0, 0.2) == pytest.approx(2.8)
    assert pairs_needed(0.1, 0.2, effect=2.8) == 433
    assert design_effect(10.0, 0.2, size_cv=0.5) == pytest.approx(1 + (1.25 * 10 - 1) * 0.2)


def test_a_0_6_point_difference_on_imagereward_is_out_of_reach() -> None:
    needed = pairs_needed(0.006, 0.25, effect=design_effect(13.7, 0.05, size_cv=0.58))
    assert needed > 10 * 6_399


@pytest.mark.parametrize("effect", [1.0, design_effect(14.0, 0.1, size_cv=0.6)])
def test_what_a_set_can_show_is_the_inverse_of_how_large_it_must_be(effect: float) -> None:
    smallest = detectable_difference(5_000, 0.3, effect=effect)
    assert smallest is not None
    assert pairs_needed(smallest, 0.3, effect=effect) == 5_000


def test_too_small_a_set_shows_nothing() -> None:
    # With discordance 0.04, all on one side, (1.960 · 0.2 + 0.842 · √(0.04 - 0.0016))² / 0.0016 = 194 are needed.
    assert detectable_difference(190, 0.04) is None
    assert detectable_difference(200, 0.04) == pytest.approx(0.039, abs=0.001)


def test_sets_of_the_size_asked_for_show_the_difference_as_often_as_promised() -> None:
    """250 sets of prompts with 10 pairs; each prompt leans by itself. ± 5 points at 95 %."""
    rng, m = np.random.default_rng(0), 10
    difference, spread, agree = 0.08, 0.2, 0.7

    def answers(c: int) -> np.ndarray:
        # Discordant with 0.3; of a discordant pair the first model is right with a chance that differs by prompt.
        lean = np.clip(0.5 + difference / 0.6 + spread * rng.choice([-1, 1], size=(c, 1)), 0, 1)
        return np.where(rng.random((c, m)) < agree, 0, np.where(rng.random((c, m)) < lean, 1, -1)).astype(float)

    # Variance of a prompt's mean difference (0.3 · 2 · 0.2)² over that of a pair, 0.3 - 0.08².
    correlation = 0.12**2 / (0.3 - 0.08**2)
    size = pairs_needed(difference, 0.3, effect=design_effect(float(m), correlation))
    prompts, shown = math.ceil(size / m), 0
    for number in range(250):
        gaps = answers(prompts)
        statistic = mean_statistic(gaps.ravel(), np.repeat(np.arange(prompts), m), prompts)
        shown += bootstrap({"d": statistic}, resamples=400, seed=number)["d"].low > 0
    assert shown / 250 == pytest.approx(0.8, abs=0.06)
    assert size > 1.3 * pairs_needed(difference, 0.3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.3, 0.2), "difference 0.3 with discordance 0.2"),
        ((0.0, 0.2), "difference 0.0 with discordance 0.2"),
        ((0.1, 1.2), "at most 1"),
    ],
)
def test_rates_that_cannot_be_are_refused(arguments: tuple[float, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pairs_needed(*arguments)


def test_hostile_designs_are_refused() -> None:
    with pytest.raises(InputError, match=r"0\.5 pairs a prompt"):
        design_effect(0.5, 0.1)
    with pytest.raises(InputError, match="cannot be"):
        design_effect(10.0, -0.5)
