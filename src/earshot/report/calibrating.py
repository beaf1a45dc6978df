"""Temperatures: fitted on a run's evaluation of a validation split, and told of its other test sets only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from earshot.errors import DataError, EarshotError
from earshot.metrics import PredictionTable
from earshot.metrics.calibration import calibration_statistics
from earshot.metrics.temperature import Temperature, fit_temperature
from earshot.predictions.run import Evaluation, Run
from earshot.report.comparing import resamples_for
from earshot.stats import bootstrap
from earshot.types import Estimate

NO_VALIDATION = "no evaluation on a validation split, and a temperature may not be fitted on the test set"


class Calibrated(NamedTuple):
    """What a run's temperature does on one test set."""

    run: str
    temperature: Temperature
    fitted_on: str
    before: dict[str, Estimate]
    """`nll`, `ece` and `brier` of the predictions as they are."""
    after: dict[str, Estimate]


class Fitted(NamedTuple):
    """A run's temperature and the set it was fitted on; or why there is none."""

    temperature: Temperature | None
    set_name: str
    fault: str | None


def fitted_temperature(run: Run) -> Fitted:
    """The temperature that the run's evaluation of a validation split gives."""
    for evaluation in run.measured:
        if is_validation(evaluation) and evaluation.files():
            table = evaluation.table()
            p, share, where = _voted(table)
            try:
                return Fitted(fit_temperature(p, share, table.pair_hash[where]), evaluation.set_name, None)
            except DataError as error:
                return Fitted(None, evaluation.set_name, str(error).removeprefix("temperature: "))
    return Fitted(None, "", NO_VALIDATION)


def is_validation(evaluation: Evaluation) -> bool:
    """Whether a test set is a validation split, by its own name or by what its dataset.json says."""
    info = evaluation.info
    names = [str(name).lower() for name in (evaluation.set_name, info.get("set"), info.get("split")) if name]
    return any(name.startswith("validation") or name in ("val", "valid", "dev") for name in names)


def calibrated(run: str, table: PredictionTable, fitted: Fitted) -> Calibrated | None:
    """What the temperature does to the predictions; None where there is none or these pairs were fitted on."""
    if fitted.temperature is None:
        return None
    p, share, where = _voted(table)
    try:
        scaled = fitted.temperature.apply(p, table.pair_hash[where])
    except EarshotError:
        return None
    clusters, n, resamples = table.cluster[where], table.n_clusters, resamples_for(table.n_clusters)
    before, after = (
        bootstrap(
            {k: s for k, s in calibration_statistics(q, share, clusters, n).items() if k in ("nll", "ece", "brier")},
            resamples=resamples,
        )
        for q in (p, scaled)
    )
    return Calibrated(run, fitted.temperature, fitted.set_name, before, after)


def _voted(table: PredictionTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions and shares of the pairs that have votes and an answer, and which those are."""
    total = table.votes_first + table.votes_second
    where = np.flatnonzero((total > 0) & ~np.isnan(table.p_first))
    return table.p_first[where], table.votes_first[where] / total[where], where
