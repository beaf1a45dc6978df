"""What a model's folder says it knows."""

from pathlib import Path

import pytest

from earshot.errors import ModelError
from earshot.vlm.card import only_about
from tests.vlm.models import tiny


def test_a_model_of_the_world_and_what_is_trained_from_it_know_shapes_alone(tmp_path: Path) -> None:
    assert only_about("world:reasoner") == only_about("world:listener") == "coloured shapes on a plain ground"
    from earshot.vlm import load

    load("world:reasoner", device="cpu").save(tmp_path / "trained")
    assert only_about(str(tmp_path / "trained")) == "coloured shapes on a plain ground"


def test_of_others_nothing_is_said_and_nothing_is_fetched(tmp_path: Path) -> None:
    tiny("llava").asked("standard").save(tmp_path / "model")
    assert only_about(str(tmp_path / "model")) is None
    assert only_about("nobody/nothing") is None
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        (tmp_path / "empty").mkdir()
        only_about(str(tmp_path / "empty"))
