"""How fast at real sizes with random weights: each thing that Earshot does itself against the code without it.

python -m benchmarks.gpu.speed [PART ...]; `GPU_SIZE` is 7b or 3b.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.profiler import ProfilerActivity, profile
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from benchmarks.gpu.lines import OUT, REHEARSAL, note, run
from benchmarks.gpu.plan import SPEED
from earshot.lab.bench.like import trainable
from earshot.lab.bench.shape import Shape, repeated
from earshot.lab.bench.stock import plain_listener, stock_attention
from earshot.lab.bench.trainers import Stepper, dataset
from earshot.listener.local import LocalListener
from earshot.train.run import lora_config
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.vlm import Vlm
from earshot.vlm.mechanisms import base_of
from earshot.vlm.prefix import Sampling, encode_prefix, sample, shared_logps
from earshot.vlm.prefix.pictures import split_pictures
from earshot.vlm.prepared import PREPARED, forgetting, remembering
from earshot.vlm.runs import ALL_RUNS

Found = dict[str, Any]
DEVICE = "cpu" if REHEARSAL else "cuda"
DTYPE = torch.float32 if REHEARSAL else torch.bfloat16
# Two images of 756 px are 729 tokens each; at 140 px, windows of 112 px are uneven.
SHAPE = Shape(
    like=os.environ.get("GPU_SIZE", "7b"),
    small=REHEARSAL,
    pixels=140 if REHEARSAL else 756,
    prompt_tokens=160,
    new_tokens=8 if REHEARSAL else 256,
    group=2 if REHEARSAL else 8,
    groups=2,
    device=DEVICE,
    dtype="float32" if REHEARSAL else "bfloat16",
)
MANY_GROUPS = 2 if REHEARSAL else 8
STEP_WORDS = 8 if REHEARSAL else 128
FEW, MANY = (32, 36) if REHEARSAL else (32, 96)  # tokens; shorter texts are not captured
LORA = lora_config(trainable(64))
RUNS = 1 if REHEARSAL else 3
_held: dict[str, Vlm] = {}


def build() -> Found:
    """A reasoner and a listener; what later parts need."""
    for seed, name in enumerate(("reasoner", "listener")):
        _held[name] = SHAPE.build(seed).freeze()
        remembering(_held[name].processor.image_processor)
    vlm = _held["reasoner"]
    return {
        "size": SHAPE.like,
        "parameters": sum(weight.numel() for weight in vlm.model.parameters()),
        "prompt_tokens": _inputs(1)["input_ids"].size(1),
    }


def ceilings() -> Found:
    """What this card does: a copy's bandwidth, a product's rate, and what a small operation costs the host."""
    many_bytes, side, calls = (2**22, 256, 100) if REHEARSAL else (2**31, 8192, 2000)
    source = torch.empty(many_bytes, dtype=torch.uint8, device=DEVICE)
    target, square = torch.empty_like(source), torch.randn(side, side, device=DEVICE, dtype=DTYPE)
    little = torch.zeros(8, device=DEVICE)

    def small() -> None:
        for _ in range(calls):
            little.add_(1.0)

    return {
        "copy_tb_s": 2 * many_bytes / _seconds(lambda: target.copy_(source)) / 1e12,
        "product_tflop_s": 2 * side**3 / _seconds(lambda: square @ square) / 1e12,
        "small_operation_us": _seconds(small) / calls * 1e6,
    }


def token() -> Found:
    """One drawn token of all rows: captured as a graph, launched kernel by kernel, and by stock `generate`."""
    vlm = _held["reasoner"]
    found = {}
    for groups, group in ((SHAPE.groups, SHAPE.group), (MANY_GROUPS, SHAPE.group), (SHAPE.groups, 1)):
        found[f"{groups} x {group}"] = _drawn(vlm.model, groups, group)
    found[f"stock, {SHAPE.groups} x {SHAPE.group}"] = {"token_ms": _stock_token(SHAPE.groups * SHAPE.group)}
    return found


def adapters() -> Found:
    """As `token`, with an adapter in training's precision, where a token has half as many kernels again."""
    with _adapted() as model, _training_precision():
        return {f"{SHAPE.groups} x {SHAPE.group}": _drawn(model, SHAPE.groups, SHAPE.group)}


