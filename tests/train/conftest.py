"""Models as small as they come, and a few pairs of the world."""

from pathlib import Path

import pytest

from earshot.world.make import Recipe, make_set
from tests.train.small import build_small, make_talker

FAMILIES = ("qwen2_5_vl", "llava")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one untrained model of each family."""
    folder = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        build_small(family, folder / family)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs of the world with their traces."""
    folder = tmp_path_factory.mktemp("pairs") / "train"
    make_set(folder, Recipe("train"), 6, workers=1)
    return folder


@pytest.fixture(scope="session")
def talker(models: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes well-formed completions about these pairs, for either side by chance."""
    return make_talker(models / "qwen2_5_vl", pairs, tmp_path_factory.mktemp("talker") / "model")
