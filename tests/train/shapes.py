"""Small trainings of every shape that a resume can go wrong in, and what is compared of them."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from earshot.config import GrpoConfig, SftConfig
from earshot.files import read_jsonl
from earshot.rundir import RunDir
from earshot.vlm import load

LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.3, "target_modules": ["q_proj", "v_proj"]}
TIMES = {"step_seconds", "trl/step_time"}


def grpo(model: Path, data: Path, out: Path, *, lora: dict[str, Any] | None = None, **trl: Any) -> GrpoConfig:
    table = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "num_generations": 2,
        "max_completion_length": 12,
        "learning_rate": 1e-3,
        "save_steps": 1,
        "save_total_limit": None,
    }
    return GrpoConfig.model_validate(
        {
            "model": {"path": str(model), "device": "cpu"},
            "data": {"train": str(data)},
            "listener": {"control": "random"},
            "out": str(out),
            "lora": lora,
            "trl": table | trl,
        }
    )


def sft(model: Path, data: Path, out: Path, *, lora: dict[str, Any] | None = None, **trl: Any) -> SftConfig:
    table = {"max_steps": 5, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "save_steps": 1}
    return SftConfig.model_validate(
        {
            "model": {"path": str(model), "device": "cpu"},
            "data": {"train": str(data)},
            "out": str(out),
            "lora": lora,
            "trl": table | {"save_total_limit": None} | trl,
        }
    )


SHAPES = {
    "later epochs": (grpo, {"max_steps": 8}),
    "a window of two steps": (grpo, {"steps_per_generation": 2}),
    "two iterations": (grpo, {"num_iterations": 2}),
    "iterations, windows and accumulation": (
        grpo,
        {
            "num_iterations": 2,
            "steps_per_generation": 4,
            "gradient_accumulation_steps": 2,
            "max_steps": 6,
            "per_device_train_batch_size": 2,
        },
    ),
    "sums of three steps": (grpo, {"logging_steps": 3}),
    "LoRA with dropout": (grpo, {"lora": LORA}),
    "workers": (grpo, {"dataloader_num_workers": 2, "max_steps": 5}),
    "SFT": (sft, {}),
    "SFT, LoRA with dropout, accumulation": (sft, {"lora": LORA, "gradient_accumulation_steps": 2}),
}


def outcome(run: RunDir) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]], list[Any]]:
    """Weights, rows of the log without what a clock says, and rollouts."""
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in read_jsonl(run.metrics_log)]
    parts = sorted(run.rollouts.glob("*.parquet"))
    return (
        load(run.model, device="cpu").model.state_dict(),
        rows,
        [(p.name, pq.read_table(p).to_pylist()) for p in parts],
    )
