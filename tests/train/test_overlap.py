"""A remote listener reads completions that have ended while others are sampled, and every number stays what it was."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from earshot.config import GrpoConfig
from earshot.errors import ModelError
from earshot.listener.build import build_listener
from earshot.predictions.rollout import Rollout
from earshot.protocol import write_completion
from earshot.rundir import RunDir, read_jsonl
from earshot.train import trainer as trainer_module
from earshot.train.grpo import listener_spec, train_grpo
from earshot.train.reward import CombinedReward
from earshot.types import Verdict
from earshot.vlm import load
from tests.fakes import fake_pair
from tests.servers import HashingServer, Reply, hashing, threads_that_ask

QUIET = Console(quiet=True)
KINDS = {"served": "", "chat": "/v1"}
PAIRS = [fake_pair("a")] * 4 + [fake_pair("b", first="green", votes=(1.0, 2.0))] * 4
TEXTS = [
    write_completion(Verdict("first", "the first is a red square . so image 1 is better .")),
    write_completion(Verdict("second", "let me think step by step")),
    "the first",
    write_completion(Verdict("first", "the first is a red square . so image 1 is better .")),
    write_completion(Verdict("second", "image 2 : right blue square")),
    "<think> on and on",
    write_completion(Verdict("second", "the second is dark and image 1 shows no square")),
    write_completion(Verdict("first", "")),
]


@pytest.fixture
def server() -> Iterator[HashingServer]:
    with hashing() as server:
        yield server


class Asked:
    """A reward function whose listener is at these addresses, with the rollouts it made."""

    def __init__(self, paths: Sequence[str], **options: Any) -> None:
        listener = {"paths": paths, "remote": {"patience_s": 0.1}, **options}
        base = {"model": {"path": "m"}, "data": {"train": "d"}, "out": "o"}
        config = GrpoConfig.model_validate(base | {"listener": listener})
        assert config.listener is not None
        built = build_listener(listener_spec(config.listener, seed=3))
        self.rollouts: list[Rollout] = []
        self.reward = CombinedReward(config, built, on_rollouts=self.rollouts.extend)

    def __call__(self) -> list[float | None]:
        return self.reward(
            completions=[[{"role": "assistant", "content": text}] for text in TEXTS],
            pair=PAIRS,
            files=[("a.png", "b.png")] * len(PAIRS),
            trainer_state=SimpleNamespace(global_step=0),
            log_metric=lambda name, value: None,
        )

    def as_they_end(self, order: Sequence[int], then: Callable[[], object] = lambda: None) -> list[float | None]:
        with self.reward.ahead(PAIRS) as told:
            if told is not None:
                for row in order:
                    told(row, TEXTS[row])
                then()
            return self()


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "published": {"redaction": "answer", "needs_claims": False},
    "soft": {"soft_labels": True, "temperature": 2.0},
    "prior": {"prior_corrected": True},
    "both orders": {"both_orders": True, "prior_corrected": True},
    "shuffled": {"control": "shuffled"},
    "no trace": {"control": "no_trace"},
}


@pytest.mark.parametrize("kinds", [["served"], ["chat"], ["served", "chat"]], ids="+".join)
@pytest.mark.parametrize("name", OPTIONS)
def test_every_reward_and_every_question_is_the_same(name: str, kinds: list[str], server: HashingServer) -> None:
    asked = Asked([server.url + KINDS[kind] for kind in kinds], **OPTIONS[name])
    asked()  # a chat server is tried out
    server.asked.clear()
    rewards, questions = asked(), server.questions()
    rollouts = asked.rollouts[-len(TEXTS) :]

    def all_are_asked() -> None:
        with server.came:
            assert server.came.wait_for(lambda: len(server.asked) == len(questions), timeout=10)

    for seed in range(3):
        server.asked.clear()
        order = random.Random(seed).sample(range(len(TEXTS)), len(TEXTS))
        assert asked.as_they_end(order, all_are_asked) == rewards
        assert server.questions() == questions
        assert asked.rollouts[-len(TEXTS) :] == rollouts
    assert sum(r.listener_p_first is not None for r in rollouts) == 6  # of the malformed nobody was asked


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["plain", "prior", "both orders"])
def test_an_outage_makes_the_same_rewards_missing(name: str, kind: str, server: HashingServer) -> None:
    asked = Asked([server.url + KINDS[kind]], **OPTIONS[name])
    fine = asked()
    server.reply = Reply({}, 503)
    missing = asked()
    assert missing == [None, None, 0.0, None, None, 0.0, None, None]
    assert asked.as_they_end(range(8)) == missing
    assert threads_that_ask() == []
    server.reply = None
    assert asked.as_they_end(range(8)) == fine  # the next step knows nothing of it


def grpo_config(model: Path, data: Path, out: Path, address: str, **trl: Any) -> GrpoConfig:
    given = {"per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 12, "max_steps": 3}
    listener = {"paths": address, "remote": {"prompts": "brief", "patience_s": 0.5}, "needs_claims": False}
    base: dict[str, Any] = {"model": {"path": str(model), "device": "cpu"}, "data": {"train": str(data)}}
    return GrpoConfig.model_validate(base | {"out": str(out), "listener": listener, "trl": given | trl})


Sampler = Callable[..., list[list[int]]]


def watch_sampling(monkeypatch: pytest.MonkeyPatch, watch: Callable[[Callable[[], list[list[int]]], Any], Any]) -> None:
    """Has `watch` call the sampling of every step; it may replace what is told of rows that end."""
    stock: Sampler = trainer_module.sample

    def sample(*args: Any, on_end: Any = None, **kwargs: Any) -> list[list[int]]:
        return watch(lambda told=on_end: stock(*args, on_end=told, **kwargs), on_end)

    monkeypatch.setattr(trainer_module, "sample", sample)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_begin_while_others_are_sampled(
    kind: str, talker: Path, pairs: Path, tmp_path: Path, server: HashingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    tokenizer = load(talker, device="cpu").tokenizer
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (TEXTS[0], "the first", TEXTS[3])]
    during: list[int] = []
    rows = [ids[0], ids[1], ids[2], ids[0], ids[1], ids[1], ids[0], ids[1]]

    def scripted(_: Any, on_end: Any) -> list[list[int]]:
        """Seven rows end; the last, of the second pair, only when the server has been asked about the first pair."""
        before = len(server.asked)
        for row in range(7):
            on_end(row, rows[row])
        if len(during) > 0 or kind == "served":  # a chat server is tried out after the first step
            wanted = {"served": 1, "chat": 4}[kind]  # all of the first pair; all traces of either
            with server.came:
                assert server.came.wait_for(lambda: len(server.asked) >= before + wanted, timeout=20)
        during.append(len(server.asked) - before)
        on_end(7, rows[7])
        return rows

    watch_sampling(monkeypatch, scripted)
    train_grpo(grpo_config(talker, pairs, tmp_path / "run", server.url + KINDS[kind]), console=QUIET)
    assert during == {"served": [1, 1, 1], "chat": [0, 4, 4]}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_training_with_it_is_training_without_it(
    kind: str, talker: Path, pairs: Path, tmp_path: Path, server: HashingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found = []
    told: list[bool] = []
    watch_sampling(monkeypatch, lambda sample, on_end: (told.append(on_end is not None), sample())[1])
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr(CombinedReward, "ahead", lambda self, pairs: nullcontext())
        server.asked.clear()
        run = RunDir(train_grpo(grpo_config(talker, pairs, tmp_path / name, server.url + KINDS[kind]), console=QUIET))
        found.append((pq.read_table(run.rollouts).sort_by("step").to_pylist(), server.questions(), run.model))
    (rows, questions, model), (plain, asked, before) = found
    assert told == [True] * 3 + [False] * 3
    assert rows == plain and questions == asked
    assert sum(row["listener_p_first"] is not None for row in rows) > 8
    weights = [load(folder, device="cpu").model.state_dict() for folder in (model, before)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


def test_a_listener_here_is_asked_as_before(
    talker: Path, models: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    watch_sampling(monkeypatch, lambda sample, on_end: (told.append(on_end), sample())[1])
    config = grpo_config(talker, pairs, tmp_path / "run", str(models / "llava"), max_steps=1)
    train_grpo(config, console=QUIET)
    assert told == [None]


def test_a_run_that_breaks_while_sampling_leaves_no_threads(
    talker: Path, pairs: Path, tmp_path: Path, server: HashingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(sample: Callable[[], list[list[int]]], on_end: Any) -> list[list[int]]:
        sample()
        raise ModelError("told to break")

    watch_sampling(monkeypatch, breaks)
    with pytest.raises(ModelError, match="told to break"):
        train_grpo(grpo_config(talker, pairs, tmp_path / "run", server.url), console=QUIET)
    assert threads_that_ask() == [] and len(server.asked) > 0


def test_an_outage_in_training_is_logged_as_before(
    talker: Path, pairs: Path, tmp_path: Path, server: HashingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def goes_away(sample: Callable[[], list[list[int]]], on_end: Any) -> list[list[int]]:
        steps.append(len(steps))
        server.reply = Reply({}, 503) if len(steps) == 2 else None
        return sample()

    watch_sampling(monkeypatch, goes_away)
    run = RunDir(train_grpo(grpo_config(talker, pairs, tmp_path / "run", server.url), console=QUIET))
    rows = pq.read_table(run.rollouts).sort_by("step").to_pylist()
    formed = np.array([row["malformed"] is None for row in rows]).reshape(3, -1)
    missing = np.array([row["reward"] is None for row in rows]).reshape(3, -1)
    assert formed.any(axis=1).all() and not missing[[0, 2]].any()
    assert (missing[1] == formed[1]).all()
    logged = [row["rewards_missing"] for row in read_jsonl(run.metrics_log) if "loss" in row]
    assert logged == [0.0, formed[1].mean(), 0.0]
