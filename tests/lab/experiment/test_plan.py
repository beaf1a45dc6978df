"""A plan becomes runs: what arms share and override, what is refused, and the plans that ship."""

import copy
from pathlib import Path
from typing import Any

import pytest

from earshot.config import GrpoConfig, load_config
from earshot.errors import ConfigError, InputError
from earshot.lab.experiment.config import ExperimentConfig
from earshot.lab.experiment.hashing import Hashes
from earshot.lab.experiment.plan import config_inputs, expand, merged, model_source, models_of, recipe, run_of
from earshot.lab.experiment.running import Experiment
from earshot.train.dry_run import dry_run
from earshot.train.grpo import train_grpo
from tests.lab.experiment.made_up import plan_of, plan_tree

PLANS = sorted((Path(__file__).resolve().parents[3] / "configs" / "experiments").glob("*.yaml"))


@pytest.fixture()
def tree(tmp_path: Path) -> dict[str, Any]:
    return plan_tree(tmp_path / "x")


def test_every_arm_meets_every_seed_and_overrides_what_it_says(tree: dict[str, Any], tmp_path: Path) -> None:
    runs = expand(plan_of(tree))
    assert [run.key for run in runs] == [("naive", 0), ("naive", 1), ("listener", 0), ("listener", 1)]
    naive, listening = runs[0].config, runs[3].config
    assert isinstance(naive, GrpoConfig) and isinstance(listening, GrpoConfig)
    assert naive.listener is None and naive.rewards.listener == 0
    assert listening.listener is not None and listening.rewards.listener == 0.5
    assert listening.seed == 1 and listening.out == str(tmp_path / "x" / "listener" / "seed-1" / "train")
    assert listening.data.train == str(tmp_path / "x" / "data" / "train")
    assert naive.trl == listening.trl


def test_a_run_of_a_flat_plan_is_its_arms_folder_and_holds_no_records(tree: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "x"
    tree |= {"flat": True, "seeds": 3}
    run = expand(plan_of(tree), ["naive"])[-1]
    assert (run.folder, run.trained) == (out / "records" / "naive", out / "naive")
    assert run.evaluated == out / "naive" / "eval"
    assert run.config is not None and run.config.out == str(out / "naive")
    assert recipe(plan_of(tree), run_of(plan_of(tree), "naive", 3)) == recipe(
        plan_of(tree | {"flat": False}), run_of(plan_of(tree | {"flat": False}), "naive", 3)
    )
    with pytest.raises(ConfigError, match=r"seeds are \[0, 1\], expected one, because the plan is flat"):
        plan_of(tree | {"seeds": "0-1"})


def test_arms_and_seeds_are_chosen_in_the_order_of_the_plan(tree: dict[str, Any]) -> None:
    assert [run.key for run in expand(plan_of(tree), ["listener"], [1])] == [("listener", 1)]
    with pytest.raises(InputError, match="no arm 'listner', did you mean 'listener'"):
        expand(plan_of(tree), ["listner"])
    with pytest.raises(InputError, match="no seed '7'"):
        expand(plan_of(tree), [], [7])


def test_an_arm_may_have_some_of_the_seeds(tree: dict[str, Any]) -> None:
    tree["arms"]["listener"]["seeds"] = 1
    assert [run.key for run in expand(plan_of(tree)) if run.arm == "listener"] == [("listener", 1)]
    assert expand(plan_of(tree), ["listener"], [0]) == []
    tree["arms"]["listener"]["seeds"] = "1,4"
    with pytest.raises(ConfigError, match=r"arms\.listener\.seeds: no seed '4', expected one of 0, 1"):
        plan_of(tree)


def test_a_model_of_the_plan_is_named_by_its_folder(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["models"] = {"other": {"command": ["world", "pretrain", "{out}"], "folder": "held-out"}}
    tree["arms"]["other"] = {"kind": "grpo", "overrides": {"listener": {"paths": "plan:other"}}}
    config = expand(plan_of(tree), ["other"], [0])[0].config
    assert isinstance(config, GrpoConfig) and config.listener is not None
    assert config.listener.paths == (str(tmp_path / "x" / "models" / "other" / "held-out"),)
    tree["arms"]["other"]["overrides"]["listener"]["paths"] = "plan:otter"
    with pytest.raises(ConfigError, match="plan:otter: the plan has no model 'otter'"):
        expand(plan_of(tree))


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"trl": {"max_steps": 4}}, "trl.max_steps is 4, but 3 in 'naive'"),
        ({"trl": {"num_generations": 8}}, "pairs a step is 1.0, but 2.0 in 'naive'"),
        ({"model": {"path": "world:listener"}}, "the model it begins with is world:listener"),
        ({"data": {"max_pairs": 5}}, "data is"),
        ({"trl": {"per_device_train_batch_size": 16, "num_generations": 8}}, "rollouts a step is 16, but 8"),
    ],
)
def test_unequal_budgets_are_refused(tree: dict[str, Any], overrides: dict[str, Any], problem: str) -> None:
    tree["arms"]["listener"]["overrides"] = overrides
    with pytest.raises(ConfigError, match="arms") as caught:
        expand(plan_of(tree))
    assert problem in str(caught.value)


