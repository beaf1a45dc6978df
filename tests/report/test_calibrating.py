"""A temperature comes from a validation split and never touches the pairs it was fitted on."""

from pathlib import Path

import pytest

from earshot.files import write_json
from earshot.predictions.run import Run
from earshot.report.calibrating import NO_VALIDATION, Fitted, calibrated, fitted_temperature, is_validation
from tests.report.runs import row, table, write_evaluation


def validation_rows(n: int = 8) -> list[dict[str, object]]:
    # Always 0.9 where three of four votes agree: the best is 0.75, log-odds ln 9 over T = ln 3, so T = 2.
    return [row(f"v{i}", 0.9, (3, 1)) for i in range(n)]


def test_the_temperature_is_that_of_the_validation_split(tmp_path: Path):
    write_evaluation(tmp_path / "eval" / "validation", validation_rows())
    write_evaluation(tmp_path / "eval" / "test", [row("t0", 0.2)])
    found = fitted_temperature(Run("run", tmp_path))
    assert isinstance(found, Fitted)
    assert found.temperature == pytest.approx(2.0, rel=1e-4)
    assert found.set_name == "validation"
    told = calibrated("run", table([row("t0", 0.9, (4, 0)), row("t1", 0.9, (4, 0))]), found)
    assert told is not None
    assert told.before["brier"].value == pytest.approx(0.01)  # (0.9 - 1)²
    assert told.after["brier"].value == pytest.approx(0.0625, rel=1e-3)  # (0.75 - 1)²


def test_it_is_not_used_on_the_pairs_it_was_fitted_on(tmp_path: Path):
    write_evaluation(tmp_path / "eval" / "validation", validation_rows())
    found = fitted_temperature(Run("run", tmp_path))
    assert isinstance(found, Fitted)
    assert calibrated("run", table(validation_rows()), found) is None
    assert calibrated("run", table([*validation_rows(1), row("t0", 0.9)]), found) is None


def test_without_a_validation_split_there_is_none(tmp_path: Path):
    write_evaluation(tmp_path / "eval" / "test", validation_rows())
    assert fitted_temperature(Run("run", tmp_path)) == NO_VALIDATION


def test_a_validation_split_that_gives_none_says_why(tmp_path: Path):
    write_evaluation(tmp_path / "eval" / "val", [row("v", 0.1, (4, 0))])  # wrong: the less sure the better
    found = fitted_temperature(Run("run", tmp_path))
    assert isinstance(found, str)
    assert "end of its range" in found


def test_a_validation_split_is_known_by_name_or_by_its_set(tmp_path: Path):
    write_json(tmp_path / "data" / "mine" / "dataset.json", {"split": "validation_unique"})
    for name, settings in {"valid": {}, "mine": {"data": "../../data/mine"}, "invalid": {}, "test": {}}.items():
        write_evaluation(tmp_path / "eval" / name, [row("p", 0.9)], **settings)
    found = {e.set_name: is_validation(e) for e in Run("run", tmp_path).measured}
    assert found == {"valid": True, "mine": True, "invalid": False, "test": False}
