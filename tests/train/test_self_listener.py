"""The policy as its own listener: it says what a copy that is loaded from its weights of the moment would say."""

import copy
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from earshot.config import GrpoConfig
from earshot.errors import ConfigError, InputError
from earshot.files import read_json_object
from earshot.listener.build import build_listener
from earshot.listener.local import LocalListener
from earshot.listener.policy import NAME, PolicyListener
from earshot.listener.spec import ListenerSpec
from earshot.predictions.run import read_runs
from earshot.report.provenance import run_facts
from earshot.rundir import RunDir
from earshot.train.dry_run import dry_run, told_of
from earshot.train.grpo import train_grpo
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.types import Pair
from earshot.vlm import load
from tests.train.equality import two_processes
from tests.train.shapes import LORA, grpo, outcome
from tests.train.test_resuming import same

QUIET = Console(quiet=True)


def own(model: Path, data: Path, out: Path, **more: Any) -> GrpoConfig:
    """A run that is heard by its own policy."""
    told = grpo(model, data, out, **more).model_dump()
    return GrpoConfig.model_validate(told | {"listener": {"paths": "self", "needs_claims": False}})


class Copies:
    """Of every question to the policy, what a copy that is loaded from its weights answers.

    Args:
        monkeypatch: Puts itself between.
        begun: The model that is trained.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, begun: Path) -> None:
        self.answers: list[tuple[np.ndarray, np.ndarray]] = []
        self._begun = begun
        self._trainer: Any = None
        ask, make = PolicyListener.p_first, ListenerGrpoTrainer.__init__

        def noted(trainer: Any, **kwargs: Any) -> None:
            make(trainer, **kwargs)
            self._trainer = trainer

        def compared(listener: Any, pairs: Sequence[Pair], traces: Sequence[str | None]) -> np.ndarray:
            model = listener.base.vlm.model
            before = model.training, model.__dict__.get("forward")
            told = ask(listener, pairs, traces)
            assert (model.training, model.__dict__.get("forward")) == before
            assert all(part.training == before[0] for part in model.modules())
            self.answers.append((told, self._copy().p_first(pairs, traces)))
            return told

        monkeypatch.setattr(ListenerGrpoTrainer, "__init__", noted)
        monkeypatch.setattr(PolicyListener, "p_first", compared)

    def _copy(self) -> LocalListener:
        model = copy.deepcopy(self._trainer.accelerator.unwrap_model(self._trainer.model, keep_fp32_wrapper=True))
        plain = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
        loaded = load(self._begun, device="cpu")
        loaded.model.load_state_dict(plain.state_dict())
        return LocalListener(loaded.freeze())


@pytest.mark.parametrize(
    "how", [{}, {"bf16": True}, {"lora": LORA}, {"gradient_checkpointing": True}], ids=["plain", "bf16", "lora", "gc"]
)
def test_it_says_what_a_copy_loaded_from_its_weights_of_the_moment_says(
    how: dict[str, Any], talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = Copies(monkeypatch, talker)
    run = RunDir(train_grpo(own(talker, pairs, tmp_path / "run", max_steps=2, **how), console=QUIET))
    assert len(copies.answers) == 2
    for told, wanted in copies.answers:
        np.testing.assert_allclose(told, wanted, atol=2e-6 if "lora" in how else 1e-7)  # merging rounds
    rows = pq.read_table(run.rollouts).to_pylist()
    assert {row["listener"] for row in rows} == {NAME}
    heard = [row["listener_p_first"] for row in rows if row["malformed"] is None]
    assert heard == pytest.approx([p for told, _ in copies.answers for p in told])


def test_it_moves_with_its_weights_and_is_recorded_as_what_it_is(talker: Path, pairs: Path, tmp_path: Path) -> None:
    config = own(talker, pairs, tmp_path / "run", max_steps=3)
    run = RunDir(train_grpo(config, console=QUIET))
    told = read_json_object(run.environment, what="a record")["models"]
    assert told["listener:self"]["weights"] == "the policy's own, not frozen" and "sha256" not in told["listener:self"]
    (fact,) = (one for one in run_facts(read_runs([run.path], who="test")) if one.label == "listeners in the reward")
    assert fact.values == ["self (the policy's own, not frozen), weight 0.5"]
    whole = outcome(run)
    shutil.rmtree(run.checkpoints / "checkpoint-3")
    shutil.rmtree(run.model)
    train_grpo(config, resume=True, console=QUIET)
    same(outcome(run), whole)


def test_what_cannot_listen_as_itself_is_refused_by_name(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = own(talker, pairs, tmp_path / "run")
    with monkeypatch.context() as sharded:
        sharded.setenv("ACCELERATE_USE_FSDP", "true")
        with pytest.raises(ConfigError, match="'self' listens with whole weights, and FSDP or DeepSpeed keeps a share"):
            train_grpo(config, console=QUIET)
    with pytest.raises(ConfigError, match="'self' listens with whole weights"):
        train_grpo(own(talker, pairs, tmp_path / "run", fsdp="full_shard"), console=QUIET)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match="listener 'self' is the policy of 'earshot train grpo', and nothing is trained"
    ):
        build_listener(ListenerSpec(("self",)))
    load(talker, device="cpu").save(tmp_path / "self")
    assert build_listener(ListenerSpec(("./self",), device="cpu")).name == "self"


def test_a_dry_run_hears_it_too_and_an_ensemble_may_hold_it(
    talker: Path, models: Path, pairs: Path, tmp_path: Path
) -> None:
    config = own(talker, pairs, tmp_path / "run").model_dump()
    config["listener"]["paths"] = ["self", str(models / "llava")]
    done = dry_run(GrpoConfig.model_validate(config), train_grpo)
    assert any("listener: self: the policy, as it is at each step" in line for line in told_of(done))
    assert done.metrics["listener/p_label"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("lora", ["full", "lora"])
def test_on_two_processes_each_is_heard_by_the_weights_that_they_share(
    lora: str, talker: Path, pairs: Path, tmp_path: Path
) -> None:
    two_processes("tests.train.test_self_listener", *map(str, (talker, pairs, tmp_path, lora)))
    for rank in range(2):
        told, wanted = np.load(tmp_path / f"answers-{rank}.npy")
        assert told.size and not np.allclose(told, 0.5)
        np.testing.assert_allclose(told, wanted, atol=2e-6)


if __name__ == "__main__":  # one of several processes
    talked, data, folder, kind = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    with pytest.MonkeyPatch.context() as patched:
        found = Copies(patched, talked)
        train_grpo(own(talked, data, folder / "run", max_steps=2, lora=LORA if kind == "lora" else None), console=QUIET)
    both = np.array([np.concatenate(side) for side in zip(*found.answers, strict=True)])
    np.save(folder / f"answers-{os.environ['RANK']}.npy", both)
