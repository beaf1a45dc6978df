"""An experiment that a stand-in made, once for all tests that only read it."""

import shutil
from pathlib import Path

import pytest

from tests.lab.experiment.made_up import make_experiment


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("experiment"))


@pytest.fixture()
def experiment(_made: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed: three arms, three seeds, one set; the listener arm is 20 points better."""
    return Path(shutil.copytree(_made, tmp_path / "made"))
