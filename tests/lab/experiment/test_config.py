"""Plans as configurations: how seeds are written, and what is refused with the place and the nearest name."""

from pathlib import Path
from typing import Any

import pytest

from earshot.config import load_config, to_yaml
from earshot.errors import ConfigError
from earshot.lab.experiment.config import ExperimentConfig
from tests.lab.experiment.made_up import plan_tree


def load(tmp_path: Path, tree: dict[str, Any]) -> ExperimentConfig:
    file = tmp_path / "plan.yaml"
    file.write_text(to_yaml(tree))
    return load_config(ExperimentConfig, file)


@pytest.mark.parametrize(
    ("written", "seeds"), [("0-2", (0, 1, 2)), ("0,3, 5-6", (0, 3, 5, 6)), (4, (4,)), ([1, 0], (1, 0))]
)
def test_seeds_are_a_range_a_list_or_a_number(tmp_path: Path, written: Any, seeds: tuple[int, ...]) -> None:
    assert load(tmp_path, {**plan_tree(tmp_path), "seeds": written}).seeds == seeds


@pytest.mark.parametrize("written", ["a", "3-", "-1", "0-1-2", "3-1", "0,0", [-1], True, 0.5])
def test_other_seeds_are_refused(tmp_path: Path, written: Any) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        load(tmp_path, {**plan_tree(tmp_path), "seeds": written})


def change(tree: dict[str, Any], place: str, value: Any) -> None:
    *path, last = place.split(".")
    for step in path:
        tree = tree[int(step)] if isinstance(tree, list) else tree[step]
    tree[last] = value


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (
            "arms.listener.kindd",
            "grpo",
            "unknown key 'arms.listener.kindd'; the nearest known key is 'arms.listener.kind'",
        ),
        ("primary.0.endpont", "x", "unknown key 'primary.0.endpont'; the nearest known key is 'primary.0.endpoint'"),
        ("evaluation.sampels", 2, "the nearest known key is 'evaluation.samples'"),
        ("reference", "nobody", "reference: no arm 'nobody', expected one of naive, listener"),
        ("evaluation.sets", ["tset"], "evaluation.sets: no set 'tset'"),
        ("world.sets", ["test"], "train: no set 'train'"),
        ("train", "tran", "train: no set 'tran'"),
        ("world.name", "colors", "world.name: no world 'colors'"),
        ("mixtures", {"even": {"tset": 1}}, "mixtures.even: no set 'tset'"),
        ("mixtures", {"even": {"train": 1}}, "mixtures.even: no set 'train'"),
        ("mixtures", {"even": {"test": 0}}, "mixtures.even.test"),
        ("mixtures", {"test": {"test": 1}}, "mixtures.test is the name of a set, too"),
        ("primary.0.arms", ["x"], "primary.0.arms: no arm 'x'"),
        ("primary.0.sets", ["train"], "primary.0.sets: no set 'train'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, place: str, value: Any, problem: str) -> None:
    tree = plan_tree(tmp_path)
    change(tree, place, value)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, tree)
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["../up", "a b", ".hidden", "a/b", ""])
def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    tree = plan_tree(tmp_path)
    tree["arms"][name] = {"kind": "sft"}
    with pytest.raises(ConfigError, match="cannot be a folder's"):
        load(tmp_path, tree)
