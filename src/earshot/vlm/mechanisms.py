"""How a model may be computed: what is inside its wrappers, its positions, and whether rows may share their prompts.

A prompt is shared only where every part of the model is known to allow it: the kinds of its layers, what it takes
besides tokens, its positions. Everything else is computed in whole rows, each as stock transformers has it, or refused
by name before a number comes out. No family counts by its name but those of `_REFUSED`, `_UNTRAINED` and
`_PLAINLY_CAUSAL`.

Shapes: N prompts, P prompt tokens (padded on the left), R rows, S suffix tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final, Literal

import torch
from jaxtyping import Int
from torch.distributed.fsdp import FSDPModule
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from earshot.errors import ModelError
from earshot.vlm.weights import quantisation

# Families that mask nothing but the future where their layers are plain, so that a mask of ours may stand in there.
_PLAINLY_CAUSAL = frozenset({"llava", "qwen2_vl", "qwen2_5_vl"})
CHECKPOINTED: Final = "its layers are checkpointed, which leaves no cache"
SHARDED: Final = "its weights are sharded, and gathered for what a pass gives out alone"
OWN_ATTENTION = "earshot"  # `vlm.prefix.attention`, which is sdpa where nothing else is asked of it
# Kinds of layers whose whole memory of a prompt are keys and values, which later tokens read and do not change.
_KEYS_AND_VALUES = frozenset({"full_attention", "sliding_attention"})
_COPIED_LAYERS = {DynamicLayer, DynamicSlidingWindowLayer}  # of caches, which keep just these
# Models that do not write one token after another.
_REFUSED = {"diffusion_gemma": "it writes by diffusion"}
# Models that can be asked and not trained.
_UNTRAINED = {
    "glm4v_moe": "transformers' balancing loss of its experts asks the configuration for a name that it lacks",
    "llama4": "TRL takes its output for another model's",
}

# What processors make with a value for each token of the prompt, and what the tokens that follow it get: they hold no
# image (0), or see of the images what the prompt's last token sees.
PER_TOKEN: Final[dict[str, Literal["zero", "last"]]] = {
    "mm_token_type_ids": "zero",
    "token_type_ids": "zero",
    "moe_mm_token_type_ids": "zero",
    "cross_attention_mask": "last",
    "image_attention_mask": "last",
}
OF_TEXT: Final = frozenset({"input_ids", "attention_mask", *PER_TOKEN})
# What they make of the images, which rows of one prompt repeat along the first axis.
PER_IMAGE: Final = frozenset(
    {
        "pixel_values",
        "pixel_attention_mask",
        "pixel_mask",
        "image_grid_thw",
        "image_sizes",
        "image_position_ids",
        "spatial_shapes",
        "batch_num_images",
        "aspect_ratio_ids",
        "aspect_ratio_mask",
    }
)
_ROPE_INPUTS = frozenset({"input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask"})
_LOGIT_SCALES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def base_of(model: Any) -> Any:
    """The transformers model with its head, inside wrappers such as DDP's and PEFT's."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def core_of(model: Any) -> Any:
    """The model without its head: text and images in, hidden states out; the whole of it where it has no such part."""
    base = base_of(model)
    return getattr(base, "model", base)


def is_sharded(model: Any) -> bool:
    """Whether its weights lie in parts on several processes (FSDP2), and are whole only inside its forward pass."""
    return isinstance(model, FSDPModule)


def is_distributed(model: Any) -> bool:
    """Whether it is one of several processes' (DDP, FSDP2), so that its outermost part must see every forward pass."""
    return hasattr(model, "module") or is_sharded(model)


def has_plain_head(model: Any) -> bool:
    """Whether logits are nothing but the output embedding of the hidden state."""
    text = base_of(model).config.get_text_config()
    return core_of(model) is not base_of(model) and all(getattr(text, n, None) in (None, 1.0) for n in _LOGIT_SCALES)


def checkpoints_layers(model: Any) -> bool:
    """Whether layers are recomputed in the backward pass; they then take and give no cache."""
    modules = base_of(model).modules() if model.training else ()
    return any(getattr(module, "gradient_checkpointing", False) for module in modules)


def reason_for_one_pass(model: Any) -> str | None:
    """Why gradients can't go through a cache from one forward pass to another; None where they can.

    Weights that are sharded are gathered again in the backward pass by what a layer gives out, and a loss that comes by
    its keys and values never asks for them.
    """
    return SHARDED if is_sharded(model) else CHECKPOINTED if checkpoints_layers(model) else None


def check_config(config: Any, source: str) -> None:
    """Sees that a model of this configuration takes images and writes one token after another.

    Args:
        config: Of transformers.
        source: Where it is from, for the message.

    Raises:
        ModelError: It does not; the message says what it does.
    """
    reason = "it is an encoder with a decoder" if config.is_encoder_decoder else _REFUSED.get(config.model_type)
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        reason = "it is no image-text-to-text model"
    if reason is not None:
        raise ModelError(
            f"{source}: a model of type {config.model_type} cannot be asked for a next token after images ({reason}); "
            "expected one that continues a conversation, such as Qwen2.5-VL"
        )


