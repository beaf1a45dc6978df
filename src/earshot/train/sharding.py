"""Weights in parts on several processes (FSDP2): what is refused, and whole weights while drawing and at the end.

Every forward pass of a sharded model is a meeting of all processes, and each draws completions of other lengths. So the
weights are put together once, drawn with, and let go again. It takes their room in the dtype that is computed in; to
gather them anew for every token would take the time of all of them for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import init_empty_weights
from accelerate.utils import DistributedType, parse_flag_from_env
from torch.distributed.fsdp import FSDPModule
from transformers import AutoModelForImageTextToText

from earshot.errors import ConfigError
from earshot.vlm.mechanisms import base_of
from earshot.vlm.weights import merged


def shards_are_asked(arguments: Any) -> bool:
    """Whether processes are told to share a model's weights, by `trl:` or by accelerate's launcher."""
    told = map(parse_flag_from_env, ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"))
    return bool(arguments.fsdp or arguments.deepspeed or any(told))


def check_strategy(arguments: Any, accelerator: Any, model: Any) -> None:
    """Sees that several processes share a model as they were asked to, in a way that is known to train.

    Raises:
        ConfigError: They would not.
    """
    kind = accelerator.distributed_type
    if kind == DistributedType.DEEPSPEED:
        raise ConfigError(
            "deepspeed: Earshot has not been shown to train under it, whose shards are no PyTorch ones; use trl.fsdp "
            "(configs/qwen2.5-vl-7b-full.yaml), or plain processes"
        )
    if kind != DistributedType.FSDP:
        if arguments.fsdp:  # on CPUs accelerate passes it over without a word
            raise ConfigError(
                f"trl.fsdp: accelerate shards nothing here ({kind.value.lower()}, {accelerator.num_processes} "
                "processes); start several processes on GPUs with 'accelerate launch', or take trl.fsdp out"
            )
        return
    if accelerator.state.fsdp_plugin.fsdp_version != 2:
        raise ConfigError("trl.fsdp_config.version: FSDP1 is not known to train here; expected 2")
    if getattr(base_of(model), "is_quantized", False):
        raise ConfigError(
            "trl.fsdp: quantised weights are not known to train in shards; give whole ones, or leave it out"
        )


@contextmanager
def gathered(model: Any, accelerator: Any) -> Iterator[None]:
    """Within it this process has the whole weights, so that a forward pass meets no other process.

    All processes enter and leave together. A model that is not sharded is as it was.
    """
    shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
    again = bool(shards) and accelerator.state.fsdp_plugin.reshard_after_forward
    for module in shards:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in shards:
            module.reshard()
            # The outermost one's are used last in a pass and first in the next: PyTorch never lets them go between.
            module.set_reshard_after_forward(again and module is not model, recurse=False)


def whole_weights(trainer: Any) -> Mapping[str, torch.Tensor] | None:
    """The weights of a sharded model by name, on the first process; None of one that is not. All processes call it."""
    if trainer.accelerator.distributed_type != DistributedType.FSDP:
        return None
    weights: Mapping[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return weights


def plain_model(trained: Any, weights: Mapping[str, torch.Tensor] | None) -> Any:
    """The model without wrappers and adapter: what that has learned is merged into the weights that it adapts.

    Args:
        trained: The model, possibly PEFT's.
        weights: Of a sharded one, by name. Its own shards are not touched: every use of them waits for all processes.
    """
    adapted = hasattr(trained, "merge_and_unload")
    if weights is not None:
        config = trained.active_peft_config if adapted else None
        trained = _with_weights(base_of(trained).config, config, weights)
    return merged(trained) if adapted else trained


def _with_weights(config: Any, adapter: Any, weights: Mapping[str, torch.Tensor]) -> Any:
    """A model of a configuration, possibly with an adapter, that has these weights."""
    from peft import get_peft_model

    with init_empty_weights(include_buffers=False):
        model = AutoModelForImageTextToText.from_config(config)
        model = model if adapter is None else get_peft_model(model, adapter)
    model.load_state_dict(dict(weights), assign=True)
    base_of(model).tie_weights()
    return model
