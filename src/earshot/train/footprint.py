"""What the models of a configuration need of a GPU's memory, from their configs alone, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from rich.console import Console
from trl import GRPOConfig as TrlGrpoConfig
from trl import SFTConfig as TrlSftConfig

from earshot.config import SELF, GrpoConfig, TrainingConfig
from earshot.config.applications import HeldConfig
from earshot.images import Sight
from earshot.remote import is_address
from earshot.train.run import has_frozen_base
from earshot.train.validation import MAX_NEW_TOKENS
from earshot.vlm import Vlm, load
from earshot.vlm.memory import Memory, Training, Work, estimate_memory, largest_prompt
from earshot.vlm.model import set_limits

_BESIDE = "beside them stands what CUDA, its allocator and vLLM keep for themselves"
_HOW_SURE = (
    "weights and caches are counted, and a training pass is gone through without values, to a tenth of what CPUs "
    f"measured; {_BESIDE}"
)
_BY_RULE = (
    "weights and caches are counted; what a pass of this family keeps for its gradients is a rule, which may say "
    f"half of it or twice as much; {_BESIDE}"
)


class Frozen(NamedTuple):
    """A model that reads what the trained one writes.

    Attributes:
        roles: Whose it is: `listener`, `claims`, or both.
        memory: What it takes; weights 0 where it is the trained model without its adapter.
    """

    roles: tuple[str, ...]
    memory: Memory


class Planned(NamedTuple):
    """What a step takes on one device.

    Attributes:
        own: The trained model.
        frozen: The others by path, each once; None where one could not be looked at.
        training: How the model is trained.
        assumed: What that rests on, in words.
    """

    own: Memory
    frozen: dict[str, Frozen | None]
    training: Training
    assumed: list[str]

    @property
    def total(self) -> int:
        """At the highest: sampling, reading and learning come one after another."""
        others = [one.memory for one in self.frozen.values() if one is not None]
        standing = self.own.weights + self.own.optimizer
        at_once = max((one.cache + one.prefill for one in others), default=0)
        return standing + sum(one.weights for one in others) + max(self.own.total - standing, at_once)


def planned(config: TrainingConfig, models: Sequence[tuple[str, str, Vlm | None]], processes: int = 1) -> Planned:
    """What a step of a configuration takes, all its models on one device.

    Args:
        config: Whose step it is.
        models: Role, path and model without weights, the reasoner first, which could be looked at.
        processes: Between how many FSDP shares the trained model, where the configuration asks for that.
    """
    (_, _, reasoner), *others = models
    assert reasoner is not None
    set_limits(reasoner, Sight(config.images.min_pixels, config.images.max_pixels))
    sharded = bool(config.trl.get("fsdp"))
    work, training, assumed = _step(config, reasoner, processes if sharded else 1)
    own = estimate_memory(reasoner.model.config, work, dtype=_dtype(config.model), training=training)
    frozen: dict[str, Frozen | None] = {}
    for role, path, real in others:
        if known := frozen.get(path):
            frozen[path] = known._replace(roles=(*known.roles, role))
            continue
        if real is None:
            frozen[path] = None
            continue
        asked = getattr(config, role)
        needed = estimate_memory(real.model.config, _reading(asked.batch_size, work), dtype=_dtype(asked))
        is_base = (path, asked.device, asked.dtype) == (config.model.path, config.model.device, config.model.dtype)
        if is_base and has_frozen_base(config, sharded=sharded):
            needed = needed._replace(weights=0)
        frozen[path] = Frozen((role,), needed)
    return Planned(own, frozen, training, assumed)


def footprint(config: TrainingConfig, models: Sequence[tuple[str, str, Vlm | None]]) -> list[str]:
    """The peak of a step on one device that holds all models, its parts, and what it rests on, a line each.

    Args:
        config: Whose step it is.
        models: Key, path and model without weights, the reasoner first; None where it could not be looked at.
    """
    _, path, reasoner = models[0]
    if reasoner is None:
        return [f"not estimated, for {path} could not be looked at"]
    plan = planned(config, models)
    own = plan.own
    parts = [
        f"the model {gib(own.weights + own.optimizer)} of weights and moments, and {gib(own.cache + own.prefill)} to "
        f"sample or {gib(own.gradients + own.activations)} to learn"
    ]
    for asked, one in plan.frozen.items():
        if one is None:
            parts.append(f"{asked} NOT counted, for it could not be looked at")
            continue
        weights = gib(one.memory.weights) if one.memory.weights else "is the model without its adapter"
        parts.append(f"{asked}, frozen, {weights}, and {gib(one.memory.cache + one.memory.prefill)} to read")
    return [
        f"about {gib(plan.total)} on one device that holds everything; {_compared(plan.total)}",
        *parts,
        *plan.assumed,
        _BY_RULE if own.by_rule else _HOW_SURE,
    ]


def announce(config: TrainingConfig, arguments: Any, console: Console) -> None:
    """Says before a model is loaded what a run will do, and what memory that takes; one of several processes does.

    Args:
        config: Of the run.
        arguments: TRL's configuration.
        console: Where to.

    Raises:
        ModelError: A model cannot be had.
    """
    if arguments.process_index:
        return
    rows = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    length = f"{arguments.max_steps:,} steps"
    if arguments.max_steps < 0:
        length = f"{arguments.num_train_epochs:g} passes over the pairs, in steps"
    what = f"{rows:,} pairs"
    if isinstance(config, GrpoConfig):
        what = f"{rows:,} completions of up to {arguments.max_completion_length:,} tokens"
    memory, *_ = footprint(config, [(role, path, without_weights(path)) for role, path in models_of_roles(config)])
    for line in (
        f"planned: {length} of {what}; how long they take is told after the first ones",
        f"memory, an estimate (more of it: --dry-run): {memory}",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def models_of_roles(config: TrainingConfig) -> Iterator[tuple[str, str]]:
    """Role and path of each model of a configuration, the trained one first."""
    yield "model", config.model.path
    for role in ("listener", "claims") if isinstance(config, GrpoConfig) else ():
        for path in getattr(config, role).paths if getattr(config, role) else ():
            if path != SELF:
                yield role, path


def without_weights(path: str) -> Vlm | None:
    """The model at a path, of which only the shapes are there; None on a server."""
    return None if is_address(path) else load(path, device="cpu", weights=False)


def _step(config: TrainingConfig, reasoner: Vlm, processes: int) -> tuple[Work, Training, list[str]]:
    """A step's work on one process, how it is trained on, and both in words."""
    grpo = isinstance(config, GrpoConfig)
    trl: dict[str, Any] = {field.name: field.default for field in fields(TrlGrpoConfig if grpo else TrlSftConfig)}
    trl |= {"bf16": config.model.device != "cpu", "gradient_checkpointing": False} | config.trl  # our defaults
    micro_batches = (trl["steps_per_generation"] or trl["gradient_accumulation_steps"]) if grpo else 1
    rows = trl["per_device_train_batch_size"] * micro_batches
    group = trl["num_generations"] if grpo else 1
    new_tokens = trl["max_completion_length"] if grpo else MAX_NEW_TOKENS
    prompt = largest_prompt(reasoner)
    checkpointed = trl["gradient_checkpointing"] or bool((trl["fsdp_config"] or {}).get("activation_checkpointing"))
    compute = torch.bfloat16 if trl["bf16"] else None
    training = Training(config.lora, checkpointed, micro_batches, grpo, compute, processes)
    told = [
        f"assumed of one process: {-(-rows // group)} prompts of {prompt.tokens:,} tokens, the largest that the image "
        f"limits allow, × {group} completions of {new_tokens:,} tokens, trained on in {micro_batches} parts",
        f"assumed: weights in {_name(_dtype(config.model))}, computed in {_name(compute or _dtype(config.model))}, "
        f"{'an adapter' if config.lora else 'all weights'} trained by Adam, layers "
        f"{'computed again in' if checkpointed else 'kept for'} the backward pass",
    ]
    if trl["fsdp"] and processes == 1:
        told.append("FSDP shares the model's weights, gradients and moments between processes: divide these")
    return Work(prompt, -(-rows // group), rows, new_tokens), training, told


def _reading(batch_size: int, step: Work) -> Work:
    """What a frozen model reads at a time, with images as the reasoner sees them."""
    rows = min(batch_size, step.rows)
    return Work(step.prompt, min(step.prompts, rows), rows, step.new_tokens)


def _dtype(held: HeldConfig) -> torch.dtype:
    """What a model is held in on the machine that it is meant for."""
    wanted = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    return wanted.get(held.dtype, torch.float32 if held.device == "cpu" else torch.bfloat16)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _compared(total: int) -> str:
    if not torch.cuda.is_available():
        return "this machine has no GPU to compare it with"
    name, there = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
    return f"this machine's {name} has {gib(there)}: {'more' if there > total else 'LESS'} than that"


def gib(size: int) -> str:
    """Bytes, in words."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