def check_trainable(model: Any, *, with_adapter: bool) -> None:
    """Sees that a model can be trained.

    Args:
        model: As it was loaded.
        with_adapter: Whether its own weights stay as they are.

    Raises:
        ModelError: It cannot; the message says why.
    """
    kind = base_of(model).config.model_type
    if kind in _UNTRAINED:
        raise ModelError(
            f"a model of type {kind} cannot be trained here, for {_UNTRAINED[kind]}; it can judge and listen"
        )
    method = quantisation(base_of(model).config) if getattr(base_of(model), "is_quantized", False) else None
    if method is not None and not (with_adapter and method.startswith("bitsandbytes")):
        raise ModelError(
            f"weights quantised by {method!r} cannot be trained; expected whole ones, or 'lora' beside those of "
            "bitsandbytes"
        )


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Sees that what a processor made for each token is known, so that it can be made for the tokens that follow.

    Raises:
        ModelError: Something is not; the message names it.
    """
    shape = inputs["input_ids"].shape
    for name, value in inputs.items():
        per_token = isinstance(value, torch.Tensor) and value.shape[:2] == shape and shape[1] > 1
        if per_token and name not in OF_TEXT | PER_IMAGE:
            raise ModelError(
                f"its processor gives each token '{name}', which Earshot does not know how to go on with; "
                f"known are {', '.join(PER_TOKEN)}"
            )


def reason_for_whole_rows(model: Any, inputs: Mapping[str, Any]) -> str | None:
    """Why tokens cannot be put onto an encoded prompt with this model; None where they can.

    Args:
        model: A transformers image-text-to-text model, possibly wrapped.
        inputs: What its processor made.
    """
    base = base_of(model)
    if other := _kinds_of_layers(model) - _KEYS_AND_VALUES:
        return f"it has {' and '.join(sorted(other))} layers"
    if carried := sorted(name for name in inputs if PER_TOKEN.get(name) == "last"):
        return f"its layers read images through {' and '.join(carried)}"
    if odd := {type(layer) for layer in DynamicCache(config=base.config).layers} - _COPIED_LAYERS:
        return f"it remembers a prompt in {' and '.join(sorted(kind.__name__ for kind in odd))}"
    if unknown := sorted(set(inputs) - OF_TEXT - PER_IMAGE):
        return f"its processor also makes {' and '.join(unknown)}"
    if "position_ids" not in inspect.signature(type(base).forward).parameters:
        return "it takes no positions"
    if rope := getattr(core_of(model), "get_rope_index", None):
        taken = {k: p for k, p in inspect.signature(rope).parameters.items() if p.kind is not p.VAR_KEYWORD}
        needed = {name for name, parameter in taken.items() if parameter.default is parameter.empty}
        if not set(taken) >= _ROPE_INPUTS or not needed <= _ROPE_INPUTS:
            return "its positions are made from other inputs"
    return None


def reason_against_sharing(model: Any, tokens: int) -> str | None:
    """Why gradients cannot go through a shared prompt for rows of so many tokens; None where they can."""
    window = getattr(base_of(model).config.get_text_config(), "sliding_window", None)
    if "sliding_attention" in _kinds_of_layers(model) and (window or 0) < tokens:
        return f"its attention slides over {window} tokens and rows have {tokens}"
    return None


def reason_for_whole_steps(model: Any) -> str | None:
    """Why a step of GRPO computes whole rows of this model whatever else it allows; None where it need not.

    TRL adds the loss where the configuration gives it a weight (its `aux_loss_enabled`).
    """
    text = base_of(model).config.get_text_config()
    if hasattr(text, "output_router_logits") and getattr(text, "router_aux_loss_coef", None):
        return "a loss balances its experts, and counts the tokens of every row"
    return None


def _kinds_of_layers(model: Any) -> set[str]:
    text = base_of(model).config.get_text_config()
    window = getattr(text, "sliding_window", None)
    return set(getattr(text, "layer_types", None) or (["sliding_attention"] if window else ["full_attention"]))


def takes_own_mask(model: Any) -> bool:
    """Whether several completions may stand in one row, told apart by a mask of ours."""
    config = base_of(model).config
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    # A family's language model may be of another: what counts is what this one does.
    plain = config.model_type in _PLAINLY_CAUSAL and _kinds_of_layers(model) == {"full_attention"} and not capped
    return plain and attention_of(model) in ("sdpa", "eager", OWN_ATTENTION)


def takes_mask_by_rule(model: Any) -> bool:
    """Whether masks need not be written out: FlexAttention has no gradients on a CPU."""
    on_gpu = next(core_of(model).parameters()).device.type == "cuda"
    return on_gpu and takes_own_mask(model) and attention_of(model) != "eager"


def attention_of(model: Any) -> str:
    """The name of the implementation of attention in the language model."""
    return str(base_of(model).config.get_text_config()._attn_implementation)


def prompt_positions(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Positions of left-padded prompts: (N, P), or (3, N, P) where images take positions in time, height and width."""
    core, mask = core_of(model), inputs["attention_mask"]
    if hasattr(core, "get_rope_index") and inputs.get("image_grid_thw") is not None:
        positions, _ = core.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=mask,
        )
        return positions
    return in_all_axes(model, (mask.cumsum(1) - 1).clamp(min=0))


def next_positions(positions: torch.Tensor) -> Int[torch.Tensor, " n"]:
    """The position that the token after each left-padded prompt takes."""
    highest = positions.amax(dim=(0, 2)) if positions.dim() == 3 else positions.amax(dim=1)
    return highest + 1


def in_all_axes(model: Any, positions: Int[torch.Tensor, "r s"]) -> torch.Tensor:
    """Positions of text in the form the family takes: as they are, or the same in time, height and width."""
    return positions.expand(3, -1, -1) if hasattr(core_of(model), "get_rope_index") else positions
