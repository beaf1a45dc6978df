"""Training ends by name where nobody is left to pay for traces, or nothing was to be learnt; no step is lost by it."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from earshot.config import GrpoConfig
from earshot.errors import InputError, ListenerUnavailable, TrainingAborted, TrainingInterrupted
from earshot.files import read_jsonl
from earshot.rundir import RunDir
from earshot.train import grpo as grpo_module
from earshot.train.grpo import train_grpo
from tests.servers import Reply, answering
from tests.train.shapes import grpo, outcome
from tests.train.test_resuming import QUIET, same


class Server:
    """`earshot serve`'s /v1/listen, with an opinion of every trace; it can be made to refuse.

    Attributes:
        questions: How many it was asked, the first one about two grey squares among them.
        refuse: What a question of this number is answered with; None is an opinion.
    """

    def __init__(self, refuse: Callable[[int], Reply | None] = lambda _: None) -> None:
        self.questions = 0
        self.refuse = refuse

    def __call__(self, path: str, body: Any, headers: Any) -> Reply:
        self.questions += 1
        if (refusal := self.refuse(self.questions)) is not None:
            return refusal
        seen = (body["prompt"], *body["traces"])
        return Reply({"p_first": [int(hashlib.sha256(f"{seen}{k}".encode()).hexdigest()[:4], 16) / 65536
                                  for k in range(len(body["traces"]))]})  # fmt: skip


def heard_by(address: str, config: GrpoConfig, **remote: Any) -> GrpoConfig:
    table = config.model_dump()
    table["listener"] = {"paths": address, "remote": {"patience_s": 0.1, **remote}}
    return GrpoConfig.model_validate(table)


REFUSALS = {
    "a wrong key": (Reply({"error": {"message": "no such key"}}, 401), r"refused with 401 \(no such key\)"),
    "no such model": (Reply({"error": {"message": "no model x"}}, 404), r"refused with 404 \(no model x\)"),
    "a page": (Reply(b"<html>"), "the answer is no JSON; is this the address of a model"),
    "another service": (Reply({"detail": 1}), "no probability for each of 1 traces"),
    "failing": (Reply(b"oops", 500), r"refused with 500"),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_listener_is_asked_one_question_before_anything_is_loaded(
    fault: str, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply, message = REFUSALS[fault]
    monkeypatch.setattr(grpo_module, "load_model", lambda config: pytest.fail("a model is loaded"))
    with answering(Server(lambda _: reply)) as address, pytest.raises(InputError, match=message):
        train_grpo(heard_by(address, grpo(tmp_path, pairs, tmp_path / "run")), console=QUIET)
    with pytest.raises(InputError, match=r"no answer in 0.1 s .*is the server up"):
        train_grpo(heard_by("http://127.0.0.1:9", grpo(tmp_path, pairs, tmp_path / "run")), console=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "shape",
    [{}, pytest.param({"num_iterations": 2, "per_device_train_batch_size": 8}, marks=pytest.mark.slow)],
)
def test_a_listener_that_stops_ends_training_after_a_checkpoint_and_the_run_goes_on_exactly(
    shape: dict[str, Any], talker: Path, pairs: Path, tmp_path: Path
) -> None:
    more = {"save_steps": 100, **shape}
    server = Server()
    with answering(server) as address:
        whole = RunDir(train_grpo(heard_by(address, grpo(talker, pairs, tmp_path / "whole", **more)), console=QUIET))
        config = heard_by(address, grpo(talker, pairs, tmp_path / "cut", **more))
        asked, server.questions = server.questions, 0
        server.refuse = lambda k: Reply(b"", 503) if k > asked * 2 // 3 else None
        with pytest.raises(TrainingInterrupted, match=r"503.*, which is saved; go on with the same command") as told:
            train_grpo(config, console=QUIET)
        assert told.value.exit_code == 1
        (saved,) = RunDir(tmp_path / "cut").checkpoints.glob("checkpoint-*")
        assert f"after step {saved.name.split('-')[1]}," in str(told.value)
        with pytest.raises(InputError, match="503"):  # it is still away: the question comes first
            train_grpo(config, resume=True, console=QUIET)
        server.refuse = lambda _: None
        same(outcome(RunDir(train_grpo(config, resume=True, console=QUIET))), outcome(whole))


def test_a_listener_that_stops_in_the_first_step_leaves_nothing(talker: Path, pairs: Path, tmp_path: Path) -> None:
    away = Server(lambda k: Reply(b"", 503) if k > 1 else None)
    with answering(away) as address, pytest.raises(ListenerUnavailable, match="503"):
        train_grpo(heard_by(address, grpo(talker, pairs, tmp_path / "run")), console=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_run_that_taught_nothing_writes_no_model_and_says_why_once(talker: Path, pairs: Path, tmp_path: Path) -> None:
    console = Console(record=True, file=io.StringIO(), width=400)
    config = grpo(talker, pairs, tmp_path / "run", max_steps=2, max_completion_length=2)
    for resume in (False, True):
        with pytest.raises(TrainingAborted, match=r"in none of 2 steps did the rewards .* no model is written"):
            train_grpo(config, resume=resume, console=console)
    run, said = RunDir(tmp_path / "run"), console.export_text()
    assert not run.model.exists()
    assert said.count("nothing is learnt from its 4 completions (4 malformed), 4 of them for") == 1
    assert "raise trl.max_completion_length if they are cut" in said
    assert [row["groups_without_variance"] for row in read_jsonl(run.metrics_log)] == [1.0, 1.0]
