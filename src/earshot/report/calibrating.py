"""Temperatures: fitted on a run's evaluation of a validation split, and told of its other test sets only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.errors import DataError
from earshot.metrics import PredictionTable
from earshot.metrics.calibration import calibration_statistics
from earshot.metrics.temperature import at_temperature, fit_temperature
from earshot.predictions.run import Evaluation, Run
from earshot.report.comparing import resamples_for
from earshot.stats import bootstrap
from earshot.types import Estimate

NO_VALIDATION = "no evaluation on a validation split, and a temperature may not be fitted on the test set"


class Fitted(NamedTuple):
    """The temperature that a run's evaluation of a validation split gives."""

    temperature: float
    set_name: str
    pairs: Int[np.ndarray, " n"]
    """Hashes of the ids of the pairs that it was fitted on."""


class Calibrated(NamedTuple):
    """What a run's temperature does on one test set."""

    run: str
    fitted: Fitted
    before: dict[str, Estimate]
    """`nll`, `ece` and `brier` of the predictions as they are."""
    after: dict[str, Estimate]


def fitted_temperature(run: Run) -> Fitted | str:
    """The temperature of the run's evaluation of a validation split; or why there is none."""
    for evaluation in run.measured:
        if is_validation(evaluation) and evaluation.files():
            table = evaluation.table()
            voted = table.voted
            try:
                temperature = fit_temperature(table.p_first[voted], table.share[voted])
            except DataError as error:
                return str(error)
            return Fitted(temperature, evaluation.set_name, table.pair_hash[voted])
    return NO_VALIDATION


def is_validation(evaluation: Evaluation) -> bool:
    """Whether a test set is a validation split, by its own name or by what its dataset.json says."""
    info = evaluation.info
    names = [str(name).lower() for name in (evaluation.set_name, info.get("set"), info.get("split")) if name]
    return any(name.startswith("validation") or name in ("val", "valid", "dev") for name in names)


def calibrated(run: str, table: PredictionTable, fitted: Fitted) -> Calibrated | None:
    """What the temperature does to the predictions; None where some of these pairs are those it was fitted on."""
    voted = table.voted
    if np.isin(table.pair_hash[voted], fitted.pairs).any():
        return None
    p, share, clusters = table.p_first[voted], table.share[voted], table.cluster[voted]

    def estimates(p_first: Float[np.ndarray, " n"]) -> dict[str, Estimate]:
        statistics = calibration_statistics(p_first, share, clusters, table.n_clusters)
        told = {key: statistics[key] for key in ("nll", "ece", "brier")}
        return bootstrap(told, resamples=resamples_for(table.n_clusters))

    return Calibrated(run, fitted, estimates(p), estimates(at_temperature(p, fitted.temperature)))