def vision() -> Found:
    """The vision tower with all windows of a layer in one call, and as stock has it, a call for each."""
    found = {}
    tower = _held["reasoner"].model.model.visual
    assert tower.config._attn_implementation == ALL_RUNS
    for groups in sorted({SHAPE.groups, MANY_GROUPS}):
        inputs = _inputs(groups)
        pixels = inputs["pixel_values"].to(DTYPE)

        def see(pixels: torch.Tensor = pixels, grid: torch.Tensor = inputs["image_grid_thw"]) -> torch.Tensor:
            with torch.no_grad():
                return tower(pixels, grid_thw=grid).pooler_output

        seen, together_s = see(), _seconds(see)
        with _as_stock():
            stock, stock_s = see(), _seconds(see)
        found[f"{2 * groups} images"] = {
            "runs_together_ms": together_s * 1e3,
            "stock_ms": stock_s * 1e3,
            "relative_difference": float((seen - stock).float().norm() / stock.float().norm()),
        }
    return found


def steps() -> Found:
    """Whole GRPO steps with a listener: ours, ours without graphs, ours checkpointed, and TRL's trainer."""
    for side, captured, checkpointed in (
        ("ours", True, False),
        ("stock", False, True),
        ("ours", False, False),
        ("ours", True, True),
    ):
        name = f"{side}{'' if captured or side == 'stock' else ', eager'}{', checkpointed' if checkpointed else ''}"
        with nullcontext() if captured else _eager():
            note(f"speed/steps/{name}", **_step(side, checkpointed))
    return {}


def training() -> Found:
    """Forward and backward of one micro-batch with an adapter, in each form, with layers kept or checkpointed."""
    found = {}
    with _adapted() as model:
        base = base_of(model)
        if not hasattr(base, "_with_fused_head"):
            add_fused_lm_head(base, temperature=1.0, outputs=("log_probs", "entropy"))
            base._with_fused_head = True
        model.train()
        inputs = _inputs(SHAPE.groups)
        owners = [k for k in range(SHAPE.groups) for _ in range(SHAPE.group)]
        rows = torch.randint(100, 1000, (len(owners), SHAPE.new_tokens), device=DEVICE)
        for form, checkpointed in (("cache", False), ("packed", False), ("packed", True), ("plain", True)):
            if checkpointed:
                base.gradient_checkpointing_enable({"use_reentrant": False})
                model.enable_input_require_grads()

            def learn(form: Any = form) -> None:
                with _training_precision():
                    scores = shared_logps(
                        model, inputs, owners, rows, torch.ones_like(rows), with_entropy=True, fused_head=True,
                        form=form, pictures=split_pictures(model, inputs),
                    )  # fmt: skip
                scores.logps.mean().backward()
                model.zero_grad(set_to_none=True)

            with _peak() as peak_gib:
                taken = _seconds(learn, runs=2)
            found[f"{form}{', checkpointed' if checkpointed else ''}"] = {"ms": taken * 1e3, "peak_gib": peak_gib()}
            base.gradient_checkpointing_disable()
    return found


def listener() -> Found:
    """The listener on the traces of each pair; and the base below an adapter in its place, which is loaded once."""
    pairs = repeated(_pairs(SHAPE.groups), SHAPE.group)
    texts = SHAPE.texts(len(pairs))
    other, own = LocalListener(_held["listener"]), LocalListener(_held["reasoner"])
    plain = own.p_first(pairs, texts)
    found: Found = {"ms": _seconds(lambda: other.p_first(pairs, texts)) * 1e3}
    with _adapted(init_lora_weights=False), patch.object(own.vlm, "under_adapters", True):
        below = own.p_first(pairs, texts)
        found["below_adapters_ms"] = _seconds(lambda: own.p_first(pairs, texts)) * 1e3
    weights = sum(weight.numel() * weight.element_size() for weight in other.vlm.model.parameters())
    return found | {
        "below_adapters_differs_by": float(np.abs(below - plain).max()),
        "a_copy_gib": weights / 2**30,
    }


def pictures() -> Found:
    """The pictures of a step made ready, all anew and as they are kept for listeners and checkers."""
    vlm, pairs = _held["reasoner"], _pairs(MANY_GROUPS)

    def anew() -> None:
        PREPARED.forget()
        vlm.encode_pairs(pairs)

    return {"anew_ms": _seconds(anew) * 1e3, "kept_ms": _seconds(lambda: vlm.encode_pairs(pairs)) * 1e3}


