"""How many pairs show a difference between two models that judge the same pairs, and what a given set can show.

Only pairs on which exactly one model is right tell the two apart. Their share is the discordance; the difference is
how far it leans to one side. Pairs of one prompt are alike, which makes N of them worth N / design effect.
"""

import math

from scipy import optimize, special

from earshot.errors import InputError
from earshot.stats.intervals import LEVEL

POWER = 0.8
"""The chance of showing a difference, two-sided with 95 % intervals, that everything here is told for."""


def design_effect(pairs_per_prompt: float, correlation: float, size_cv: float = 0.0) -> float:
    """By how much clustering multiplies the variance: 1 + ((cv² + 1) m - 1) ρ, and 1 + (m - 1) ρ for equal prompts.

    Args:
        pairs_per_prompt: Mean number of pairs of a prompt.
        correlation: Within-prompt correlation of the two models' difference (`intraclass_statistic` of it).
        size_cv: Standard deviation of the prompts' numbers of pairs over their mean.

    Raises:
        InputError: A value is outside its range.

    Source: Kish 1965; Eldridge, Ashby and Kerry 2006 (International Journal of Epidemiology 35) for unequal sizes.
    """
    if not (pairs_per_prompt >= 1 and -1 <= correlation <= 1 and size_cv >= 0):
        raise InputError(
            f"power: {pairs_per_prompt} pairs a prompt, correlation {correlation}, size_cv {size_cv}; expected at "
            "least 1, one in [-1, 1] and at least 0"
        )
    effect = 1 + ((size_cv**2 + 1) * pairs_per_prompt - 1) * correlation
    if effect <= 0:
        raise InputError(f"power: a correlation of {correlation} in prompts of {pairs_per_prompt} pairs cannot be")
    return effect


def pairs_needed(difference: float, discordance: float, *, effect: float = 1.0) -> int:
    """How many pairs show that one model is right `difference` more often than another.

    Args:
        difference: Of the two accuracies, not 0; its sign does not matter.
        discordance: Share of pairs on which exactly one of the two is right, at least |difference|.
        effect: Of clustering, from `design_effect`.

    Raises:
        InputError: A rate is outside its range.

    Source: Connor 1987 (Biometrics 43), equation 3, after Miettinen 1968 (Biometrics 24), times the design effect.
    """
    return math.ceil(effect * _independent_pairs(abs(difference), discordance) - 1e-9)


def detectable_difference(pairs: int, discordance: float, *, effect: float = 1.0) -> float | None:
    """The smallest difference that a set of so many pairs shows; None where it shows none with this discordance."""
    independent = pairs / effect
    if _independent_pairs(discordance, discordance) > independent:
        return None
    return float(
        optimize.brentq(lambda d: _independent_pairs(d, discordance) - independent, 1e-9, discordance, xtol=1e-12)
    )


def _independent_pairs(difference: float, discordance: float) -> float:
    if not 0 < difference <= discordance <= 1:
        raise InputError(
            f"power: difference {difference} with discordance {discordance}, expected one of at most the discordance, "
            "which is at most 1, and not 0"
        )
    z_level, z_power = special.ndtri((1 + LEVEL) / 2), special.ndtri(POWER)
    spread = z_level * math.sqrt(discordance) + z_power * math.sqrt(discordance - difference**2)
    return float((spread / difference) ** 2)
