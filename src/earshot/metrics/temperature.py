"""One number that makes a reasoner less sure or surer, fitted on validation pairs and used on others only.

Axes: n observations.
"""

import math

import numpy as np
from jaxtyping import Float
from scipy import optimize, special

from earshot.errors import DataError
from earshot.metrics.calibration import NLL_CLIP

RANGE = (0.01, 100.0)


def at_temperature(p_first: Float[np.ndarray, " n"], temperature: float) -> Float[np.ndarray, " n"]:
    """The predictions with their log-odds divided by the temperature: above 1 they are less sure, below 1 surer.

    NaN stays NaN, and no prediction changes sides.
    """
    return special.expit(_log_odds(p_first) / temperature)


def fit_temperature(p_first: Float[np.ndarray, " n"], share: Float[np.ndarray, " n"]) -> float:
    """The temperature with the least NLL against the shares of votes of validation pairs.

    Args:
        p_first: Predicted probability of the first image, finite.
        share: Share of votes for it, in [0, 1].

    Raises:
        DataError: No pairs, a value outside [0, 1], or no temperature between 0.01 and 100 is best, as where every
            prediction is right, or they are no better than a coin.

    Source: Guo et al. 2017 (ICML), section 4.2; Platt 1999 for targets that are shares.
    """
    if p_first.size == 0:
        raise DataError("no validation pairs, expected at least one with votes and a p_first")
    if not all(((x >= 0) & (x <= 1)).all() for x in (p_first, share)):
        raise DataError("a prediction or share is outside [0, 1] or NaN; leave out what is missing")
    log_odds = _log_odds(p_first)

    def mean_nll(log_temperature: float) -> float:
        # In log-odds, because a probability that was rounded to 0 or 1 has lost what a high temperature brings back.
        z = log_odds / math.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, z) - share * z))

    bounds = (math.log(RANGE[0]), math.log(RANGE[1]))
    best = optimize.minimize_scalar(mean_nll, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    if min(best.x - bounds[0], bounds[1] - best.x) < 1e-3:
        raise DataError(
            f"the best over {len(p_first)} validation pairs is at {math.exp(best.x):.3g}, the end of its range; "
            "expected one inside, take more or other validation pairs"
        )
    return math.exp(best.x)


def _log_odds(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return special.logit(np.clip(p, NLL_CLIP, 1 - NLL_CLIP))