def profiled() -> Found:
    """How busy the device is while tokens are drawn: the time of its kernels over the time that passed."""
    vlm, owners = _held["reasoner"], [k for k in range(SHAPE.groups) for _ in range(SHAPE.group)]
    tokens = 4 if REHEARSAL else FEW
    prefix, uniforms = encode_prefix(vlm.model, _inputs(SHAPE.groups)), torch.rand(len(owners), tokens)

    def draw() -> None:
        sample(vlm.model, prefix, owners, uniforms, _sampling(vlm, tokens))

    kinds = [ProfilerActivity.CPU, *([] if REHEARSAL else [ProfilerActivity.CUDA])]
    found = {}
    for name, how in (("captured", _as_on_a_gpu()), ("eager", _eager())):
        with how:
            draw()
            with profile(activities=kinds) as recorded:
                wall_s = _seconds(draw, runs=1, warm=0)
        kernels = [one for one in recorded.events() if one.device_type == torch.autograd.DeviceType.CUDA]
        busy_s = sum(one.time_range.elapsed_us() for one in kernels) / 1e6
        found[name] = {"wall_ms": wall_s * 1e3, "busy_share": busy_s / wall_s, "kernels_a_token": len(kernels) / tokens}
        by = "self_cpu_time_total" if REHEARSAL else "self_device_time_total"
        with (OUT / "profile.txt").open("a", encoding="utf-8") as file:
            file.write(f"\n{name}\n{recorded.key_averages().table(sort_by=by, row_limit=25)}\n")
    return found


PARTS: dict[str, Callable[[], Found]] = {
    "build": build, "ceilings": ceilings, "token": token, "vision": vision, "steps": steps, "adapters": adapters,
    "training": training, "listener": listener, "pictures": pictures, "profile": profiled,
}  # fmt: skip


def _pairs(groups: int) -> list[Any]:
    return SHAPE.pairs(_held["reasoner"], groups)


def _inputs(groups: int) -> dict[str, Any]:
    return dict(_held["reasoner"].encode_pairs(_pairs(groups)))


def _sampling(vlm: Vlm, tokens: int) -> Sampling:
    return Sampling(tokens, 1.0, [], vlm.forbidden_ids, vlm.tokenizer.pad_token_id)


def _drawn(model: Any, groups: int, group: int) -> Found:
    """Milliseconds of a token either way, from two lengths, so that what is done once cancels; and whether words agree.

    In bfloat16 later words may part: attention sums over the places of tokens yet to come.
    """
    vlm, owners = _held["reasoner"], [k for k in range(groups) for _ in range(group)]
    prefix = encode_prefix(model, _inputs(groups))
    uniforms = torch.rand(len(owners), MANY, generator=torch.Generator().manual_seed(0))

    def draw(tokens: int) -> list[list[int]]:
        return sample(model, prefix, owners, uniforms[:, :tokens], _sampling(vlm, tokens))

    found: Found = {}
    words = []
    for name, how in (("captured", _as_on_a_gpu()), ("eager", _eager())):
        with how:
            words.append(draw(MANY))
            few_s = _seconds(lambda: draw(FEW), warm=0)
            each_s = (_seconds(lambda: draw(MANY), warm=0) - few_s) / (MANY - FEW)
        found[f"{name}_token_ms"] = each_s * 1e3
        if name == "captured":
            found["capturing_ms"] = (few_s - FEW * each_s) * 1e3
    same = [a == b for one, other in zip(*words, strict=True) for a, b in zip(one, other, strict=True)]
    found["equal_words"] = sum(same) / len(same)
    return found


def _stock_token(rows: int) -> float:
    """Milliseconds of a token by `generate`, each row with a prompt of its own, without images."""
    vlm, width = _held["reasoner"], _inputs(1)["input_ids"].size(1)
    ids = torch.randint(100, 1000, (rows, width), device=DEVICE)

    def draw(tokens: int) -> None:
        with torch.no_grad():
            vlm.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, max_new_tokens=tokens,
                min_new_tokens=tokens, suppress_tokens=vlm.forbidden_ids, pad_token_id=vlm.tokenizer.pad_token_id,
            )  # fmt: skip

    draw(FEW)
    return (_seconds(lambda: draw(MANY), warm=0) - _seconds(lambda: draw(FEW), warm=0)) / (MANY - FEW) * 1e3


