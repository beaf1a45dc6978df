"""`--dry-run`: what will run is rehearsed, what is not is said, and a step that exercised nothing is an error."""

from __future__ import annotations

import contextlib
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from earshot.config import GrpoConfig, SftConfig
from earshot.data.pairset import PairSet
from earshot.errors import InputError, ModelError, RehearsalFailed
from earshot.files import append_jsonl
from earshot.predictions.rollout import Rollout, write_rollouts
from earshot.rundir import RunDir
from earshot.train.dry_run import Rehearsal, dry_run, told_of
from earshot.train.footprint import footprint
from earshot.train.grpo import train_grpo
from earshot.train.sft import train_sft
from earshot.vlm import load
from tests.vlm.families import FAMILIES, build
from tests.vlm.grown import grown
from tests.vlm.test_conformance import REFUSED, UNTRAINED

# In `make test`: layers of two kinds, and a tower whose layers feed those of the language model.
QUICK = ("gemma3", "qwen3_vl")
pytestmark = pytest.mark.filterwarnings("ignore")  # what libraries say of a family is not the matter here


def grpo(folder: Path, **more: Any) -> GrpoConfig:
    """GRPO whose models all lie in one folder, unless others are given."""
    return GrpoConfig.model_validate(
        {
            "model": {"path": str(folder)},
            "listener": {"paths": str(folder)},
            "data": {"train": "nowhere"},
            "out": "runs/x",
            "rewards": {"format": 1.0, "accuracy": 0.5, "listener": 0.5},
            **more,
        }
    )


def line(done: Rehearsal, start: str) -> str:
    return next(line for line in done.told if line.startswith(start))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.conformance)
        for name in FAMILIES
        if name not in {*REFUSED, *UNTRAINED}
    ],
)
def test_a_family_is_rehearsed_from_its_config_alone(name: str, tmp_path: Path) -> None:
    folder = grown(name, tmp_path)

    done = dry_run(grpo(folder), train_grpo)
    told = line(done, "model")
    assert f"{name}: " in told and "made small from its own config" in told
    assert "NOT REHEARSED" not in told
    assert done.metrics["grad_norm"] > 0
    assert done.metrics["reward/format"] >= 0.25  # four of sixteen completions
    assert 0 < done.metrics["reward/listener"] < 1
    assert done.metrics["rewards_missing"] == 0
    assert "GiB on one device" in done.memory[0]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.conformance) for name in REFUSED])
def test_a_family_that_cannot_be_trained_is_refused_in_a_rehearsal_too(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=REFUSED[name]):
        dry_run(grpo(build(name, tmp_path)), train_grpo)


def kept(rows: list[dict[str, Any]]) -> Any:
    """GRPO that keeps its rollouts when their folder goes."""

    def train(config: GrpoConfig, **how: Any) -> Path:
        out = train_grpo(config, **how)
        rows.extend(row for file in (out / "rollouts").glob("*") for row in pq.read_table(file).to_pylist())
        return out

    return train


@pytest.fixture(scope="module")
def rehearsed(pairs: Path) -> tuple[Rehearsal, list[dict[str, Any]]]:
    """A rehearsal of the world's own models with others that are not there, and its rollouts."""
    rows: list[dict[str, Any]] = []
    config = grpo(
        Path("world:reasoner"),
        data={"train": str(pairs)},
        listener={"paths": ["world:listener", "http://localhost:1"], "prompts": "brief"},
        claims={"paths": "not/there/checker"},
        rewards={"format": 1.0, "accuracy": 0.5, "listener": 0.5, "claims": 1.0},
    )
    return dry_run(config, kept(rows)), rows


def test_the_first_pairs_of_the_users_set_are_asked_about_in_the_words_of_the_model(
    rehearsed: tuple[Rehearsal, list[dict[str, Any]]], pairs: Path
) -> None:
    done, rows = rehearsed
    first = [pair.id for pair in PairSet(pairs)][:4]
    assert {row["pair_id"] for row in rows} <= set(first) and len(rows) == 16
    assert line(done, "data") == f"data.train: {pairs}: its first pairs"
    assert line(done, "model") == "model: world:reasoner: qwen2_5_vl, small enough to be used as it is"
    formed = [row for row in rows if row["malformed"] is None]
    assert {row["side"] for row in formed} == {"first", "second"}
    assert all(row["trace"].startswith("first : ") for row in formed)  # the language of the world's models


def test_listener_and_checker_are_asked_on_the_way_of_training(
    rehearsed: tuple[Rehearsal, list[dict[str, Any]]],
) -> None:
    formed = [row for row in rehearsed[1] if row["malformed"] is None]
    assert len({row["reward_listener"] for row in formed}) > 1
    assert all(row["claims"] > 0 and 0 < row["reward_claims"] < 1 for row in formed)


def test_a_model_that_cannot_be_looked_at_is_said_with_what_stood_in(
    rehearsed: tuple[Rehearsal, list[dict[str, Any]]],
) -> None:
    done = rehearsed[0]
    assert done.missing == ["http://localhost:1", "not/there/checker"]
    assert "NOT REHEARSED (a server is not asked); a tiny qwen2_5_vl stands in" in line(done, "listener: http")
    assert "NOT REHEARSED (not/there/checker: no such folder, expected one with config.json" in line(done, "claims")
    assert told_of(done)[-1].endswith(
        "WITHOUT http://localhost:1, not/there/checker, for which others stood in; nothing was kept"
    )


