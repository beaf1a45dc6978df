"""What the engine needs to know of a model: what is inside its wrappers, positions, and whether prefixes can be shared.

Shapes: N prompts, P prompt tokens (padded on the left), R rows, S suffix tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int

# Families whose language model masks nothing but the future, so that a mask of ours may stand in for theirs.
_PLAINLY_CAUSAL = frozenset({"llava", "qwen2_vl", "qwen2_5_vl"})
OWN_ATTENTION = "earshot"  # `vlm.prefix.attention`, which is sdpa where nothing else is asked of it
_LOGIT_SCALES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def base_of(model: Any) -> Any:
    """The transformers model with its head, inside wrappers such as DDP's and PEFT's."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def core_of(model: Any) -> Any:
    """The model without its head: text and images in, hidden states out."""
    return base_of(model).model


def is_distributed(model: Any) -> bool:
    """Whether its gradients are gathered by a wrapper, which must then see every forward pass."""
    return hasattr(model, "module")


def has_plain_head(model: Any) -> bool:
    """Whether logits are nothing but the output embedding of the hidden state."""
    text = base_of(model).config.get_text_config()
    return all(getattr(text, name, None) in (None, 1.0) for name in _LOGIT_SCALES)


def checkpoints_layers(model: Any) -> bool:
    """Whether layers are recomputed in the backward pass; they then take and give no cache."""
    modules = base_of(model).modules() if model.training else ()
    return any(getattr(module, "gradient_checkpointing", False) for module in modules)


def reason_against_sharing(model: Any, tokens: int) -> str | None:
    """Why prefixes cannot be shared with this model for rows of so many tokens; None where they can."""
    text = base_of(model).config.get_text_config()
    window = getattr(text, "sliding_window", None)
    kinds = set(getattr(text, "layer_types", None) or (["sliding_attention"] if window else ["full_attention"]))
    if other := kinds - {"full_attention", "sliding_attention"}:
        return f"it has {' and '.join(sorted(other))} layers"
    if "sliding_attention" in kinds and (window or 0) < tokens:
        return f"its attention slides over {window} tokens and rows have {tokens}"
    return None


def takes_own_mask(model: Any) -> bool:
    """Whether several completions may stand in one row, told apart by a mask of ours."""
    config = base_of(model).config
    return config.model_type in _PLAINLY_CAUSAL and attention_of(model) in ("sdpa", "eager", OWN_ATTENTION)


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


def cache_before(cache: Any, tokens: int) -> Any:
    """The first so many tokens of a cache, which stays as it is; gradients flow back into it."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in copied.layers:
        layer.keys, layer.values = layer.keys[:, :, :tokens], layer.values[:, :, :tokens]
    return copied


def cache_rows(cache: Any, rows: Int[torch.Tensor, " r"]) -> Any:
    """A cache whose row `i` is row `rows[i]` of the given one, which stays as it is; gradients flow back into it."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]  # layers exchange their tensors, never write in them
    copied.batch_select_indices(rows)
    return copied
