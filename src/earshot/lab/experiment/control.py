"""The harness's own positive control: planted effects are found, planted zeros are not, at stated rates.

Right and wrong answers of a reference and of several arms are drawn, in the design of the real experiment, and go
through the very analysis that reports it (`analysis.paired`, `stats.contrasts`, `analysis.decide`).

An answer of arm a, seed s to pair i of prompt c is right where a normal variable lies below the quantile of the arm's
accuracy in that seed. The variable is made of parts that all arms share (a pair is hard), that the seeds of an arm
share, and that nobody shares, with weights that give the differences the wanted variances: for accuracy p,

    chance  σ_e² = 2 (p (1 - p) - C_seeds)      C_seeds: covariance of two seeds of an arm
    prompts σ_b² = 2 (C_seeds - C_arms)         C_arms:  covariance of two arms

and the covariance of two such answers with latent correlation ρ is Φ₂(z, z; ρ) - p², z the quantile of p.

Axes: a arms, s seeds, c prompts, m pairs of a prompt.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, special, stats

from earshot.errors import InputError
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
    pairs_per_prompt: int = 1
    arms: int = 8
    """Compared with the reference: half of them with the planted difference, half without any."""
    accuracy: float = 0.75
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


class _Weights(NamedTuple):
    """Shares of the latent variance."""

    everybody: float
    arm: float


def simulate(design: Design, simulations: int = 500, *, seed: int = 0, resamples: int = RESAMPLES) -> Rates:
    """The rates at which the analysis finds what was planted and what was not.

    Raises:
        InputError: The design cannot be: its variances are too large for its accuracy, or a number is out of range.
    """
    if simulations < 1 or design.arms < 2 or design.seeds < 2 or design.prompts < 2 or design.pairs_per_prompt < 1:
        raise InputError(
            f"control: {simulations} simulations of {design}; expected at least 1 simulation and pair a prompt, and "
            "2 arms, seeds and prompts"
        )
    truth = np.zeros(design.arms)
    truth[: design.arms // 2] = design.difference
    weights = latent_weights(design)
    rng = np.random.default_rng(seed)
    rows = [_one(design, weights, truth, rng, resamples) for _ in range(simulations)]
    shown, held, together = (np.stack(column) for column in zip(*rows, strict=True))
    planted = truth != 0
    return Rates(
        simulations=simulations,
        detected=float(shown[:, planted].mean()),
        expected=_expected(design),
        family_error=float(shown[:, ~planted].any(axis=1).mean()),
        coverage=float(held.mean()),
        family_coverage=float(together.all(axis=1).mean()),
    )


def _expected(design: Design) -> float:
    # A prompt's mean over m pairs that differ by nothing but chance has the m-th part of the variance.
    m = design.pairs_per_prompt
    scaled = design.components._replace(prompts=design.components.prompts / m, chance=design.components.chance / m)
    level = simultaneous_level(design.arms, 1 - FAMILY_ERROR)
    return power_of(scaled, design.difference, design.seeds, design.prompts, level)


def _one(
    design: Design, weights: _Weights, truth: Float[np.ndarray, " a"], rng: np.random.Generator, resamples: int
) -> tuple[Bool[np.ndarray, " a"], Bool[np.ndarray, " a"], Bool[np.ndarray, " a"]]:
    """One experiment: what was shown, and which plain and simultaneous intervals hold the truth, arm by arm."""
    reference, *arms = draw_runs(design, weights, truth, rng)
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


def draw_runs(
    design: Design, weights: _Weights, truth: Float[np.ndarray, " a"], rng: np.random.Generator
) -> list[list[Statistic]]:
    """The accuracy of every seed of the reference and of each arm, as totals per prompt.

    Args:
        design: The experiment.
        weights: Of the latent variable.
        truth: By how much each arm's accuracy is above the reference's.
        rng: Draws everything.
    """
    shape = (design.prompts, design.pairs_per_prompt)
    shared = np.sqrt(weights.everybody) * rng.standard_normal(shape)
    # A difference of two arms has the wanted variance if each of the two has half of it.
    spread = np.sqrt(design.components.seeds / 2)
    out = []
    for effect in (0.0, *truth):
        own = shared + np.sqrt(weights.arm) * rng.standard_normal(shape)
        seeds = []
        for _ in range(design.seeds):
            accuracy = np.clip(design.accuracy + effect + spread * rng.standard_normal(), 1e-6, 1 - 1e-6)
            latent = own + np.sqrt(1 - weights.everybody - weights.arm) * rng.standard_normal(shape)
            right = (latent < special.ndtri(accuracy)).sum(axis=1)
            totals = np.stack([right, np.full(design.prompts, design.pairs_per_prompt)], axis=1).astype(np.float64)
            seeds.append(Statistic(totals, ratio_of_totals, design.prompts * design.pairs_per_prompt))
        out.append(seeds)
    return out


def latent_weights(design: Design) -> _Weights:
    """The shares of the latent variance that give the differences their variances.

    Raises:
        InputError: Answers of this accuracy cannot differ by so much.
    """
    p, parts = design.accuracy, design.components
    if not 0 < p < 1 or not 0 <= p + design.difference < 1:
        raise InputError(
            f"control: accuracy {p} and difference {design.difference}, expected accuracies between 0 and 1 with and "
            "without it"
        )
    seeds = p * (1 - p) - parts.chance / 2
    arms = seeds - parts.prompts / 2
    if arms < 0 or min(parts[:3]) < 0:
        raise InputError(
            f"control: variances {parts.prompts:.3g} over prompts and {parts.chance:.3g} by chance, expected at most "
            f"{2 * p * (1 - p):.3g} together, which is what answers of accuracy {p} can differ by"
        )
    same_arm, other_arm = (latent_correlation(p, covariance) for covariance in (seeds, arms))
    return _Weights(other_arm, same_arm - other_arm)


def latent_correlation(p: float, covariance: float) -> float:
    """The correlation of two normal variables whose being below the quantile of p has that covariance."""
    z = float(special.ndtri(p))

    def excess(rho: float) -> float:
        both = stats.multivariate_normal.cdf([z, z], mean=[0, 0], cov=[[1, rho], [rho, 1]], allow_singular=True)
        return float(both) - p**2 - covariance

    if covariance <= 0:
        return 0.0
    most = 1 - 1e-9
    return most if excess(most) <= 0 else float(optimize.brentq(excess, 0.0, most, xtol=1e-6))