def test_sft_sees_the_pairs_of_grpo(tree: dict[str, Any]) -> None:
    tree["arms"]["sft"] = {"kind": "sft"}
    assert len(expand(plan_of(tree))) == 6  # 2 pairs a step: 8 rollouts, 4 of each pair
    tree["base"]["sft"]["trl"]["per_device_train_batch_size"] = 8
    with pytest.raises(ConfigError, match=r"arms.sft: pairs a step is 8, but 2.0"):
        expand(plan_of(tree))


def test_what_the_plan_sets_is_not_overridden_and_typos_are_found(tree: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="'seed' is set by the plan"):
        expand(plan_of({**tree, "base": {**tree["base"], "common": {"seed": 3}}}))
    tree["arms"]["listener"]["overrides"] = {"rewards": {"listner": 1.0}}
    with pytest.raises(ConfigError, match=r"arm 'listener': unknown key 'rewards.listner'.*'rewards.listener'"):
        expand(plan_of(tree))
    tree["arms"]["listener"]["overrides"] = {}
    tree["primary"][0]["endpoint"] = "acuracy"
    with pytest.raises(ConfigError, match=r"primary\.0: no endpoint 'acuracy'; the nearest known one is 'accuracy'"):
        expand(plan_of(tree))


def test_tables_are_laid_over_one_another() -> None:
    below = {"a": {"x": 1, "y": 2}, "b": 3}
    assert merged(below, {"a": {"y": 4}}, {"b": None}) == {"a": {"x": 1, "y": 4}, "b": None}
    assert merged({"a": None}, {"a": {"x": 1}}) == {"a": {"x": 1}}
    assert below == {"a": {"x": 1, "y": 2}, "b": 3}


def test_what_a_run_depends_on_is_content_and_not_where_it_lies(tree: dict[str, Any], tmp_path: Path) -> None:
    model = tmp_path / "m"
    model.mkdir()
    (model / "weights").write_text("1")
    tree["base"]["common"]["model"]["path"] = str(model)
    before = config_inputs(expand(plan_of(tree))[0], Hashes())
    moved = model.rename(tmp_path / "n")
    tree["base"]["common"]["model"]["path"] = str(moved)
    assert config_inputs(expand(plan_of(tree))[0], Hashes()) == before
    (moved / "weights").write_text("2")
    after = config_inputs(expand(plan_of(tree))[0], Hashes())
    assert after["model"]["path"] != before["model"]["path"]
    assert "out" not in after


@pytest.mark.parametrize("file", PLANS, ids=lambda file: file.stem)
def test_a_plan_that_ships_can_be_expanded_and_says_how_it_is_run(file: Path) -> None:
    head = file.read_text(encoding="utf-8").split("\nout:")[0]
    assert all(word in head for word in ("# Command:", "# Hardware:", "# Duration:", file.name, "[C]"))
    plan = load_config(ExperimentConfig, file)
    runs = expand(plan)
    assert [run.key for run in runs] == [(arm, seed) for arm in plan.arms for seed in plan.seeds_of(arm)]
    assert plan.primary or file.stem == "quickstart", "endpoints are chosen before the results"


REAL = next(file for file in PLANS if file.stem == "real-weights")


