"""Processes that share a model train as one does: FSDP2 really on, two and four gloo processes on CPUs."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.utils import DistributedType
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from earshot.config import GrpoConfig, load_config, to_yaml
from earshot.errors import ConfigError
from earshot.files import read_jsonl
from earshot.train.grpo import train_grpo
from earshot.train.sharding import check_strategy
from earshot.vlm import load
from earshot.world.make import Recipe, make_set

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8
LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
COMPARED = ("loss", "reward", "grad_norm", "malformed")


def sharded(*, again: bool = True, state: str = "FULL_STATE_DICT") -> dict[str, Any]:
    """As configs/qwen2.5-vl-7b-full.yaml has it."""
    layers = ["Qwen2_5_VLDecoderLayer", "Qwen2_5_VLVisionBlock"]
    config = {"version": 2, "reshard_after_forward": True, "transformer_layer_cls_to_wrap": layers}
    return {"fsdp": True, "fsdp_config": config | {"activation_checkpointing": again, "state_dict_type": state}}


class Desk:
    """A folder in which the same training is made by one process and by several."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data

    def config(
        self, name: str, processes: int, *, kind: str = "grpo", lora: dict[str, Any] | None = None, **trl: Any
    ) -> Path:
        """16 completions of 4 pairs a step, however many processes share them."""
        rows = (16 if kind == "grpo" else 8) // processes // 2
        table: dict[str, Any] = {
            "max_steps": 2, "per_device_train_batch_size": rows, "gradient_accumulation_steps": 2, "save_steps": 1000,
            "learning_rate": 5e-5, "lr_scheduler_type": "constant",
        }  # fmt: skip
        tree: dict[str, Any] = {
            "model": {"path": "world:reasoner", "dtype": "float32", "device": "cpu"},
            "data": {"train": str(self.data)},
            "out": str(self.folder / name),
            "lora": lora,
        }
        if kind == "grpo":
            table |= {"num_generations": 4, "max_completion_length": 60}
            tree |= {"listener": {"paths": "world:listener", "redaction": "verdict", "dtype": "float32"}}
            tree["rewards"] = {"reward_to_go": True}
        else:
            tree["data"]["targets"] = "traces"
        file = self.folder / f"{name}.yaml"
        file.write_text(to_yaml(tree | {"trl": table | trl}))
        return file

    def start(self, file: Path, processes: int, *words: str, kind: str = "grpo") -> subprocess.Popen[str]:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        return subprocess.Popen(
            [sys.executable, *torchrun, "-m", "tests.train.fsdp_on_cpus", "train", kind, str(file), *words],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def train(
        self, name: str, processes: int, *words: str, kind: str = "grpo", lora: Any = None, **trl: Any
    ) -> tuple[int, str]:
        """The exit code and all that was printed."""
        file = self.config(name, processes, kind=kind, lora=lora, **trl)
        process = self.start(file, processes, *words, kind=kind)
        try:
            told, _ = process.communicate(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, told

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [row for row in read_jsonl(self.folder / name / "metrics.jsonl") if "loss" in row]

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / name / "model" / "model.safetensors")

    def same(self, one: str, other: str, *, steps: int = 2, weights: float = 1e-5) -> None:
        """Every step's numbers to 1e-5, and the weights at the end."""
        rows = [self.rows(name) for name in (one, other)]
        assert [len(of) for of in rows] == [steps, steps]
        for a, b in zip(*rows, strict=True):
            for key in COMPARED:
                assert a.get(key) == (None if a.get(key) is None else pytest.approx(b[key], abs=1e-5)), (key, a, b)
        a, b = self.weights(one), self.weights(other)
        assert a.keys() == b.keys()
        assert max(float((a[name] - b[name]).abs().max()) for name in a) < weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "train"
    make_set(folder, Recipe("train"), 40, workers=1)
    return folder


@pytest.fixture()
def desk(tmp_path: Path, data: Path) -> Desk:
    return Desk(tmp_path, data)


def shares(told: str) -> set[tuple[int, int, float]]:
    """How many weights were in shards, of how many, and which share of them lay on a process."""
    found = re.findall(r"sharded: (\d+) of (\d+), (\d\.\d+) here", told)
    return {(int(a), int(b), float(c)) for a, b, c in found}


def test_two_processes_that_share_a_model_train_as_one(desk: Desk) -> None:
    code, told = desk.train("shared", 2, **sharded())
    assert code == 0, told
    ((parts, all_of_them, share),) = shares(told)
    assert parts == all_of_them > 50 and share == pytest.approx(0.5, abs=0.02)
    train_grpo(load_config(GrpoConfig, desk.config("one", 1)), console=Console(file=io.StringIO()))
    desk.same("shared", "one")
    # What comes out is a plain folder, for us and for transformers.
    assert load(desk.folder / "shared" / "model").taught_on == "made-up pictures of coloured shapes"
    _, found = AutoModelForImageTextToText.from_pretrained(desk.folder / "shared" / "model", output_loading_info=True)
    assert not any(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("again", [True, False], ids=["checkpointed", "kept"])
@pytest.mark.parametrize("lora", [None, LORA], ids=["all weights", "lora"])
def test_shards_train_as_copies_do_and_as_one_process(desk: Desk, *, again: bool, lora: Any) -> None:
    rate = {"learning_rate": 5e-5 if lora is None else 1e-3, "max_steps": STEPS}
    for name, processes, how in (("shared", 2, sharded(again=again)), ("copies", 2, {}), ("one", 1, {})):
        code, told = desk.train(name, processes, lora=lora, **rate, **how)
        assert code == 0, told
        assert bool({parts for parts, _, _ in shares(told)} - {0}) == (name == "shared")
    desk.same("shared", "copies", steps=STEPS, weights=1e-4)
    desk.same("shared", "one", steps=STEPS, weights=1e-4)


@pytest.mark.slow
def test_supervised_training_and_evaluations_between_steps_are_the_same_in_shards(desk: Desk) -> None:
    for name, how in (("shared", sharded()), ("copies", {})):
        assert desk.train(name, 2, kind="sft", **how)[0] == 0
    desk.same("shared", "copies")
    watched = (f"data.validation={desk.data}", "evaluation.every_steps=1", "evaluation.pairs=4")
    for name, processes, how in (("judged", 2, sharded()), ("alone", 1, {})):
        assert desk.train(name, processes, *watched, **how)[0] == 0
    judged, alone = (
        [row for row in read_jsonl(desk.folder / name / "metrics.jsonl") if "eval/sample_accuracy" in row]
        for name in ("judged", "alone")
    )
    assert judged == alone and len(judged) == 3


@pytest.mark.slow
@pytest.mark.parametrize("state", ["FULL_STATE_DICT", "SHARDED_STATE_DICT"])
def test_a_run_in_shards_goes_on_exactly_on_as_many_processes_and_on_others(desk: Desk, state: str) -> None:
    how = sharded(state=state) | {"max_steps": 3, "save_steps": 2}
    code, told = desk.train("whole", 2, **how)
    assert code == 0, told
    for name, processes in (("again", 2), ("on four", 4), ("twice the rows", 4)):
        shutil.copytree(desk.folder / "whole", desk.folder / name)
        shutil.rmtree(desk.folder / name / "model")
        shutil.rmtree(desk.folder / name / "checkpoints" / "checkpoint-3")
        config = desk.folder / name / "config.yaml"
        config.write_text(config.read_text().replace(str(desk.folder / "whole"), str(desk.folder / name)))
        rows = {"per_device_train_batch_size": 4} if name == "twice the rows" else {}
        code, told = desk.train(name, processes, "--resume", **how, **rows)
        if rows:
            assert code != 0 and re.search(
                r"it had 2 processes and has 4, so that a step has 32 rows instead of\s+16", told
            )
        else:
            assert code == 0, told
            desk.same("whole", name, steps=3, weights=1e-9 if processes == 2 else 1e-5)


@pytest.mark.slow
def test_a_killed_process_ends_all_within_a_minute_and_the_run_goes_on(desk: Desk) -> None:
    how = sharded() | {"max_steps": 4, "save_steps": 1}
    assert desk.train("whole", 2, **how)[0] == 0
    process = desk.start(desk.config("killed", 2, **how), 2)
    while not (desk.folder / "killed" / "checkpoints" / "checkpoint-2" / "manifest.json").exists():
        assert process.poll() is None
        time.sleep(0.1)
    ranks = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(ranks[-1]), signal.SIGKILL)
    began = time.monotonic()
    told, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and time.monotonic() - began < 60
    assert "SIGKILL" in told  # torchrun says whose death it was
    assert desk.train("killed", 2, "--resume", **how)[0] == 0
    desk.same("whole", "killed", steps=4, weights=1e-9)


@pytest.mark.slow
def test_processes_that_accelerate_would_not_let_share_are_refused_and_leave_nothing(desk: Desk) -> None:
    file = desk.config("x", 2, **sharded())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "earshot", "train", "grpo", str(file)], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert done.returncode != 0
    assert re.search(r"trl\.fsdp: accelerate shards nothing here \(multi_cpu, 2\s+processes\)", done.stderr)
    assert not (desk.folder / "x").exists()