def _step(side: str, checkpointed: bool) -> Found:
    """The second of two steps; the model is left without its adapter."""
    vlm, ear = _held["reasoner"], _held["listener"]
    shape = SHAPE.model_copy(update={"new_tokens": STEP_WORDS})
    listen: Callable[..., Any] = LocalListener(ear).p_first if side == "ours" else lambda *on: plain_listener(ear, *on)

    def reward(*, completions: Sequence[Any], pair: Sequence[Any], **_: Any) -> list[float]:
        texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
        return [float(p) for p in listen(pair, texts)]

    with tempfile.TemporaryDirectory() as out:
        arguments = GRPOConfig(
            output_dir=out, per_device_train_batch_size=shape.groups * shape.group, num_generations=shape.group,
            max_completion_length=STEP_WORDS, generation_kwargs={"suppress_tokens": vlm.forbidden_ids}, max_steps=1,
            shuffle_dataset=False, learning_rate=1e-6, beta=0.0, loss_type="grpo", bf16=not REHEARSAL,
            gradient_checkpointing=checkpointed, gradient_checkpointing_kwargs={"use_reentrant": False}, report_to=[],
            save_strategy="no", logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
            use_cpu=REHEARSAL,
        )  # fmt: skip
        data = dataset(shape, vlm, shape.pairs(vlm, shape.groups))
        given: dict[str, Any] = {"args": arguments, "reward_funcs": [reward], "train_dataset": data}
        trainer: Any = None
        with _as_stock() if side == "stock" else nullcontext(), _left_plain(lambda: trainer):
            if side == "ours":
                trainer = ListenerGrpoTrainer(vlm=vlm, peft_config=LORA, **given)
            else:
                trainer = GRPOTrainer(model=vlm.model, processing_class=vlm.processor, peft_config=LORA, **given)
            stepper = Stepper(trainer, [trainer.model, ear.model])
            stepper.step()
            with _peak() as peak_gib:
                found: Found = dict(stepper.step())
            found["peak_gib"] = peak_gib()
    del trainer, stepper
    gc.collect()
    return found


@contextmanager
def _left_plain(trainer: Callable[[], Any]) -> Iterator[None]:
    """Takes a trainer's adapter out again, also where its step was too long."""
    try:
        yield
    finally:
        if (made := trainer()) is not None:
            _plain(made.accelerator.unwrap_model(made.model).unload())


def _plain(model: Any) -> None:
    """The reasoner as it is asked, whatever a part before has left."""
    model.__dict__.pop("forward", None)  # accelerate's, with its autocast
    model.gradient_checkpointing_disable()
    _held["reasoner"].model = model.eval().requires_grad_(False)


@contextmanager
def _adapted(**changed: Any) -> Iterator[Any]:
    """The reasoner's model with an adapter."""
    config = LoraConfig(**{**LORA.to_dict(), **changed}) if changed else LORA
    model = get_peft_model(_held["reasoner"].model, config).eval()
    try:
        yield model
    finally:
        _plain(model.unload())


@contextmanager
def _as_stock() -> Iterator[None]:
    """Both models call attention window by window, and make every picture anew."""
    with ExitStack() as stock:
        for vlm in _held.values():
            stock.enter_context(stock_attention(vlm.model))
            stock.callback(remembering, forgetting(vlm.processor.image_processor))
        yield


def _eager() -> Any:
    """Within, no token is captured as a graph."""
    return patch("earshot.vlm.prefix.sampling.can_capture", lambda model, device: False)


def _as_on_a_gpu() -> Any:
    """In a rehearsal, rows in the form that a GPU captures, without the graph."""
    return patch("earshot.vlm.prefix.sampling.can_capture", lambda *_: True) if REHEARSAL else nullcontext()


def _training_precision() -> Any:
    return nullcontext() if REHEARSAL else torch.autocast("cuda", dtype=torch.bfloat16)


@contextmanager
def _peak() -> Iterator[Callable[[], float | None]]:
    """GiB at most while within; None in a rehearsal."""
    if not REHEARSAL:
        torch.cuda.reset_peak_memory_stats()
    yield lambda: None if REHEARSAL else torch.cuda.max_memory_allocated() / 2**30


def _wait() -> None:
    if not REHEARSAL:
        torch.cuda.synchronize()


def _seconds(function: Callable[[], Any], runs: int = RUNS, warm: int = 1) -> float:
    """The median of some runs."""
    for _ in range(warm):
        function()
    taken = []
    for _ in range(runs):
        _wait()
        began = time.perf_counter()
        function()
        _wait()
        taken.append(time.perf_counter() - began)
    return median(taken)


def main(parts: Sequence[str]) -> None:
    patience = 6 if REHEARSAL else 1
    for part in parts or PARTS:
        run(f"speed/{part}", PARTS[part], SPEED[part] * patience)
        if not REHEARSAL:
            torch.cuda.empty_cache()  # raises where the context is broken: the plan goes on in another process


if __name__ == "__main__":
    main(sys.argv[1:])
