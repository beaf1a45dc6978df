"""Training on shared prefixes gives the numbers of TRL's own trainer on the same completions."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import earshot.vlm.prefix.forms as forms
from tests.train.equality import Outcome, assert_equal, both, train

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("qwen2_5_vl", "llava")
CASES: dict[str, dict[str, Any]] = {
    "one iteration": {},
    "two iterations": {"num_iterations": 2, "max_steps": 4},
    "accumulation": {"gradient_accumulation_steps": 2, "num_iterations": 2},
    "groups cut by micro-batches": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
    "checkpointing": {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
    "truncated left out": {"mask_truncated_completions": True},
    "colder": {"temperature": 0.7},
    "text only": {"text_only": True},
}


@pytest.mark.parametrize(
    ("family", "lora"), [("qwen2_5_vl", False), ("llava", False), ("qwen2_5_vl", True)], ids=lambda v: str(v)
)
def test_a_step_has_the_numbers_of_stock(family: str, lora: bool, tmp_path: Path) -> None:
    ours, stock = both(lambda side: train(side, tmp_path, family, lora=lora, num_iterations=2))
    assert_equal(ours, stock)
    assert stock.logged[1]["kl"] > 1e-6  # the second step has moved away from the reference
    if not lora:
        assert any("vis" in name and bool(g.any()) for name, g in stock.gradients[0].items())  # the vision tower learns


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_way_to_train_has_the_numbers_of_stock(family: str, lora: bool, case: str, tmp_path: Path) -> None:
    assert_equal(*both(lambda side: train(side, tmp_path, family, lora=lora, **CASES[case])))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefix_that_is_off_by_one_position_is_noticed(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = forms.next_positions
    monkeypatch.setattr(forms, "next_positions", lambda positions: after(positions) + 1)
    ours, stock = both(lambda side: train(side, tmp_path, family, max_steps=1))
    with pytest.raises(AssertionError, match=r"entropy|grad_norm"):
        assert_equal(ours, stock)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_have_the_numbers_of_stock(family: str, lora: bool, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.train.equality", str(tmp_path), family, "lora" if lora else "full"]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            command, cwd=ROOT, env={**shared, "RANK": str(k), "LOCAL_RANK": str(k)}, stderr=subprocess.PIPE, text=True
        )
        for k in range(2)
    ]
    errors = [process.communicate(timeout=600)[1] for process in ranks]
    assert all(process.returncode == 0 for process in ranks), "\n".join(error[-2000:] for error in errors)
    ours, stock = (Outcome(*saved) for saved in torch.load(tmp_path / "outcomes.pt", weights_only=True))
    assert_equal(ours, stock)
