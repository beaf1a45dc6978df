"""A small model of any family: the config of a real one with few, narrow layers, and random weights.

What the processor and the tokenizer agree on with the model (patches, image tokens, the vocabulary) stays as it is, and
so does every kind of layer. A config of transformers says all of this under names that families share; the rules are
those names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import torch
from transformers import AutoModelForImageTextToText, GenerationConfig

from earshot.errors import ModelError, ModelOutOfReach, first_line
from earshot.vlm.hub import reachable_or_offline
from earshot.vlm.model import Vlm
from earshot.vlm.tiny import draw_weights

WIDTH: Final = 64
_HEADS = 2
_HEAD_SIZE = WIDTH // _HEADS
_MOST_PARAMETERS = 100_000_000  # most of them embeddings: 250,000 tokens are 16 to 32 million
_LAYERS = ("num_hidden_layers", "depth", "num_layers", "resampler_depth", "encoder_layers")
_INDEXES = ("indexes", "indices", "_layers")
_WIDTHS = re.compile(r"\w*hidden_size\w*|d_model|\w*embed_dim|projection_dim|proj\w*_dim|\w*output_dim|\w*lora_rank")
_INNER_WIDTHS = re.compile(r"\w*intermediate_size\w*|\w*ffn_dim|mlp_dim")
_HEAD_SIZES = re.compile(r"\w*head_dim")
_NUMBERS_OF_HEADS = re.compile(r"\w*heads")
_AT_MOST = {
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_global_layers"), 1),
    "base_channels": 32,
}


def small_model(real: Vlm, seed: int = 0) -> Vlm:
    """A small, random model of the family, with the tokenizer, processor and prompts of the real one.

    Args:
        real: A model as `load(weights=False)` gives it: of its weights nothing is needed.
        seed: Of the weights.

    Raises:
        ModelError: The config has constraints that break when it is made small; the message gives the first.
    """
    config = real.model.config
    torch.manual_seed(seed)
    try:
        model = AutoModelForImageTextToText.from_config(small_config(config), dtype=torch.float32)
        draw_weights(model)
        vlm = replace(real, model=model)
        with torch.no_grad():
            model.eval()(**vlm.grey_question())
    except Exception as error:  # whatever a family's code raises where sizes do not fit together
        raise _cannot(real, f"{type(error).__name__}: {first_line(error)}") from error
    if (size := model.num_parameters()) > _MOST_PARAMETERS:
        raise _cannot(real, f"{size:,} weights are left, expected at most {_MOST_PARAMETERS:,}")
    source = config._name_or_path
    with suppress(OSError, ModelOutOfReach), reachable_or_offline(source):  # a folder may have no such file
        model.generation_config = GenerationConfig.from_pretrained(source)
    return vlm


def _cannot(real: Vlm, why: str) -> ModelError:
    return ModelError(
        f"{real.name}: a model of type {real.model.config.model_type} cannot be rehearsed small: made narrow by rule, "
        f"its config breaks ({why}); rehearse it with its own weights, in a run with trl.max_steps=1"
    )


def small_config(config: Any) -> Any:
    """The config of the same class with few, narrow layers: each kind of layer stays, widths keep their order."""
    told = config.to_dict()
    told.pop("quantization_config", None)
    return type(config).from_dict(_small(told, config.get_text_config().hidden_size))


def _small(part: Mapping[str, Any], width: int) -> dict[str, Any]:
    """A config or one of its parts; `width` is that of the language model, for parts that do not give their own."""
    width = next((part[n] for n in ("hidden_size", "d_model") if isinstance(part.get(n), int)), width)
    small: dict[str, Any] = {
        name: _small(v, width) if name.endswith("_config") and isinstance(v, dict) else v for name, v in part.items()
    }
    small |= _fewer_layers(part)
    heads = {n: v for n, v in part.items() if _NUMBERS_OF_HEADS.fullmatch(n) and isinstance(v, int)}
    sizes = {n: v for n, v in part.items() if _HEAD_SIZES.fullmatch(n) and isinstance(v, int)}
    for name, value in part.items():
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if name in heads:
            small[name] = 1 if "key" in name and value < max(heads.values()) else _HEADS
        elif name in sizes:
            small[name] = round(_HEAD_SIZE * value / min(sizes.values()))
        elif name in _AT_MOST:
            small[name] = min(value, _AT_MOST[name])
        elif _INNER_WIDTHS.fullmatch(name):
            small[name] = WIDTH * min(max(round(value / width), 1), 8)
        elif _WIDTHS.fullmatch(name):
            small[name] = min(value, WIDTH)
    for own in small.get("per_layer_config", {}).values():  # what single layers have of their own
        own |= {n: round(_HEAD_SIZE * v / min(sizes.values())) for n, v in own.items() if n in sizes}
    if "intermediate_layers_indices" in small:  # what these layers make stands beside what the last one makes
        small["vision_output_dim"] = WIDTH * (1 + len(small["intermediate_layers_indices"]))
    if isinstance(rope := part.get("rope_parameters"), dict):
        small["rope_parameters"] = _narrower_rope(rope, small.get("head_dim") or _HEAD_SIZE)
    if (feature := part.get("vision_feature_layer")) is not None:
        several = feature if isinstance(feature, Sequence) else [feature]
        kept = [max(layer, -2) if layer < 0 else min(layer, 2) for layer in several]
        small["vision_feature_layer"] = kept if isinstance(feature, Sequence) else kept[0]
    return small


def _fewer_layers(part: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that count, list and name layers, for the first layer of every kind, and two at least."""
    counted = next((n for n in _LAYERS if isinstance(part.get(n), int)), None)
    if counted is None or (layers := part[counted]) <= 2:
        return {}
    several = {name: list(value) for name, value in part.items() if isinstance(value, list | tuple) and value}
    indexes = {n: v for n, v in several.items() if n.endswith(_INDEXES) and v == sorted({*v})}
    lists = {n: v for n, v in several.items() if "layer" in n and n not in indexes and len(v) == layers}
    singles = {int(k): dict(v) for k, v in part.get("per_layer_config", {}).items()}
    first, last = (part.get(n) or 0 for n in ("first_k_dense_replace", "num_kv_shared_layers"))
    kinds: dict[Any, int] = {}
    for k in range(layers):
        named = (*(v[k] for v in lists.values()), *(k in v for v in indexes.values()), k < first, k >= layers - last)
        kinds.setdefault(named, k)
    kept = sorted(kinds.values()) if len(kinds) > 1 else [0, 1]
    return {
        counted: len(kept),
        **{n: [v[k] for k in kept] for n, v in lists.items()},
        **{n: [at for at, k in enumerate(kept) if k in v] for n, v in indexes.items()},
        **({"per_layer_config": {at: singles[k] for at, k in enumerate(kept) if k in singles}} if singles else {}),
        **({"first_k_dense_replace": sum(k < first for k in kept)} if first else {}),
        **({"num_kv_shared_layers": sum(k >= layers - last for k in kept)} if last else {}),
    }


def _narrower_rope(rope: Mapping[str, Any], size: int) -> dict[str, Any]:
    """Rotary positions for heads of this size: its sections for time, height and width keep their proportions."""
    narrow = {name: _narrower_rope(v, size) if isinstance(v, dict) else v for name, v in rope.items()}
    if sections := rope.get("mrope_section"):
        total = int(size * rope.get("partial_rotary_factor", 1.0)) // 2
        parts = [total * one // sum(sections) for one in sections]
        short = total - sum(parts)
        narrow["mrope_section"] = [one + (k < short) for k, one in enumerate(parts)]
    return narrow