def test_a_set_that_is_not_there_is_said_and_larger_images_are_lowered_and_said(pairs: Path) -> None:
    config = grpo(
        Path("Some/Model-7B"),
        listener=None,
        rewards={"listener": 0.0},
        data={"train": "nowhere", "validation": str(pairs)},
        evaluation={"every_steps": 10},
        images={"min_pixels": 3136, "max_pixels": 10_000_000},
        trl={"max_completion_length": 3, "max_grad_norm": 0},
    )
    done = dry_run(config, train_grpo)
    assert "data.train: nowhere: NOT REHEARSED (no such folder); pairs of the synthetic world stand in" in done.told
    assert f"data.validation: {pairs}: its first pairs" in done.told
    assert f"images.max_pixels: {512 * 512}" in done.changed
    assert any(one.startswith("trl.max_completion_length: ") for one in done.changed)  # three tokens say nothing
    assert not any(one.startswith("images.min_pixels") for one in done.changed)
    assert done.missing == ["Some/Model-7B", "nowhere"]


def test_sft_learns_from_the_users_own_traces(pairs: Path, tmp_path: Path) -> None:
    def sft(folder: Path) -> SftConfig:
        data = {"train": str(folder)}
        return SftConfig.model_validate({"model": {"path": "world:reasoner"}, "data": data, "out": "runs/x"})

    done = dry_run(sft(pairs), train_sft)
    assert done.missing == [] and done.metrics["grad_norm"] > 0
    without = tmp_path / "without"
    shutil.copytree(pairs, without)
    (without / "traces.jsonl").unlink()
    with pytest.raises(InputError, match=r"traces.jsonl: no such file"):
        dry_run(sft(without), train_sft)


def test_a_policy_that_writes_noise_is_an_error(pairs: Path) -> None:
    config = grpo(Path("Some/Model-7B"), data={"train": str(pairs)})
    with (
        patch("earshot.train.dry_run.teach", return_value=0),
        pytest.raises(RehearsalFailed, match="none of 16 completions is well formed"),
    ):
        dry_run(config, train_grpo)


TAUGHT = Rollout(
    **dict.fromkeys(("first_file", "second_file", "prompt", "completion", "trace", "trace_redacted", "side"), "x"),
    **dict.fromkeys(("malformed", "listener_p_first", "listener_p_first_no_trace")),
    **{"step": 0, "pair_id": "a", "votes_first": 1.0, "votes_second": 0.0},
    **{"reward": 1.0, "reward_format": 1.0, "reward_accuracy": 0.0, "reward_listener": 0.4},
)


@pytest.mark.parametrize(
    ("changed", "logged", "message"),
    [
        ({"reward": 1.5, "reward_listener": 0.6}, {}, None),
        ({}, {}, "all completions of a pair earned the same"),
        ({"pair_id": "b", "reward": 1.5}, {}, "all completions of a pair earned the same"),
        ({"reward": 1.5, "reward_listener": None}, {}, "reward_listener is missing for 1 of 2 completions"),
        ({"reward": None}, {}, "reward is missing for 1 of 2 completions"),
        ({"reward": 1.5, "reward_accuracy": math.nan}, {}, "reward_accuracy is missing for 1 of 2"),
        ({"reward": None, "reward_accuracy": None, "votes_second": 1.0}, {}, None),  # a tie
        ({"reward": 1.5}, {"grad_norm": 0.0}, "gradient's norm 0.0: nothing is learned"),
        ({"reward": 1.5}, {"grad_norm": math.inf}, "gradient's norm None"),
        ({"reward": 1.5}, {"loss": math.nan}, "loss is None"),
        ({"reward": 1.5}, {"bad_steps": 1}, "nothing is learned"),
    ],
)
def test_a_step_that_exercised_nothing_is_an_error(
    changed: dict[str, Any], logged: dict[str, float], message: str | None, pairs: Path
) -> None:
    def train(config: GrpoConfig, **_: Any) -> Path:
        run = RunDir.create(Path(config.out))
        write_rollouts(run.rollouts / "step-000000-rank0.parquet", [TAUGHT, replace(TAUGHT, **changed)])
        append_jsonl(run.metrics_log, [{"step": 1, "loss": 0.1, "grad_norm": 0.1, "bad_steps": 0, **logged}])
        return run.path

    config = grpo(Path("Some/Model-7B"), data={"train": str(pairs)})
    with patch("earshot.train.dry_run.teach", return_value=0), contextlib.ExitStack() as stack:
        if message is not None:
            stack.enter_context(pytest.raises(RehearsalFailed, match=message))
        dry_run(config, train)


def test_memory_is_the_real_models_and_one_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    folder = grown("qwen3_vl", tmp_path)
    real = load(folder, device="cpu", weights=False)
    config = grpo(
        folder,
        listener={"paths": str(folder), "dtype": "bfloat16"},
        claims={"paths": str(folder), "dtype": "bfloat16"},
        lora={"r": 8, "target_modules": ["q_proj"]},
        trl={"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2, "max_completion_length": 100},
    )
    told = footprint(config, [("model", "a", real), ("listener", "b", real), ("claims", "b", real)])
    weights = f"{real.model.num_parameters() * 2 / 2**30:.1f} GiB"
    assert sum(f"b, frozen, {weights}" in one for one in told) == 1
    assert any("4 prompts of" in one and "× 8 completions of 100 tokens, trained on in 2 parts" in one for one in told)
    assert any("weights in bfloat16, computed in bfloat16, an adapter trained" in one for one in told)
    assert footprint(config, [("model", "a", None)]) == ["not estimated, for a could not be looked at"]
