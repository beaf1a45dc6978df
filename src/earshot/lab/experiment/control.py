"""The harness's own positive control: planted effects are found, planted zeros are not, at stated rates.

Scores of a reference and of several arms are drawn, in the design of the real experiment, from the model that `power`
states a difference in, δ + a_s + b_c + e_sc with each arm's half of the variances, and go through the very analysis
that reports it (`analysis.paired`, `stats.contrasts`, `analysis.decide`). How intervals do on answers that are right
or wrong is measured by benchmarks/coverage.py.

Axes: a arms, c prompts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from earshot.lab.experiment.analysis import decide, paired
from earshot.lab.experiment.power import Components, power_of
from earshot.stats import Statistic, contrasts, simultaneous_level
from earshot.stats.totals import ratio_of_totals
from earshot.types import Estimate

# Of the quickstart's two arms, one seed, 600 pairs: the standard error 1.89 points (docs/notebook.md) is a variance of
# 0.21 a pair, of which we give prompts 40 %. The spread between seeds is an assumption until there is a pilot.
DEFAULT = Components(seeds=0.01**2, prompts=0.085, chance=0.13, seeds_df=2, pilot_prompts=600)
RESAMPLES = 500
FAMILY_ERROR = 0.05
# How far a rate of simulations may lie from the stated one: three of its standard errors.
TOLERANCE = 3.0


class Design(NamedTuple):
    """The experiment that is simulated."""

    seeds: int = 5
    prompts: int = 800
    arms: int = 8
    """Compared with the reference: half of them with the planted difference, half without any."""
    difference: float = 0.03
    components: Components = DEFAULT


class Rates(NamedTuple):
    """What the analysis said in all simulations."""

    simulations: int
    detected: float
    """Share of the planted differences that were shown, with the right sign, corrected for the family."""
    expected: float
    """What `earshot lab experiment power` promises at the first of Holm's steps: no less should be detected."""
    family_error: float
    """Share of simulations in which any planted zero was shown."""
    coverage: float
    """Share of 95 % intervals that hold the planted truth."""
    family_coverage: float
    """Share of simulations in which all simultaneous intervals do."""

    @property
    def passed(self) -> bool:
        """Whether the rates are the stated ones, within the error of so many simulations."""
        return not self.failures()

    def failures(self) -> list[str]:
        """What is not as stated, a line each."""
        n = self.simulations
        slack = TOLERANCE * np.sqrt(FAMILY_ERROR * (1 - FAMILY_ERROR) / n)
        reach = TOLERANCE * np.sqrt(max(self.expected * (1 - self.expected), 1e-4) / n)
        found = []
        if self.family_error > FAMILY_ERROR + slack:
            found.append(f"a planted zero was shown in {self.family_error:.1%} of simulations, stated at most 5 %")
        if self.detected < self.expected - reach:
            found.append(f"planted differences were found in {self.detected:.1%}, stated {self.expected:.1%}")
        if self.family_coverage < 1 - FAMILY_ERROR - slack:
            found.append(f"all simultaneous intervals held in {self.family_coverage:.1%}, stated at least 95 %")
        return found


def simulate(design: Design, simulations: int = 500, *, seed: int = 0, resamples: int = RESAMPLES) -> Rates:
    """The rates at which the analysis finds what was planted and what was not; of two arms, seeds and prompts at least.

    Args:
        design: What is simulated.
        simulations: Of the whole experiment.
        seed: Of everything that is drawn.
        resamples: Of the prompts, in each analysis.
    """
    truth = np.zeros(design.arms)
    truth[: design.arms // 2] = design.difference
    rng = np.random.default_rng(seed)
    rows = [_one(design, truth, rng, resamples) for _ in range(simulations)]
    shown, held, together = (np.stack(column) for column in zip(*rows, strict=True))
    planted = truth != 0
    level = simultaneous_level(design.arms, 1 - FAMILY_ERROR)
    return Rates(
        simulations=simulations,
        detected=float(shown[:, planted].mean()),
        expected=power_of(design.components, design.difference, design.seeds, design.prompts, level),
        family_error=float(shown[:, ~planted].any(axis=1).mean()),
        coverage=float(held.mean()),
        family_coverage=float(together.all(axis=1).mean()),
    )


def _one(
    design: Design, truth: Float[np.ndarray, " a"], rng: np.random.Generator, resamples: int
) -> tuple[Bool[np.ndarray, " a"], Bool[np.ndarray, " a"], Bool[np.ndarray, " a"]]:
    """One experiment: what was shown, and which plain and simultaneous intervals hold the truth, arm by arm."""
    reference, *arms = draw_runs(design, truth, rng)
    runs = {number: paired(arm, reference, relative=False) for number, arm in enumerate(arms)}
    found = contrasts(runs, resamples=resamples, seed=int(rng.integers(2**32)))
    decisions = decide([found[number] for number in range(len(arms))], [False] * len(arms))
    # A planted difference that is shown with the wrong sign is not found.
    shown = [d.shown and (t == 0 or (d.estimate.value or 0) * t > 0) for d, t in zip(decisions, truth, strict=True)]
    held = [_holds(d.estimate, t) for d, t in zip(decisions, truth, strict=True)]
    together = [_holds(d.simultaneous, t) for d, t in zip(decisions, truth, strict=True)]
    return np.array(shown), np.array(held), np.array(together)


def _holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.high is not None and bool(estimate.low <= truth <= estimate.high)


def draw_runs(design: Design, truth: Float[np.ndarray, " a"], rng: np.random.Generator) -> list[list[Statistic]]:
    """The score of every seed of the reference and of each arm, as totals per prompt.

    Args:
        design: The experiment.
        truth: By how much each arm's score is above the reference's.
        rng: Draws everything.
    """
    # A difference of two arms has the wanted variances if each of the two has half of them.
    of_seeds, of_prompts, of_chance = np.sqrt(np.array(design.components[:3]) / 2)
    out = []
    for effect in (0.0, *truth):
        prompts = of_prompts * rng.standard_normal(design.prompts)
        seeds = []
        for _ in range(design.seeds):
            score = effect + of_seeds * rng.standard_normal() + of_chance * rng.standard_normal(design.prompts)
            totals = np.stack([prompts + score, np.ones(design.prompts)], axis=1)
            seeds.append(Statistic(totals, ratio_of_totals, design.prompts))
        out.append(seeds)
    return out
