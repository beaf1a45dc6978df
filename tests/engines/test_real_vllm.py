"""A real vLLM against the models here, on a CPU in float32; `make engines` runs these in an environment that has it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from earshot.data.pairset import PairSet
from earshot.files import read_jsonl
from earshot.listener.build import build_listener
from earshot.listener.local import LocalListener
from earshot.listener.spec import parse_listener
from earshot.vlm import load
from earshot.world.make import Recipe, make_set

pytestmark = pytest.mark.engines
_QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("pairs")
    make_set(folder / "test", Recipe("test"), 24, workers=1)
    make_set(folder / "train", Recipe("train"), 480, workers=2)
    return folder


def earshot(*words: object, **more: str) -> str:
    """What a command says, in a process of its own: an engine is never quite taken down in this one."""
    done = subprocess.run(
        [sys.executable, "-m", "earshot", *map(str, words)],
        capture_output=True, text=True, env={**os.environ, **_QUIET, **more}, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def predictions(run: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_jsonl(run / "predictions.jsonl")}


def differences(one: Any, other: Any) -> list[float]:
    """Between all numbers at the same places of two answers, whose texts must be equal."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return [gap for key in one for gap in differences(one[key], other[key])]
    if isinstance(one, list):
        assert len(one) == len(other)
        return [gap for a, b in zip(one, other, strict=True) for gap in differences(a, b)]
    if isinstance(one, float) and isinstance(other, float):
        return [abs(one - other)]
    assert one == other
    return []


def test_an_evaluation_by_vllm_has_the_words_and_the_numbers_of_one_without(pairs: Path, tmp_path: Path) -> None:
    how = [
        *("--model", "world:reasoner", "--data", pairs / "test", "--temperature", 0, "--dtype", "float32"),
        *("--listener", "same=world:reasoner", "--listener", "ear=world:listener", "--max-new-tokens", 60),
    ]
    earshot("eval", *how, "--out", tmp_path / "vllm", "--engine", "vllm")
    earshot("eval", *how, "--out", tmp_path / "local")
    one, other = predictions(tmp_path / "vllm"), predictions(tmp_path / "local")
    assert one.keys() == other.keys()
    gaps = differences(one, other)
    print("numbers", len(gaps), "largest difference", max(gaps))
    assert len(gaps) > 24 * 4 and max(gaps) < 1e-3


def test_many_questions_are_sampled_with_seeds_of_their_own(pairs: Path, tmp_path: Path) -> None:
    # More tokens than vLLM computes at a time: what it does with a part of a prompt must not need its seed.
    how = [
        "--model",
        "world:reasoner",
        "--data",
        pairs / "train",
        "--samples",
        4,
        "--max-new-tokens",
        8,
        "--batch",
        256,
    ]
    earshot("eval", *how, "--out", tmp_path / "run", "--engine", "vllm", "--shard", "1/1")
    texts = [sample["trace"] for row in predictions(tmp_path / "run").values() for sample in row["samples"]]
    assert len(texts) == 480 * 8 and len({*texts}) > 8