@pytest.mark.parametrize(
    ("kind", "asked", "version", "quantised", "problem"),
    [
        (DistributedType.MULTI_GPU, True, 2, False, "trl.fsdp: accelerate shards nothing here"),
        (DistributedType.DEEPSPEED, False, 2, False, "deepspeed: Earshot has not been shown to train under it"),
        (DistributedType.FSDP, True, 1, False, "trl.fsdp_config.version: FSDP1 is not known to train here"),
        (DistributedType.FSDP, True, 2, True, "trl.fsdp: quantised weights are not known to train in shards"),
        (DistributedType.FSDP, True, 2, False, None),
        (DistributedType.FSDP, False, 2, False, None),  # by accelerate's own file
        (DistributedType.MULTI_GPU, False, 2, False, None),
        (DistributedType.NO, False, 2, False, None),
    ],
)
def test_ways_to_share_a_model_that_were_never_shown_to_train_are_refused(
    kind: DistributedType, asked: bool, version: int, quantised: bool, problem: str | None
) -> None:
    plugin = SimpleNamespace(fsdp_version=version)
    accelerator = SimpleNamespace(distributed_type=kind, num_processes=2, state=SimpleNamespace(fsdp_plugin=plugin))
    model = SimpleNamespace(is_quantized=quantised)
    with nullcontext() if problem is None else pytest.raises(ConfigError, match=problem):
        check_strategy(SimpleNamespace(fsdp=asked), accelerator, model)
