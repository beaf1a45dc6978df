"""Tests of a GPU: `make gpu`. `GPU_REHEARSAL=1` runs them on the CPU, to see that they run."""

import os

import pytest
import torch

REHEARSAL = os.environ.get("GPU_REHEARSAL") == "1"


@pytest.fixture(scope="session")
def device() -> str:
    """Where to compute: a GPU, whose products and convolutions are of float32 throughout."""
    if REHEARSAL:
        return "cpu"
    if not torch.cuda.is_available():
        pytest.skip("no GPU: this torch sees none")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return "cuda"
