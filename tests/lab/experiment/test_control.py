"""The positive control: what is drawn has the wanted variances, and the analysis passes; a broken one does not."""

import numpy as np
import pytest

from earshot.lab.experiment import control
from earshot.lab.experiment.analysis import paired
from earshot.lab.experiment.control import DEFAULT, Design, Rates, draw_runs, simulate
from earshot.lab.experiment.power import components_of
from earshot.stats import contrasts

SMALL = Design(seeds=4, prompts=150, arms=2, difference=0.12)


def test_what_is_drawn_has_the_variances_of_the_pilot() -> None:
    rng = np.random.default_rng(1)
    design = Design(seeds=5, prompts=300, arms=2, difference=0.0, components=DEFAULT._replace(seeds=0.03**2))
    found = []
    for _ in range(60):
        reference, arm, _ = draw_runs(design, np.zeros(2), rng)
        found += [*contrasts({0: paired(arm, reference, relative=False)}, resamples=300).values()]
    parts = components_of(found)
    assert parts.prompts == pytest.approx(design.components.prompts, rel=0.08)
    assert parts.chance == pytest.approx(design.components.chance, rel=0.08)
    assert parts.seeds == pytest.approx(design.components.seeds, rel=0.4)  # three standard errors
    assert np.mean([c.value for c in found]) == pytest.approx(0, abs=0.005)


def test_a_planted_difference_is_found_and_a_planted_zero_is_not() -> None:
    rates = simulate(SMALL, 60, resamples=200)
    assert rates.passed, rates.failures()
    assert rates.detected > 0.6 and rates.family_error < 0.15
    assert simulate(SMALL, 5, resamples=50) == simulate(SMALL, 5, resamples=50)


def test_an_analysis_that_takes_seeds_for_independent_of_nothing_fails_the_control(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Intervals over prompts alone, the usual mistake, show planted zeros far too often where seeds differ."""
    honest = control.contrasts

    def over_prompts_alone(*arguments: object, **options: object) -> object:
        found = honest(*arguments, **options)  # type: ignore[arg-type]
        return {
            key: one._replace(spread=one.spread._replace(over_seeds=0.0, df=1e6))  # type: ignore[union-attr]
            for key, one in found.items()
        }

    design = SMALL._replace(components=SMALL.components._replace(seeds=0.08**2))
    assert simulate(design, 60, resamples=100).family_error < 0.15
    monkeypatch.setattr(control, "contrasts", over_prompts_alone)
    broken = simulate(design, 60, resamples=100)
    assert not broken.passed and "a planted zero was shown" in broken.failures()[0]


def test_rates_pass_within_three_standard_errors_of_what_is_stated() -> None:
    good = Rates(500, 0.8, 0.8, 0.05, 0.95, 0.95)
    assert good.passed
    assert not good._replace(detected=0.74).passed  # 0.8 - 3 × 0.0179 = 0.746
    assert not good._replace(family_error=0.08).passed  # 0.05 + 3 × 0.0097 = 0.079
    assert not good._replace(family_coverage=0.92).passed
    assert good._replace(detected=1.0, family_error=0.0, family_coverage=1.0).passed


@pytest.mark.slow
def test_three_points_are_found_at_the_stated_rate_and_zeros_are_not() -> None:
    """The design of the main run: what `earshot lab experiment control` does."""
    rates = simulate(Design(seeds=5, prompts=2500), 500)
    assert rates.passed, rates.failures()
