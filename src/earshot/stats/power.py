"""How many pairs show a difference between two models that judge the same pairs, and what a given set can show.

Only pairs on which exactly one model is right tell the two apart. Their share is the discordance; the difference is
how far it leans to one side. Pairs of one prompt are alike, which makes N of them worth N / design effect.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special

from earshot.errors import InputError
from earshot.stats.intervals import LEVEL
from earshot.stats.totals import cluster_totals, intraclass_statistic


class PairedDesign(NamedTuple):
    """What power depends on, read off two models' answers to the same pairs."""

    pairs: int
    prompts: int
    difference: float
    discordance: float
    """Share of pairs on which exactly one of the two is right."""
    pairs_per_prompt: float
    size_cv: float
    """Standard deviation of the prompts' numbers of pairs over their mean."""
    correlation: float
    """Within-prompt correlation of the two models' difference; 0 where it cannot be told."""


def design_effect(pairs_per_prompt: float, correlation: float, size_cv: float = 0.0) -> float:
    """By how much clustering multiplies the variance: 1 + ((cv² + 1) m - 1) ρ, and 1 + (m - 1) ρ for equal prompts.

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


def pairs_needed(
    difference: float,
    discordance: float,
    *,
    pairs_per_prompt: float = 1.0,
    correlation: float = 0.0,
    size_cv: float = 0.0,
    power: float = 0.8,
) -> int:
    """How many pairs show, two-sided with 95 % intervals, that one model is right `difference` more often than another.

    Args:
        difference: Of the two accuracies, not 0; its sign does not matter.
        discordance: Share of pairs on which exactly one of the two is right, at least |difference|.
        pairs_per_prompt: Mean number of pairs of a prompt.
        correlation: Within-prompt correlation of the difference (`intraclass_statistic` of it, or `paired_design`).
        size_cv: Standard deviation of the prompts' sizes over their mean.
        power: Chance of showing it, in (0, 1).

    Raises:
        InputError: A value is outside its range.

    Source: Connor 1987 (Biometrics 43), equation 3, after Miettinen 1968 (Biometrics 24), times the design effect.
    """
    _check_rates(difference, discordance, power)
    effect = design_effect(pairs_per_prompt, correlation, size_cv)
    return math.ceil(effect * _independent_pairs(abs(difference), discordance, power) - 1e-9)


def detectable_difference(
    pairs: int,
    discordance: float,
    *,
    pairs_per_prompt: float = 1.0,
    correlation: float = 0.0,
    size_cv: float = 0.0,
    power: float = 0.8,
) -> float | None:
    """The smallest difference that a set of so many pairs shows; None where it shows none with this discordance."""
    _check_rates(discordance, discordance, power)
    independent = pairs / design_effect(pairs_per_prompt, correlation, size_cv)
    if _independent_pairs(discordance, discordance, power) > independent:
        return None

    def excess(difference: float) -> float:
        return _independent_pairs(difference, discordance, power) - independent

    return float(optimize.brentq(excess, 1e-9, discordance, xtol=1e-12))


def paired_design(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"]
) -> PairedDesign:
    """What `pairs_needed` asks for, from whether each of two models was right on the same pairs.

    Args:
        a: 1 where the first model was right, else 0.
        b: The same of the second.
        clusters: The number of each pair's prompt.

    Raises:
        InputError: There are no pairs.
    """
    if a.size == 0:
        raise InputError("power: no pairs, expected at least one that both models judged")
    gap, n_clusters = a - b, int(clusters.max()) + 1
    sizes = cluster_totals(np.ones((len(a), 1)), clusters, n_clusters)[:, 0]
    sizes = sizes[sizes > 0]
    correlation = intraclass_statistic(gap, clusters, n_clusters).value()
    return PairedDesign(
        pairs=len(a),
        prompts=len(sizes),
        difference=float(gap.mean()),
        discordance=float((gap != 0).mean()),
        pairs_per_prompt=float(sizes.mean()),
        size_cv=float(sizes.std() / sizes.mean()),
        correlation=0.0 if math.isnan(correlation) else correlation,
    )


def _independent_pairs(d: float, discordance: float, power: float) -> float:
    z_level, z_power = special.ndtri((1 + LEVEL) / 2), special.ndtri(power)
    return float(((z_level * math.sqrt(discordance) + z_power * math.sqrt(discordance - d**2)) / d) ** 2)


def _check_rates(difference: float, discordance: float, power: float) -> None:
    if not 0 < abs(difference) <= discordance <= 1:
        raise InputError(
            f"power: difference {difference} with discordance {discordance}, expected one of at most the discordance, "
            "which is at most 1, and not 0"
        )
    if not 0 < power < 1:
        raise InputError(f"power: power {power}, expected one between 0 and 1")
