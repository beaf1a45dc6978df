"""A temperature finds the scale that was put in, and changes no side."""

import numpy as np
import pytest
from scipy import optimize, special

from earshot.errors import DataError
from earshot.metrics.calibration import nll
from earshot.metrics.temperature import at_temperature, fit_temperature

RNG = np.random.default_rng(0)
LOG_ODDS = RNG.normal(size=500)
SHARE = special.expit(LOG_ODDS)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    fitted = fit_temperature(special.expit(temperature * LOG_ODDS), SHARE)
    assert fitted == pytest.approx(temperature, rel=1e-5)
    assert at_temperature(special.expit(temperature * LOG_ODDS), fitted) == pytest.approx(SHARE, abs=1e-4)


def test_two_pairs_by_hand() -> None:
    # Log-odds ln 4 with votes 2 : 1 for it; the best is ln 2 = ln 4 / 2. Either side shown first.
    fitted = fit_temperature(np.array([0.8, 0.2]), np.array([2 / 3, 1 / 3]))
    assert fitted == pytest.approx(2.0, rel=1e-6)
    assert at_temperature(np.array([0.8, 16 / 17]), fitted) == pytest.approx([2 / 3, 0.8])


def test_no_other_temperature_is_better() -> None:
    p, share = RNG.random(80), RNG.integers(0, 5, size=80) / 4
    share = np.where(RNG.random(80) < 0.7, (p > 0.5).astype(float), share)
    fitted = fit_temperature(p, share)
    z = special.logit(p)
    best = optimize.brute(lambda t: nll(special.expit(z / t[0]), share).mean(), [slice(0.1, 20, 0.01)], finish=None)
    assert fitted == pytest.approx(float(best), abs=0.01)


def test_sides_stay_and_swapping_commutes() -> None:
    p = np.array([0.0, 0.3, 0.5, 0.9, 1.0, np.nan])
    cooled = at_temperature(p, 2.0)
    assert np.array_equal(np.sign(cooled - 0.5), np.sign(p - 0.5), equal_nan=True)
    assert at_temperature(1 - p, 2.0) == pytest.approx(1 - cooled, nan_ok=True)


@pytest.mark.parametrize(
    ("p", "share", "message"),
    [
        ([], [], "no validation pairs"),
        ([np.nan], [1.0], r"outside \[0, 1\] or NaN"),
        ([0.5], [2.0], r"outside \[0, 1\] or NaN"),
        ([0.6, 0.3], [1.0, 0.0], r"at 0\.01, the end of its range"),  # all right: the surer the better
        ([0.6, 0.3], [0.0, 1.0], "at 100, the end of its range"),  # all wrong
    ],
)
def test_what_has_no_temperature_is_refused(p: list, share: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_temperature(np.array(p, dtype=float), np.array(share, dtype=float))
