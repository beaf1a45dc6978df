"""One number that makes a reasoner less sure or surer, fitted on validation pairs and used on others only.

Axes: n observations.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, special

from earshot.errors import DataError
from earshot.metrics.calibration import NLL_CLIP

RANGE = (0.01, 100.0)


@dataclass(frozen=True, eq=False)
class Temperature:
    """A fitted temperature and the pairs that it may not be used on."""

    value: float
    """Log-odds are divided by it: above 1 the reasoner was too sure, below 1 not sure enough."""
    fitted_on: Int[np.ndarray, " m"]
    """Hashes of the validation pairs' ids, sorted."""

    def apply(self, p_first: Float[np.ndarray, " n"], pair_hash: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The predictions at this temperature; NaN stays NaN, and no prediction changes sides.

        Args:
            p_first: Predicted probability of the first image.
            pair_hash: Hashes of the pairs' ids (`PredictionTable.pair_hash`).

        Raises:
            DataError: A pair is one that the temperature was fitted on.
        """
        shared = np.intersect1d(self.fitted_on, pair_hash)
        if shared.size:
            raise DataError(
                f"temperature: {shared.size} of {len(pair_hash)} pairs are among the {len(self.fitted_on)} it was "
                "fitted on, expected none; fit on a validation split and apply to another"
            )
        return special.expit(_log_odds(p_first) / self.value)


def fit_temperature(
    validation_p_first: Float[np.ndarray, " n"],
    validation_share: Float[np.ndarray, " n"],
    validation_pair_hash: Int[np.ndarray, " n"],
) -> Temperature:
    """The temperature with the least NLL against the shares of votes of validation pairs.

    Args:
        validation_p_first: Predicted probability of the first image, finite.
        validation_share: Share of votes for it, in [0, 1].
        validation_pair_hash: Hashes of the pairs' ids (`PredictionTable.pair_hash`), so that the temperature refuses
            to be applied to the pairs that it was fitted on.

    Raises:
        DataError: No pairs, a value outside [0, 1], an id twice, or no temperature between 0.01 and 100 is best,
            as where every prediction is right, or they are no better than a coin.

    Source: Guo et al. 2017 (ICML), section 4.2; Platt 1999 for targets that are shares.
    """
    p, share = validation_p_first, validation_share
    if p.size == 0:
        raise DataError("temperature: no validation pairs, expected at least one with votes and a p_first")
    if not all(((x >= 0) & (x <= 1)).all() for x in (p, share)):
        raise DataError("temperature: a prediction or share is outside [0, 1] or NaN; leave out what is missing")
    fitted_on = np.unique(validation_pair_hash)
    if len(fitted_on) != len(p):
        raise DataError(f"temperature: {len(p)} predictions of {len(fitted_on)} pairs, expected one a pair")
    log_odds = _log_odds(p)

    def mean_nll(log_temperature: float) -> float:
        # In log-odds, because a probability that was rounded to 0 or 1 has lost what a high temperature brings back.
        z = log_odds / math.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, z) - share * z))

    bounds = (math.log(RANGE[0]), math.log(RANGE[1]))
    best = optimize.minimize_scalar(mean_nll, bounds=bounds, method="bounded", options={"xatol": 1e-8})
    if min(best.x - bounds[0], bounds[1] - best.x) < 1e-3:
        raise DataError(
            f"temperature: the best over {len(p)} validation pairs is at {math.exp(best.x):.3g}, the end of its range; "
            "expected one inside, take more or other validation pairs"
        )
    return Temperature(math.exp(best.x), fitted_on)


def _log_odds(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return special.logit(np.clip(p, NLL_CLIP, 1 - NLL_CLIP))
