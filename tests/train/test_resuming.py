"""A run that was cut off anywhere ends as if it had never stopped, or is refused by name."""

import io
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from transformers import TrainerCallback

from earshot.errors import InputError, TrainingAborted, TrainingInterrupted
from earshot.locks import sole_writer
from earshot.rundir import RunDir
from earshot.train import run as run_module
from earshot.train.callbacks import Interruption
from earshot.train.checkpoints import MANIFEST, fault_of
from earshot.train.grpo import train_grpo
from earshot.train.sft import train_sft
from tests.train.shapes import LORA, SHAPES, grpo, outcome, sft

QUIET = Console(quiet=True)


class Cut(Exception):
    """Stands for a process that dies."""


def cut_after(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the next trainings die at the beginning of the step after this one; gives what ends that."""
    real = run_module.ProgressBar

    class Dying(real, TrainerCallback):  # type: ignore[misc, valid-type]
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                raise Cut

    monkeypatch.setattr(run_module, "ProgressBar", Dying)
    return lambda: monkeypatch.setattr(run_module, "ProgressBar", real)


def same(one: Any, other: Any) -> None:
    assert one[0].keys() == other[0].keys()
    assert [name for name in one[0] if not torch.equal(one[0][name], other[0][name])] == []
    assert one[1] == other[1]
    assert one[2] == other[2]


# Those that have nothing that another has not as well are for `make slow`; all are killed by `make kill`.
SUBSUMED = {"a window of two steps", "two iterations", "workers", "SFT, LoRA with dropout, accumulation"}


@pytest.mark.parametrize(
    "shape", [pytest.param(name, marks=[pytest.mark.slow] if name in SUBSUMED else []) for name in SHAPES]
)
def test_a_run_that_is_cut_off_ends_as_if_it_had_never_been(
    shape: str, talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, more = SHAPES[shape]
    train: Any = train_grpo if make is grpo else train_sft
    whole = RunDir(train(make(talker, pairs, tmp_path / "whole", **more), console=QUIET))
    config = make(talker, pairs, tmp_path / "cut", **more)
    for step in (3, config.trl["max_steps"] - 1):
        stop = cut_after(step, monkeypatch)
        with pytest.raises(Cut):
            train(config, resume=True, console=QUIET)
        stop()
    run = RunDir(train(config, resume=True, console=QUIET))
    same(outcome(run), outcome(whole))
    # Every checkpoint that was written is one that the rest follows from.
    for checkpoint in whole.checkpoints.glob("checkpoint-*"):
        assert fault_of(checkpoint) is None


def test_what_was_written_before_its_model_was_is_finished_and_not_trained_further(
    talker: Path, pairs: Path, tmp_path: Path
) -> None:
    config = grpo(talker, pairs, tmp_path / "run", max_steps=2, lr_scheduler_type="constant")
    run = RunDir(train_grpo(config, console=QUIET))
    before = outcome(run)
    shutil.rmtree(run.model)
    train_grpo(config, resume=True, console=QUIET)
    same(outcome(run), before)


def test_a_finished_run_is_said_to_be_and_nothing_is_touched(talker: Path, pairs: Path, tmp_path: Path) -> None:
    config = sft(talker, pairs, tmp_path / "run", max_steps=1)
    run = RunDir(train_sft(config, console=QUIET))
    files = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.path.rglob("*") if p.is_file()}
    console = Console(record=True, file=io.StringIO())
    assert train_sft(config, resume=True, console=console) == run.path
    assert "all its steps are done; nothing was changed" in console.export_text()
    with pytest.raises(InputError, match=r"trl.learning_rate was 0.001 and is 0.1"):
        train_sft(sft(talker, pairs, tmp_path / "run", max_steps=1, learning_rate=0.1), resume=True, console=QUIET)
    with pytest.raises(InputError, match="a run is already there, and it is finished"):
        train_sft(config, console=QUIET)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.path.rglob("*") if p.is_file()} == files


@pytest.fixture
def begun(talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of three checkpoints, cut off."""
    shutil.copytree(pairs, tmp_path / "set")
    stop = cut_after(3, monkeypatch)
    with pytest.raises(Cut):
        train_grpo(grpo(talker, tmp_path / "set", tmp_path / "run"), console=QUIET)
    stop()
    return tmp_path / "run"


def test_another_configuration_is_refused_with_both_values_and_what_may_change_is_kept(
    begun: Path, talker: Path, models: Path, pairs: Path
) -> None:
    data, before = begun.parent / "set", {p: p.read_bytes() for p in begun.glob("*.*")}
    wrong = {
        "trl.learning_rate was 0.001 and is 0.1": grpo(talker, data, begun, learning_rate=0.1),
        "trl.max_steps was 6 and is 9": grpo(talker, data, begun, max_steps=9),
        "lora.r was not there and is 4": grpo(talker, data, begun, lora=LORA),
        "model.path was": grpo(models / "qwen2_5_vl", data, begun),
        "seed was 0 and is 1": grpo(talker, data, begun).model_copy(update={"seed": 1}),
    }
    for message, config in wrong.items():
        with pytest.raises(InputError, match=message):
            train_grpo(config, resume=True, console=QUIET)
    rows = pq.read_table(data / "metadata.parquet")
    names = {"votes_first": "votes_second", "votes_second": "votes_first"}
    pq.write_table(
        rows.rename_columns([names.get(name, name) for name in rows.column_names]), data / "metadata.parquet"
    )
    with pytest.raises(InputError, match="train has other rows than when it was begun"):
        train_grpo(grpo(talker, data, begun), resume=True, console=QUIET)
    shutil.copy(pairs / "metadata.parquet", data / "metadata.parquet")
    assert {p: p.read_bytes() for p in begun.glob("*.*")} == before
    shutil.copytree(pairs, begun.parent / "moved")
    run = RunDir(train_grpo(grpo(talker, begun.parent / "moved", begun, save_steps=2), resume=True, console=QUIET))
    (again,) = json.loads(run.environment.read_text())["resumed"]
    assert again["step"] == 3 and again["was"] == {"data.train": str(data), "trl.save_steps": 1}


def test_only_whole_checkpoints_are_kept_and_no_old_one_goes_before_the_next_is_whole(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import earshot.train.checkpoints as room

    at_seal: list[list[str]] = []
    real = room.seal

    def watched(folder: Path) -> None:
        at_seal.append(sorted(p.name for p in folder.parent.iterdir() if (p / MANIFEST).exists()))
        real(folder)

    monkeypatch.setattr(room, "seal", watched)
    config = sft(talker, pairs, tmp_path / "run", max_steps=3, save_total_limit=1)
    run = RunDir(train_sft(config, console=QUIET))
    assert at_seal == [[], ["checkpoint-1"], ["checkpoint-2"]]
    assert [p.name for p in run.checkpoints.glob("checkpoint-*")] == ["checkpoint-3"]


def test_a_signal_saves_at_the_next_place_and_the_run_goes_on_from_there(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"num_iterations": 2, "save_steps": 100}
    whole = RunDir(train_grpo(grpo(talker, pairs, tmp_path / "whole", **more), console=QUIET))
    config, before = grpo(talker, pairs, tmp_path / "cut", **more), signal.getsignal(signal.SIGTERM)
    real = run_module.ProgressBar
    for name, step, saved in (("SIGTERM", 0, 2), ("SIGHUP", 2, 4)):

        class Signalled(real):  # type: ignore[misc, valid-type]
            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step == step:  # noqa: B023 - it is used within this turn
                    os.kill(os.getpid(), getattr(signal, name))  # noqa: B023

        monkeypatch.setattr(run_module, "ProgressBar", Signalled)
        words = f"stopped by {name} after step {saved}, which is saved; go on"
        with pytest.raises(TrainingInterrupted, match=words) as told:
            train_grpo(config, resume=True, console=QUIET)
        assert told.value.exit_code == 143 and signal.getsignal(signal.SIGTERM) == before
        monkeypatch.setattr(run_module, "ProgressBar", real)
        assert (RunDir(tmp_path / "cut").checkpoints / f"checkpoint-{saved}").exists()
    same(outcome(RunDir(train_grpo(config, resume=True, console=QUIET))), outcome(whole))


def test_a_second_signal_ends_the_process_at_once() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interruption.came == "SIGHUP"
        assert {signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)} == {signal.SIG_DFL}


def test_one_process_at_a_time_trains_in_a_folder(talker: Path, pairs: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        sole_writer(tmp_path / "run"),
        pytest.raises(InputError, match=rf"another process writes there \(process {os.getpid()} on"),
    ):
        train_sft(sft(talker, pairs, tmp_path / "run"), console=QUIET)


def test_a_start_that_fails_leaves_nothing_and_can_be_repeated(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = cut_after(0, monkeypatch)
    config = sft(talker, pairs, tmp_path / "run", max_steps=1)
    with pytest.raises(Cut):
        train_sft(config, console=QUIET)
    assert not (tmp_path / "run").exists()
    stop()
    assert RunDir(train_sft(config, console=QUIET)).model.exists()


def test_fewer_pairs_than_a_step_takes_are_refused_and_not_trained_on_in_silence(
    talker: Path, pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"6 pairs .*, and completions of 8 are drawn at a time"):
        train_grpo(grpo(talker, pairs, tmp_path / "run", per_device_train_batch_size=16), console=QUIET)
    with pytest.raises(InputError, match=r"trl.max_steps is 0"):
        train_sft(sft(talker, pairs, tmp_path / "run", max_steps=0), console=QUIET)
    assert not (tmp_path / "run").exists()


def test_the_batch_of_a_run_that_stopped_itself_is_kept_though_no_step_was_logged(
    talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earshot.train.callbacks.gradients_are_finite", lambda model: False)
    with pytest.raises(TrainingAborted, match="the batch is in") as told:
        train_sft(sft(talker, pairs, tmp_path / "run", logging_steps=10, save_steps=100), console=QUIET)
    assert Path(str(told.value).split("the batch is in ")[1].split(";")[0]).exists()
