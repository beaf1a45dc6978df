"""Fixtures of the tests of `earshot view`."""

from pathlib import Path

import pytest

from tests.view.runs import make_pair_set, make_run


@pytest.fixture()
def data(tmp_path: Path) -> Path:
    return make_pair_set(tmp_path / "data")


@pytest.fixture()
def run(tmp_path: Path, data: Path) -> Path:
    return make_run(tmp_path / "run", data)
