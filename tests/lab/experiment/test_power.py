"""Power from a pilot: the variances are found again, the power is that of simulation, the page says it."""

import re
from pathlib import Path

import numpy as np
import pytest

from earshot.errors import InputError
from earshot.lab.experiment.power import (
    Components,
    components_of,
    needs,
    power_of,
    prompts_needed,
)
from earshot.lab.experiment.power_page import LEAST_SEEDS, power_text
from earshot.lab.experiment.summary import summarise
from earshot.stats import Statistic, contrasts
from earshot.stats.totals import ratio_of_totals

TRUTH = Components(seeds=0.02**2, prompts=0.09, chance=0.12, seeds_df=4, pilot_prompts=400)


def drawn(rng: np.random.Generator, difference: float, seeds: int, prompts: int) -> list[Statistic]:
    """Differences of an arm to the reference in the model that power rests on."""
    b = rng.normal(0, TRUTH.prompts**0.5, prompts)
    out = []
    for _ in range(seeds):
        gap = difference + rng.normal(0, TRUTH.seeds**0.5) + b + rng.normal(0, TRUTH.chance**0.5, prompts)
        out.append(Statistic(np.stack([gap, np.ones(prompts)], axis=1), ratio_of_totals, prompts))
    return out


def test_the_variances_of_a_pilot_are_found_again() -> None:
    rng = np.random.default_rng(0)
    found = components_of(
        [c for k in range(60) for c in contrasts({k: drawn(rng, 0.0, 5, 400)}, resamples=400).values()]
    )
    assert found.prompts == pytest.approx(TRUTH.prompts, rel=0.05)
    assert found.chance == pytest.approx(TRUTH.chance, rel=0.05)
    assert found.seeds == pytest.approx(TRUTH.seeds, rel=0.3)
    assert found.seeds_df == 60 * 4


def test_power_is_the_share_of_simulations_that_show_the_difference() -> None:
    rng = np.random.default_rng(1)
    expected = power_of(TRUTH, 0.04, 6, 500, 0.95)
    runs = {k: drawn(rng, 0.04, 6, 500) for k in range(300)}
    p = np.array([c.p_value for c in contrasts(runs, resamples=300).values()], dtype=float)
    assert 0.4 < expected < 0.95
    assert (p < 0.05).mean() == pytest.approx(expected, abs=0.09)  # three standard errors of 300 draws


def test_power_falls_to_the_level_without_a_difference_and_rises_with_everything() -> None:
    assert power_of(TRUTH, 1e-9, 5, 500, 0.95) == pytest.approx(0.025, abs=1e-3)  # of the right sign
    base = power_of(TRUTH, 0.03, 5, 500, 0.95)
    assert base < power_of(TRUTH, 0.03, 8, 500, 0.95) and base < power_of(TRUTH, 0.03, 5, 900, 0.95)
    assert base < power_of(TRUTH, 0.05, 5, 500, 0.95) and base > power_of(TRUTH, 0.03, 5, 500, 0.99)
    assert base == power_of(TRUTH, -0.03, 5, 500, 0.95)


def test_the_prompts_needed_are_the_fewest_that_reach_the_power() -> None:
    found = prompts_needed(TRUTH, 0.05, 8, power=0.8, level=0.95)
    assert found is not None
    assert power_of(TRUTH, 0.05, 8, found, 0.95) >= 0.8 > power_of(TRUTH, 0.05, 8, found - 2, 0.95)


def test_no_number_of_prompts_makes_up_for_too_few_seeds() -> None:
    wild = TRUTH._replace(seeds=0.1**2)
    assert prompts_needed(wild, 0.03, 3, power=0.8, level=0.95) is None
    found = needs(TRUTH, 0.03, power=0.8, level=0.95, seeds=(3, 5, 20))
    assert [need.seeds for need in found] == [3, 5, 20]
    sizes = [need.prompts for need in found if need.prompts is not None]
    assert sizes == sorted(sizes, reverse=True)
    for bad in ({"difference": 0.0}, {"power": 1.0}, {"level": 0.0}):
        arguments = {"difference": 0.03, "power": 0.8, "level": 0.95} | bad
        with pytest.raises(InputError):
            needs(TRUTH, arguments.pop("difference"), **arguments)


def test_the_upper_limit_of_the_spread_between_few_seeds_is_wide() -> None:
    # 4 degrees of freedom: the 20 % quantile of chi-square is 1.6488, 4 / 1.6488 = 2.426. Seen are 4e-4 and the chance
    # 0.12 / 400 = 3e-4, so (4e-4 + 3e-4) × 2.426 - 3e-4 = 13.98e-4
    assert TRUTH.with_upper_seeds().seeds == pytest.approx(13.98e-4, rel=1e-3)
    assert TRUTH._replace(seeds=0.0).with_upper_seeds().seeds > 0  # not seeing a spread is not knowing that it is 0
    assert TRUTH._replace(seeds_df=4000).with_upper_seeds().seeds == pytest.approx(TRUTH.seeds, rel=0.05)


def test_a_pilot_of_one_seed_says_nothing() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="two seeds"):
        components_of([*contrasts({0: drawn(rng, 0, 1, 50)}).values()])


def test_the_text_has_a_row_for_each_set_and_what_is_enough_on_all(experiment: Path) -> None:
    def text(difference: float, most_pairs: int) -> str:
        options = {"power": 0.8, "comparisons": None, "endpoint": "accuracy"}
        return power_text(summarise(experiment), difference=difference, most_pairs=most_pairs, **options)

    wide = text(0.05, 100_000)
    assert "over a family of 2 comparisons" in wide  # the plan's primary comparisons
    assert wide.count("| test | 120 (60) |") == 1
    found = re.search(
        r"Enough on every set, with the cautious spread: \*\*(\d+) seeds, (\d+) pairs a set", text(0.4, 9999)
    )
    assert found is not None and int(found[1]) >= LEAST_SEEDS and int(found[2]) % 2 == 0  # two pairs a prompt
    assert "No number of seeds up to 20 does with 2 pairs on test" in text(0.05, 2)
