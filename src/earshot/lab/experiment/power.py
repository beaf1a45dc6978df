"""How many seeds and pairs show a difference, from what a pilot says of seeds, prompts and chance.

An arm minus the reference, of seed s on prompt c, is taken as δ + a_s + b_c + e_sc. A pilot with S seeds and C prompts
tells the three variances from those of its mean (`earshot.stats.seeds.Spread`):

    chance       = σ_e² / (S C)
    over_prompts = (σ_b² + σ_e² / S) / C
    over_seeds   = σ_a² / S

and another S' and C' then give the standard error, the degrees of freedom and the power of the t test that the analysis
makes. A pilot of few seeds knows σ_a hardly; arms are pooled, and the requirement is also given for the upper 80 %
limit of σ_a (Browne 1995, Statistics in Medicine 14).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from earshot.errors import InputError
from earshot.lab.experiment.analysis import Comparison, compared
from earshot.lab.experiment.summary import Summary
from earshot.stats import Contrast

UPPER = 0.8
SEEDS = range(3, 21)
MOST_PROMPTS = 1_000_000


class Components(NamedTuple):
    """The variances of one difference between two arms; prompts weigh as the pilot's did."""

    seeds: float
    """σ_a²: what one seed's difference has over another's."""
    prompts: float
    """σ_b²: what one prompt's has over another's, in every seed."""
    chance: float
    """σ_e²: what is left."""
    seeds_df: float
    """How many free seeds σ_a² was estimated from."""
    pilot_prompts: float
    """How many prompts each of them judged."""

    def with_upper_seeds(self, upper: float = UPPER) -> "Components":
        """The same with the upper limit of σ_a², one-sided: what seeds were seen to differ by had chance in it."""
        chance = self.chance / self.pilot_prompts
        seen = self.seeds + chance
        return self._replace(seeds=seen * self.seeds_df / float(stats.chi2.ppf(1 - upper, self.seeds_df)) - chance)


class Need(NamedTuple):
    """What a number of seeds needs."""

    seeds: int
    prompts: int | None
    """None where no number of prompts is enough."""


def components_of(contrasts: Sequence[Contrast]) -> Components:
    """The variances that several contrasts of one kind tell, averaged over them.

    Raises:
        InputError: None of them has two seeds and two prompts.
    """
    known = [(c, c.spread) for c in contrasts if c.spread is not None]
    if not known:
        raise InputError("power: no arm has two seeds beside the reference's; make a pilot with at least two")
    seeds, prompts, chance = [], [], []
    for contrast, spread in known:
        s, c = contrast.seeds, contrast.prompts
        chance.append(spread.chance * s * c)
        prompts.append(max(0.0, spread.over_prompts * c - chance[-1] / s))
        # Kept from falling below 0 only as a mean: of parts that are, the mean would be too large.
        seeds.append(spread.over_seeds_unbounded * s)
    free = sum(contrast.seeds - 1 for contrast, _ in known)
    size = float(np.mean([contrast.prompts for contrast, _ in known]))
    return Components(max(0.0, float(np.mean(seeds))), float(np.mean(prompts)), float(np.mean(chance)), free, size)


def pilot_components(summary: Summary, set_name: str, endpoint: str, *, relative: bool = False) -> Components:
    """The variances of the arms' differences to the reference in a pilot."""
    reference = summary.about["reference"]
    arms = [arm for arm in summary.arms if arm != reference]
    return components_of(compared(summary, [Comparison(a, reference, set_name, endpoint, relative) for a in arms]))


def power_of(components: Components, difference: float, seeds: int, prompts: int, level: float) -> float:
    """The chance of showing the difference, two-sided at `level`, with so many seeds and prompts."""
    over_prompts = (components.prompts + components.chance / seeds) / prompts
    between = (components.seeds + components.chance / prompts) / seeds
    variance = over_prompts + components.seeds / seeds
    squares = over_prompts**2 / (prompts - 1) + between**2 / (seeds - 1)
    if variance == 0:
        return 1.0
    df = variance**2 / squares
    critical = float(stats.t.ppf((1 + level) / 2, df))
    shift = abs(difference) / math.sqrt(variance)
    # The other tail, a significant difference of the wrong sign, is no success.
    return float(stats.nct.sf(critical, df, shift)) if shift < 30 else 1.0


def prompts_needed(components: Components, difference: float, seeds: int, *, power: float, level: float) -> int | None:
    """The fewest prompts that show the difference with so many seeds; None where none do."""

    def lack(prompts: float) -> float:
        return power - power_of(components, difference, seeds, math.ceil(prompts), level)

    if lack(float(MOST_PROMPTS)) > 0:
        return None
    if lack(2.0) <= 0:
        return 2
    return math.ceil(optimize.bisect(lack, 2.0, float(MOST_PROMPTS), xtol=0.5))


def needs(
    components: Components, difference: float, *, power: float, level: float, seeds: Sequence[int] = SEEDS
) -> list[Need]:
    """What each number of seeds needs.

    Raises:
        InputError: A number is outside its range.
    """
    if not (difference != 0 and 0 < power < 1 and 0 < level < 1):
        raise InputError(
            f"power: difference {difference}, power {power}, level {level}; expected a difference that is not 0, and "
            "the others between 0 and 1"
        )
    return [Need(s, prompts_needed(components, difference, s, power=power, level=level)) for s in seeds]
