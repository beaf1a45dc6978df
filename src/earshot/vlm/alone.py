"""A model that is being trained, asked as a copy would be that is loaded from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def as_loaded(model: Any) -> Iterator[None]:
    """Within, without what accelerate puts in place of a model's `forward`: its autocast, whose numbers are others."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """Within, the model is what it was before PEFT put adapters into its layers."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    layers = [part for part in model.modules() if isinstance(part, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def leaves_base(lora: Any) -> bool:
    """Whether an adapter of this configuration leaves the weights below it as they are, so that they can be had back.

    Args:
        lora: A `peft.LoraConfig`.
    """
    begins_plainly = lora.init_lora_weights in (True, False, "gaussian", "orthogonal")
    apart = not (lora.target_parameters or lora.trainable_token_indices or lora.layer_replication)
    return begins_plainly and apart and lora.bias == "none"
