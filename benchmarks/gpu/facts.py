"""What the machine is: versions, the card, and what a just-in-time compiler needs."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from typing import Any

import torch

from benchmarks.gpu.lines import REHEARSAL, run

PACKAGES = (
    "torch", "triton", "transformers", "tokenizers", "huggingface_hub", "trl", "peft", "accelerate", "datasets",
    "torchvision", "numpy", "pillow", "pyarrow",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Raises where a GPU is expected and torch sees none: everything after it would be of a CPU."""
    if not REHEARSAL and not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU")
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "card": _said(
            "nvidia-smi", "--query-gpu=name,memory.total,driver_version,power.limit", "--format=csv,noheader"
        ),
        "compilers": {name: shutil.which(name) is not None for name in ("gcc", "cc", "nvcc")},
        "cpus": os.cpu_count(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    run("facts", facts, 20)
