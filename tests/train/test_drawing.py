"""Completions that vLLM draws: of which prompts, with which ends, bans and seeds, and what is refused (`fake_vllm`)."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest import MonkeyPatch

from earshot.errors import ConfigError, ModelError
from earshot.rundir import RunDir
from earshot.train import drawing
from earshot.train.grpo import train_grpo
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.vlm import Vlm
from tests.train.test_training import QUIET, grpo_config, same, steps_of, weights
from tests.vlm import fake_vllm
from tests.vlm.models import tiny


class Policy:
    """`drawing.PolicyOnVllm` with the fake one: its weights are a copy, so that what is not synchronised is stale."""

    latest: "Policy"
    images_again = 0
    room: int | None = None

    def __init__(self, vlm: Vlm, trainer: ListenerGrpoTrainer) -> None:
        vlm.save(Path(trainer.args.output_dir) / "laid-out")
        self.llm = fake_vllm.LLM(
            str(Path(trainer.args.output_dir) / "laid-out"), False, "float32", images_again=self.images_again
        )
        if self.room is not None:
            self.llm.llm_engine.model_config.max_model_len = self.room
        self.model, self.synced = trainer.model, 0
        Policy.latest = self

    def sync_weights(self) -> None:
        self.synced += 1
        self.llm.vlm.model.load_state_dict(self.model.state_dict())

    @contextmanager
    def awake(self) -> Iterator[Any]:
        yield self.llm


@pytest.fixture(autouse=True)
def fake(monkeypatch: MonkeyPatch) -> None:
    fake_vllm.install(monkeypatch)
    monkeypatch.setattr("earshot.train.trainer.PolicyOnVllm", Policy)


def test_a_step_asks_once_a_pair_and_trains_on_the_prompts_that_vllm_computed(
    talker: Path, pairs: Path, tmp_path: Path
) -> None:
    run = train_grpo(grpo_config(talker, pairs, tmp_path / "run", sampling={"engine": "vllm"}), console=QUIET)
    asked = Policy.latest.llm.asked
    assert [params.n for _, params in asked] == [4] * 4  # two steps of two pairs with four completions each
    assert len({params.seed for _, params in asked}) == 4
    assert all(params.stop_token_ids and params.logit_bias and params.logprobs == 0 for _, params in asked)
    assert Policy.latest.synced == 2
    for row in steps_of(run):
        # Drawn with the weights that are trained: were they stale or another prompt's, the ratio would not be 1.
        ratios = [row[f"trl/sampling/importance_sampling_ratio/{which}"] for which in ("min", "mean", "max")]
        np.testing.assert_allclose(ratios, 1.0, atol=2e-2)  # what is banned has a little probability
        assert row["trl/sampling/masked_share"] == 0.0


def test_a_run_that_is_resumed_asks_with_the_seeds_it_would_have_asked_with(
    talker: Path, pairs: Path, tmp_path: Path
) -> None:
    trl = {"max_steps": 3, "save_steps": 1, "save_total_limit": None}
    config = grpo_config(talker, pairs, tmp_path / "run", sampling={"engine": "vllm"}, trl=trl)
    run = RunDir(train_grpo(config, console=QUIET))
    whole = weights(run.model)
    for step in (2, 3):
        shutil.rmtree(run.checkpoints / f"checkpoint-{step}")
    train_grpo(config, resume=True, console=QUIET)
    assert same(whole, weights(run.model))


def test_another_prompt_than_is_trained_on_ends_the_run(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(Policy, "images_again", 1)
    with pytest.raises(ModelError, match=r"vLLM computes prompt 0 as \d+ tokens and Earshot as \d+"):
        train_grpo(grpo_config(talker, pairs, tmp_path / "run", sampling={"engine": "vllm"}), console=QUIET)


def test_completions_that_vllm_would_cut_end_the_run(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(Policy, "room", 40)
    with pytest.raises(ModelError, match="do not fit into vLLM's 40, which would cut what follows"):
        train_grpo(grpo_config(talker, pairs, tmp_path / "run", sampling={"engine": "vllm"}), console=QUIET)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"trl": {"use_vllm": True}}, r"expected sampling\.engine: vllm"),
        ({"sampling": {"engine": "vllm"}, "trl": {"fsdp": "full_shard"}}, "has not been shown to be given the weights"),
    ],
)
def test_what_has_not_been_shown_is_refused_with_the_key_to_use(
    talker: Path, pairs: Path, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_grpo(grpo_config(talker, pairs, tmp_path / "run", **more), console=QUIET)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"vllm_mode": "server"}, "expected 'colocate'"), ({"vllm_tensor_parallel_size": 2}, "expected 1: each process")],
)
def test_ways_of_vllm_that_have_not_been_shown_are_refused(option: dict[str, Any], message: str) -> None:
    args = {"vllm_mode": "colocate", "vllm_tensor_parallel_size": 1, **option}
    trainer: Any = type("Trainer", (), {"args": type("Args", (), args)})
    with pytest.raises(ConfigError, match=message):
        drawing.PolicyOnVllm(tiny("qwen2_5_vl"), trainer)


def test_without_vllm_the_run_ends_before_a_model_is_loaded(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("earshot.train.grpo.load_model", lambda config: 1 / 0)
    with pytest.raises(ModelError, match="the package vllm is not installed"):
        train_grpo(grpo_config(talker, pairs, tmp_path / "run", sampling={"engine": "vllm"}), console=QUIET)


def test_an_engine_that_sleeps_is_given_its_weights_again(monkeypatch: MonkeyPatch) -> None:
    done: list[str] = []
    policy: Any = object.__new__(drawing.PolicyOnVllm)
    policy.enable_sleep_mode, policy._llm_weights_sleeping = True, True
    policy.llm = type(
        "LLM", (), {"wake_up": lambda self, tags: done.append(*tags), "sleep": lambda self, level: done.append("sleep")}
    )()
    monkeypatch.setattr(drawing.PolicyOnVllm, "sync_weights", lambda self: done.append("weights"))
    with policy.awake():
        done.append("draw")
    assert done == ["weights", "kv_cache", "draw", "sleep"] and policy._llm_weights_sleeping


def test_log_probabilities_are_those_of_what_was_drawn() -> None:
    place = type("Place", (), {})
    places = []
    for token, logp in ((3, -0.5), (4, -1.5)):
        one = place()
        one.logprob = logp
        places.append({token: one})
    output: Any = type("Output", (), {"token_ids": (3, 4), "logprobs": places})
    told = drawing.drawn(output)
    assert told.ids == [3, 4] and torch.equal(torch.tensor(told.logps), torch.tensor([-0.5, -1.5]))
