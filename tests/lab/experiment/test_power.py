"""Power from a pilot: the variances are found again, the power is that of simulation, the page says it."""

from pathlib import Path

import numpy as np
import pytest

from earshot.errors import InputError
from earshot.lab.experiment.power import (
    Components,
    Need,
    components_of,
    fewest_seeds,
    needs,
    power_of,
    prompts_needed,
)
from earshot.lab.experiment.power_page import BEGIN, END, power_lines, power_of_sets, write_into
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
    assert fewest_seeds([Need(3, None), Need(4, 900), Need(5, 400)], 500) == Need(5, 400)
    assert fewest_seeds([Need(3, None)], 500) is None
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


def test_the_page_gets_the_lines_between_its_marks_and_keeps_the_rest(experiment: Path, tmp_path: Path) -> None:
    sets, family = power_of_sets(summarise(experiment), difference=0.05, power=0.8, comparisons=None)
    assert family == 2  # the plan's primary comparisons
    lines = power_lines(sets, difference=0.05, power=0.8, family=family, most_pairs=100_000, endpoint="accuracy")
    assert any(line.startswith("| test | 120 (60) |") for line in lines)
    page = tmp_path / "plan.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(page, lines)
    write_into(page, lines)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("| test |") == 1
    page.write_text("no marks")
    with pytest.raises(InputError, match="expected both"):
        write_into(page, lines)