def test_grpo_learns_from_vllms_completions_as_from_its_own(pairs: Path, tmp_path: Path) -> None:
    config = {
        "model": {"path": "world:reasoner", "dtype": "float32"},
        "data": {"train": str(pairs / "train")},
        "listener": {"paths": "world:listener", "redaction": "verdict", "needs_claims": True, "dtype": "float32"},
        "trl": {
            **{"max_steps": 40, "per_device_train_batch_size": 96, "num_generations": 8, "max_completion_length": 60},
            **{"learning_rate": 5e-5, "max_grad_norm": 0.5, "lr_scheduler_type": "constant", "save_strategy": "no"},
        },
    }
    (tmp_path / "run.yaml").write_text(json.dumps(config))

    def rewards(name: str, *more: str) -> np.ndarray:
        earshot("train", "grpo", tmp_path / "run.yaml", f"out={tmp_path / name}", *more)
        rows = [row for row in read_jsonl(tmp_path / name / "metrics.jsonl") if "loss" in row]
        print(
            name,
            "reward by tens",
            [round(float(np.mean([r["reward"] for r in rows[k : k + 10]])), 3) for k in (0, 10, 20, 30)],
        )
        print(name, "malformed", np.mean([row["malformed"] for row in rows]).round(4))
        if "sampling.engine=vllm" in more:
            print(name, "masked share", max(row["trl/sampling/masked_share"] for row in rows))
            assert max(row["trl/sampling/masked_share"] for row in rows) < 0.01
            assert np.mean([row["malformed"] for row in rows]) <= 0.03
        return np.array([row["reward"] for row in rows])

    ours = [rewards(f"local-{seed}", f"seed={seed}") for seed in range(3)]
    gains = [float(one[-10:].mean() - one[:10].mean()) for one in ours]
    there = rewards("vllm", "sampling.engine=vllm")
    gain = float(there[-10:].mean() - there[:10].mean())
    print("gain of the last ten steps over the first: vllm", gain, "local", gains)
    assert gain > 0 and min(gains) - 2 * np.std(gains) <= gain <= max(gains) + 2 * np.std(gains)


@contextmanager
def vllm_serve(model: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not the script: it asks for the version of a package that has another name where it was built for CPUs.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--port", port]
    command += ["--served-model-name", "m", "--host", "127.0.0.1"]
    command += [
        "--dtype",
        "float32",
        "--max-model-len",
        1024,
        "--generation-config",
        "vllm",
        "--kv-cache-memory-bytes",
        2**28,
    ]
    process = subprocess.Popen([*map(str, command)], env={**os.environ, **_QUIET}, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.poll() is None
            try:
                if httpx2.get(f"{url}/health", timeout=1).status_code == 200:
                    break
            except httpx2.HTTPError:
                time.sleep(1)
        yield url, process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_real_server_reads_and_writes_as_the_model_here_and_may_be_away_for_half_a_minute(
    pairs: Path, tmp_path: Path
) -> None:
    here = load("world:listener", dtype="float32", device="cpu").freeze()
    here.save(tmp_path / "listener")
    few = [PairSet(pairs / "test")[k] for k in range(12)]
    traces = ["first : left red circle yes . second : left red circle no", None] * 6
    with vllm_serve(tmp_path / "listener") as (url, process):
        there = build_listener(parse_listener(f"{url}/v1#m,prompts=brief"))
        gap = np.abs(there.p_first(few, traces) - LocalListener(here).p_first(few, traces)).max()
        print("p of the first image, largest difference", gap)
        assert gap < 1e-3
        config = {
            "model": {"path": "world:reasoner", "dtype": "float32"},
            "data": {"train": str(pairs / "train")},
            "listener": {"paths": f"{url}/v1#m", "prompts": "brief", "remote": {"timeout_s": 10}},
            "trl": {
                **{"max_steps": 20, "per_device_train_batch_size": 32, "num_generations": 8, "save_strategy": "no"},
                **{"max_completion_length": 60, "learning_rate": 5e-5},
            },
        }
        (tmp_path / "run.yaml").write_text(json.dumps(config))
        training = subprocess.Popen(
            [sys.executable, "-m", "earshot", "train", "grpo", tmp_path / "run.yaml", f"out={tmp_path / 'run'}"],
            env={**os.environ, **_QUIET},
        )
        while not (tmp_path / "run" / "metrics.jsonl").exists() and training.poll() is None:
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(30)
        os.killpg(process.pid, signal.SIGCONT)
        assert training.wait(1200) == 0
    rows = [row for row in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    missing = [row["rewards_missing"] for row in rows]
    print("share of rewards missing by step", missing)
    # It is waited for: a reward comes late, and none is made up. Longer than our patience, and the run ends by itself.
    assert len(rows) == 20 and max(missing) == 0.0