@pytest.mark.parametrize(
    "arm",
    [
        pytest.param(name, marks=() if name == "speaker" else pytest.mark.slow)
        for name, spec in load_config(ExperimentConfig, REAL).arms.items()
        if spec.kind == "grpo"
    ],
)
def test_every_arm_for_real_weights_does_its_first_step(
    arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = run_of(load_config(ExperimentConfig, REAL), arm, 0).config
    assert isinstance(config, GrpoConfig)
    done = dry_run(config, train_grpo)
    assert done.metrics["step"] == 1 and done.metrics["grad_norm"] > 0
    assert set(done.missing) <= {"Qwen/Qwen2.5-VL-7B-Instruct", "sets/mine/train"}
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_is_the_same_in_another_folder_and_with_other_arms(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["models"] = {"other": {"command": ["world", "pretrain", "{out}"]}, "unused": {"command": ["doctor"]}}
    tree["arms"]["listener"]["overrides"] = {"listener": {"paths": "plan:other"}}
    plan = plan_of(tree)
    before = [recipe(plan, run) for run in expand(plan)]
    assert len(set(before)) == 4
    moved = plan_of({**tree, "out": f"{tmp_path}/y/", "arms": {**tree["arms"], "more": {"kind": "grpo"}}})
    assert [recipe(moved, run) for run in expand(moved, ["naive", "listener"])] == before
    changes: list[dict[str, Any]] = [
        {"evaluation": {**tree["evaluation"], "samples": 2}},
        {"world": {**tree["world"], "seed": 5}},
        {"base": {**tree["base"], "grpo": {**tree["base"]["grpo"], "log_rollouts_every": 7}}},
    ]
    for change in changes:
        other = plan_of({**tree, **change})
        assert not {recipe(other, run) for run in expand(other)} & set(before), change
    model = plan_of({**tree, "models": {**tree["models"], "other": {"command": ["world", "pretrain", "{out}", "x"]}}})
    after = [recipe(model, run) for run in expand(model)]
    assert after[:2] == before[:2] and not set(after[2:]) & set(before[2:])
    unused = plan_of({**tree, "models": {**tree["models"], "unused": {"command": ["doctor", "--json"]}}})
    assert [recipe(unused, run) for run in expand(unused)] == before


def test_a_recipe_holds_no_default_and_is_the_same_of_a_plan_that_says_them_all(tree: dict[str, Any]) -> None:
    plan = plan_of(tree)
    tree["base"]["grpo"]["log_rollouts_every"] = GrpoConfig.model_fields["log_rollouts_every"].default
    said = plan_of({**plan.model_dump(), "base": tree["base"]})
    assert [recipe(said, run) for run in expand(said)] == [recipe(plan, run) for run in expand(plan)]


def with_copies(tree: dict[str, Any], copies: int = 2) -> dict[str, Any]:
    command = ["world", "pretrain", "{out}", "--seed", "{copy}", "--models", "reasoner,listener"]
    tree["models"] = {"warm": {"command": command, "copies": copies, "folder": "reasoner"}}
    tree["base"]["common"]["model"]["path"] = "plan:warm"
    tree["base"]["grpo"]["listener"]["paths"] = "plan:warm/listener"
    tree["evaluation"]["listeners"]["training"] = "plan:warm/listener"
    return tree


def test_each_seed_has_its_copy_of_a_model_that_the_plan_makes(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["seeds"] = "0-2"
    plan = plan_of(with_copies(tree))
    runs = expand(plan, ["listener"])
    models = tmp_path / "x" / "models"
    assert [run.model for run in runs] == [str(models / f"warm-{copy}" / "reasoner") for copy in (0, 1, 0)]
    for run, number in zip(runs, (0, 1, 0), strict=True):
        assert isinstance(run.config, GrpoConfig) and run.config.listener is not None
        assert run.config.listener.paths == (str(models / f"warm-{number}" / "listener"),)
    assert models_of(plan, runs[1:2]) == {models / "warm-1": ["listener", "reasoner"]}
    assert models_of(plan, expand(plan, ["naive"], [0])) == {models / "warm-0": ["listener", "reasoner"]}
    (step,) = [one for one in Experiment(plan).preparations(runs[1:2]) if one.name.startswith("models")]
    assert step.words == ("world", "pretrain", str(models / "warm-1"), "--seed", "1", "--models", "reasoner,listener")
    assert step.products == ("listener", "reasoner")
    with pytest.raises(ConfigError, match="the plan has no model 'wram', expected one of warm"):
        model_source(plan, "plan:wram/listener", 0)


def test_how_many_copies_there_are_is_part_of_the_recipe(tree: dict[str, Any]) -> None:
    two, three = (plan_of(with_copies(copy.deepcopy(tree), copies)) for copies in (2, 3))
    assert recipe(two, run_of(two, "naive", 0)) != recipe(three, run_of(three, "naive", 0))


def test_the_set_that_is_trained_on_has_any_name(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["world"] |= {"name": "shortcut", "sets": ["shortcut_train", "test"]}
    plan = plan_of(tree | {"train": "shortcut_train"})
    config = expand(plan)[0].config
    assert config is not None and config.data.train == str(tmp_path / "x" / "data" / "shortcut_train")
    assert " --world shortcut " in " ".join(Experiment(plan).preparations([])[0].words)


def test_either_side_of_a_comparison_is_an_endpoint(tree: dict[str, Any]) -> None:
    tree["primary"][0] |= {"endpoint": "accuracy.read.held-out", "against_endpoint": "accuracy"}
    expand(plan_of(tree))
    for key in ("endpoint", "against_endpoint"):
        wrong = copy.deepcopy(tree)
        wrong["primary"][0][key] = "accuracy.raed.held-out"
        with pytest.raises(ConfigError, match=r"no endpoint 'accuracy\.raed\.held-out'; the nearest known one is"):
            expand(plan_of(wrong))
