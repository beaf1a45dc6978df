"""A whole step of GRPO forgets no device: it runs on a pretended GPU, whose tensors refuse to be mixed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import trl.kernels.chunked_logprob as chunks
import trl.trainer.utils as trl_utils
from accelerate.state import AcceleratorState, PartialState
from peft import LoraConfig
from trl import GRPOConfig

from earshot.lab.bench.shape import Shape
from earshot.lab.bench.trainers import arguments, dataset
from earshot.listener.local import LocalListener
from earshot.train.prompts import encode_step
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.vlm.prefix.captured import CapturedRows
from tests.pretended_gpu import CUDA, PretendedGpu, put

SHAPE = Shape(
    pixels=56, new_tokens=6, group=3, groups=2, hidden=64, layers=2, vision_hidden=32, vision_layers=1
)  # as small as they come


@contextmanager
def on_pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within, accelerate and TRL take the pretended GPU for their device, and compute as on a CPU."""
    monkeypatch.setattr(GRPOConfig, "device", property(lambda args: CUDA))
    monkeypatch.setattr(CapturedRows, "_capture", lambda rows: setattr(rows, "_may_capture", False))
    for module in (chunks, trl_utils):
        monkeypatch.setattr(module, "_use_triton", lambda device: False)
    for state in (AcceleratorState, PartialState):
        monkeypatch.setitem(state._shared_state, "device", CUDA)
    with PretendedGpu():
        yield


@pytest.mark.filterwarnings("ignore")  # TRL's, of names that will change
@pytest.mark.parametrize(
    ("family", "lora", "checkpointed"),
    [("qwen2_5_vl", False, False), ("qwen2_5_vl", True, True), ("llava", False, True), ("llava", True, False)],
)
def test_two_steps_of_grpo(
    family: str, lora: bool, checkpointed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = SHAPE.model_copy(update={"family": family})
    vlm = shape.build()
    # With an adapter, the listener is the model below it, and there is a reference to stay near.
    ear = LocalListener(vlm if lora else shape.build(seed=1).freeze())
    vlm.under_adapters = lora
    heard: list[float] = []

    def reward(*, completions: list[Any], pair: list[Any], **_: Any) -> list[float]:
        heard.extend(ear.p_first(pair, [one if isinstance(one, str) else one[0]["content"] for one in completions]))
        return heard[-len(pair) :]

    args = arguments(shape, vlm, str(tmp_path))
    args.max_steps, args.num_iterations, args.beta = 2, 2, 0.1 if lora else 0.0
    args.gradient_checkpointing, args.gradient_checkpointing_kwargs = checkpointed, {"use_reentrant": False}
    adapter = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") if lora else None
    trainer = ListenerGrpoTrainer(
        vlm=vlm,
        reward_funcs=[reward],
        args=args,
        train_dataset=dataset(shape, vlm, shape.pairs(vlm, shape.groups)),
        peft_config=adapter,
    )
    put(trainer.model)
    put(ear.vlm.model)
    with on_pretended_gpu(monkeypatch):
        trainer.train()
    assert trainer.state.global_step == 2 and len(heard) == 6


@pytest.mark.filterwarnings("ignore")
def test_a_planted_slip_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = SHAPE.build()
    trainer = ListenerGrpoTrainer(
        vlm=vlm,
        reward_funcs=[lambda *, completions, **_: [0.0] * len(completions)],
        args=arguments(SHAPE, vlm, str(tmp_path)),
        train_dataset=dataset(SHAPE, vlm, SHAPE.pairs(vlm, SHAPE.groups)),
    )
    put(trainer.model)
    monkeypatch.setattr(
        "earshot.train.trainer.encode_step",
        lambda vlm, model, rows, device: encode_step(vlm, model, rows, torch.device("cpu")),
    )
    with on_pretended_gpu(monkeypatch), pytest.raises(RuntimeError, match="same device"):
        trainer.train()
