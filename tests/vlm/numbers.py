"""FOLDER: writes numbers of every kind that we make of images to `numbers.json` in it.

Two environments that write the same bytes read images alike.
"""

import hashlib
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers.utils import is_torchvision_available

from earshot.cli.main import app
from earshot.config import GrpoConfig, SftConfig
from earshot.errors import ModelError
from earshot.files import read_jsonl
from earshot.rundir import RunDir
from earshot.train.grpo import train_grpo
from earshot.train.sft import train_sft
from earshot.vlm import load
from earshot.world.make import Recipe, make_set
from tests.vlm.families import FAMILIES, build
from tests.vlm.stock import PAIRS


def images(folder: Path) -> dict[str, str]:
    """A hash of what the processor of every family that Pillow can do makes of two pairs."""
    told = {}
    for name, family in FAMILIES.items():
        if family.needs_torchvision:
            continue
        try:
            inputs = load(build(name, folder), dtype="float32", device="cpu").encode_pairs(PAIRS)
        except ModelError:  # refused, with or without torchvision
            continue
        digest = hashlib.sha256()
        for key, value in sorted(inputs.items()):
            digest.update(key.encode() + (value.numpy().tobytes() if isinstance(value, torch.Tensor) else b""))
        told[name] = digest.hexdigest()
    return told


def evaluated(folder: Path, data: Path) -> list[dict[str, Any]]:
    """Rows of an evaluation with two listeners, one of each family of the world."""
    words = ["eval", "--model", "world:reasoner", "--data", str(data), "--out", str(folder), "--max-new-tokens", "64"]
    app([*words, "--listener", "world:listener", "--listener", "world:held-out"], standalone_mode=False)
    return list(read_jsonl(folder / "predictions.jsonl"))


def trained(folder: Path, data: Path) -> dict[str, Any]:
    """Losses of a step of SFT and of GRPO with a listener, and the weights after them."""
    shared = {"model": {"path": "world:reasoner", "device": "cpu"}, "data": {"train": str(data)}}
    trl = {"max_steps": 1, "learning_rate": 1e-4, "per_device_train_batch_size": 4}
    sft = SftConfig.model_validate(shared | {"out": str(folder / "sft"), "trl": trl})
    listener = {"paths": ["world:listener", "world:held-out"]}
    trl = {**trl, "num_generations": 2, "max_completion_length": 64}
    grpo = GrpoConfig.model_validate(shared | {"out": str(folder / "grpo"), "listener": listener, "trl": trl})
    quiet = Console(quiet=True)
    told = {}
    for run in map(RunDir, (train_sft(sft, console=quiet), train_grpo(grpo, console=quiet))):
        steps = [
            {k: v for k, v in row.items() if "second" not in k and "time" not in k}
            for row in read_jsonl(run.metrics_log)
        ]
        told[run.path.name] = {"steps": steps, "sha256": load(run.model, device="cpu").fingerprint()}
    return told


def main() -> None:
    """Writes them."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    make_set(folder / "pairs", Recipe("train"), 4, workers=1)
    told = {
        "torchvision": is_torchvision_available(),
        "images": images(folder / "families"),
        "evaluated": evaluated(folder / "eval", folder / "pairs"),
        "trained": trained(folder, folder / "pairs"),
    }
    (folder / "numbers.json").write_text(json.dumps(told, sort_keys=True, indent=1, default=str))


if __name__ == "__main__":
    main()
