"""Weights as a folder has them: whole, or quantised, which other packages read where they are installed."""

from __future__ import annotations

from typing import Any, Final

import torch
from transformers import AutoModelForImageTextToText
from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

from earshot.errors import ModelError, first_line
from earshot.vlm.folder import CONFIG

# Of bitsandbytes' 4-bit layers: at their first pass on some CPUs they put their weights into another order, from which
# 0.50 does not find its way back where they are saved, hashed or written out.
_REORDERS: Final = "support_avx512bf16_for_cpu"


def read_weights(source: str, config: Any, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """The model of a folder or a hub id, and what transformers tells of its loading.

    Raises:
        ModelError: Its weights are quantised, and cannot be read here; the method is named, and what is missing.
    """
    method = quantisation(config)
    if method is not None and method not in AUTO_QUANTIZER_MAPPING:  # transformers would take them for whole
        raise ModelError(f"{source}: its weights are quantised by {method!r}, which transformers does not know")
    try:
        model, found = AutoModelForImageTextToText.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except Exception as error:  # each of these packages has its own
        if "ignore_mismatched_sizes" in str(error):
            raise ModelError(
                f"{source}: its weights have other shapes than {CONFIG} tells of; copy it again"
            ) from error
        if method is None:
            raise
        raise ModelError(f"{source}: its weights are quantised by {method!r}: {first_line(error)}") from error
    scales = [key for key in sorted(found["unexpected_keys"]) if "weight_scale" in key or key.endswith(".SCB")]
    if scales:  # transformers would leave them out of the weights
        raise ModelError(f"{source}: {scales[0]!r} is of quantised weights, and config.json does not say so")
    for module in model.modules():
        if hasattr(module, _REORDERS):
            setattr(module, _REORDERS, False)
    if method is not None and not model.is_quantized:  # transformers has written them out
        for parameter in model.parameters():  # some have the precision of their scales; buffers are as they must be
            parameter.data = parameter.data.to(dtype)
        model = _whole(model)
    return model, found


def _whole(model: Any) -> Any:
    """A model that was quantised, as one that never was: transformers would quantise it again where it is saved."""
    model._weight_conversions = None
    return model


def quantisation(config: Any) -> str | None:
    """By what the weights of a model are quantised, as transformers calls it; None where they are whole."""
    text = config.get_text_config(decoder=True)
    told = getattr(config, "quantization_config", None) or getattr(text, "quantization_config", None)
    if told is None:
        return None
    told = told if isinstance(told, dict) else told.to_dict()
    for bits in ("4bit", "8bit"):
        if told.get(f"load_in_{bits}"):
            return f"bitsandbytes_{bits}"
    return str(told.get("quant_method"))


def merged(adapted: Any) -> Any:
    """A model of PEFT's with its adapter merged into the weights; those of a quantised base are written out first.

    Merged into quantised weights, what the adapter has learned would be rounded to the few values that they have.
    """
    if not getattr(adapted.get_base_model(), "is_quantized", False):
        return adapted.merge_and_unload()
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    learned, config = get_peft_model_state_dict(adapted), adapted.active_peft_config
    whole = get_peft_model(_whole(adapted.unload().dequantize()), config)
    set_peft_model_state_dict(whole, learned)
    return whole.merge_and_unload()
