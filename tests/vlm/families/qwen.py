"""Qwen's vision-language models, and InternVL and LLaVA-OneVision, which stand on Qwen's vocabulary.

Mechanisms: positions in three axes (2, 2.5), features that enter at several layers (3), experts (3 MoE), linear
attention (3.5), a template that opens `<think>` (3 Thinking, 3.5), images of one size (InternVL), tiles in two lists of
sizes and `batch_num_images` (OneVision).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import transformers

from tests.vlm.families.family import CLIP, HALF, HIDDEN, IMAGENET, TEXT, USUAL, VISION, Family, Tokens

_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_TOKENIZER = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "model_max_length": 32_768}
_THINK = ("<think>", "</think>")

_TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}IMAGE{% elif c.type == 'text' %}{{ c.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
)
_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
_QWEN_TURNS = _TURNS.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
_ASSISTANT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_THINKING = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
_MAYBE_THINKING = (
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}{% endif %}"
)


def _generation(t: Tokens, **more: Any) -> dict[str, Any]:
    ends = [t["<|im_end|>"], t["<|endoftext|>"]]
    return {"pad_token_id": t["<|endoftext|>"], "do_sample": True, "eos_token_id": ends, **more}


def _image_ids(t: Tokens) -> dict[str, int]:
    return {
        "image_token_id": t["<|image_pad|>"],
        "video_token_id": t["<|video_pad|>"],
        "vision_start_token_id": t["<|vision_start|>"],
        "vision_end_token_id": t["<|vision_end|>"],
    }


def _text(t: Tokens, rope: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 1e6, **rope}
    return {
        **TEXT,
        "vocab_size": t.rounded,
        "bos_token_id": t["<|endoftext|>"],
        "eos_token_id": t["<|im_end|>"],
        "rope_parameters": rope,
        **more,
    }


def _qwen2(version: str, vision: Mapping[str, Any], t: Tokens) -> Any:
    config = getattr(transformers, f"{version}Config")
    text = _text(t, {"mrope_section": [2, 3, 3]}, tie_word_embeddings=False)
    return config(text_config=text, vision_config=dict(vision), **_image_ids(t), tie_word_embeddings=False)


def _qwen2_images(version: str) -> dict[str, Mapping[str, Any]]:
    sizes = {"min_pixels": 28 * 28 * 4, "max_pixels": 28 * 28 * 16, "patch_size": 14}
    return {
        "preprocessor_config.json": {
            **sizes,
            "merge_size": 2,
            "temporal_patch_size": 2,
            **CLIP,
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": f"{version}Processor",
        }
    }


_QWEN2_5_VISION = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 4,
    "out_hidden_size": HIDDEN,
    "fullatt_block_indexes": [1],
    "window_size": 56,
    "patch_size": 14,
}
_QWEN2_VISION = {"depth": 2, "embed_dim": 64, "hidden_size": HIDDEN, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14}

QWEN2_5_VL = Family(
    name="qwen2_5_vl",
    special=_SPECIAL,
    tokenizer=_TOKENIZER,
    config=partial(_qwen2, "Qwen2_5_VL", _QWEN2_5_VISION),
    files=_qwen2_images("Qwen2_5_VL"),
    chat=_SYSTEM + _QWEN_TURNS + _ASSISTANT,
    generation=partial(_generation, repetition_penalty=1.05, temperature=1e-6),
    chat_in=("json", "tokenizer"),
)
QWEN2_VL = replace(
    QWEN2_5_VL,
    name="qwen2_vl",
    config=partial(_qwen2, "Qwen2VL", _QWEN2_VISION),
    files=_qwen2_images("Qwen2VL"),
    generation=partial(_generation, temperature=0.01, top_k=1, top_p=0.001),
)

_QWEN3_IMAGES = {
    "preprocessor_config.json": {
        "size": {"longest_edge": 32 * 32 * 16, "shortest_edge": 32 * 32 * 4},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        **HALF,
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    },
    "video_preprocessor_config.json": {
        "size": {"longest_edge": 25_165_824, "shortest_edge": 4_096},
        "patch_size": 16,
        "temporal_patch_size": 2,
        "merge_size": 2,
        **HALF,
        "video_processor_type": "Qwen3VLVideoProcessor",
        "processor_class": "Qwen3VLProcessor",
    },
}
_QWEN3_VISION = {
    "depth": 3,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 4,
    "out_hidden_size": HIDDEN,
    "patch_size": 16,
    "num_position_embeddings": 64,
}
_EXPERTS = {"moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2}


def _qwen3(version: str, tied: bool, more: Mapping[str, Any], t: Tokens) -> Any:
    rope = {"mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = _text(t, rope, num_hidden_layers=4, head_dim=16, tie_word_embeddings=tied, **more)
    vision = {**_QWEN3_VISION, "deepstack_visual_indexes": [0, 1, 2]}
    config = getattr(transformers, f"{version}Config")
    return config(text_config=text, vision_config=vision, **_image_ids(t), tie_word_embeddings=tied)


def _qwen3_5(version: str, more: Mapping[str, Any], t: Tokens) -> Any:
    rope = {"mrope_section": [2, 1, 1], "mrope_interleaved": True, "partial_rotary_factor": 0.25}
    linear = {
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    }
    text = _text(t, rope, num_hidden_layers=4, head_dim=32, tie_word_embeddings=True, **linear, **more)
    config = getattr(transformers, f"{version}Config")
    return config(text_config=text, vision_config=_QWEN3_VISION, **_image_ids(t), tie_word_embeddings=True)


QWEN3_VL = Family(
    name="qwen3_vl",
    special=_SPECIAL,
    plain=_THINK,
    tokenizer=_TOKENIZER,
    config=partial(_qwen3, "Qwen3VL", True, {}),
    files=_QWEN3_IMAGES,
    chat=_QWEN_TURNS + _ASSISTANT,
    generation=partial(_generation, top_p=0.8, top_k=20, temperature=0.7),
    chat_in=("json", "tokenizer"),
)
QWEN3_VL_THINKING = replace(
    QWEN3_VL,
    name="qwen3_vl_thinking",
    config=partial(_qwen3, "Qwen3VL", False, {}),
    chat=_QWEN_TURNS + _THINKING,
)
QWEN3_VL_MOE = replace(
    QWEN3_VL,
    name="qwen3_vl_moe",
    config=partial(_qwen3, "Qwen3VLMoe", False, {**_EXPERTS, "decoder_sparse_step": 1}),
)
QWEN3_5 = replace(
    QWEN3_VL,
    name="qwen3_5",
    config=partial(_qwen3_5, "Qwen3_5", {}),
    chat=_QWEN_TURNS + _MAYBE_THINKING,
    generation=partial(_generation, top_p=0.95, top_k=20, temperature=0.6),
    chat_in=("jinja",),
)
QWEN3_5_MOE = replace(
    QWEN3_5,
    name="qwen3_5_moe",
    config=partial(_qwen3_5, "Qwen3_5Moe", {**_EXPERTS, "shared_expert_intermediate_size": 64}),
)


def _plain_text(t: Tokens, size: int, **more: Any) -> dict[str, Any]:
    ids = {"bos_token_id": t["<|endoftext|>"], "eos_token_id": t["<|im_end|>"]}
    return {**TEXT, "model_type": "qwen2", "vocab_size": size, **ids, "tie_word_embeddings": False, **more}


def _internvl(t: Tokens) -> Any:
    return transformers.InternVLConfig(
        text_config=_plain_text(t, t.size),  # as on the hub, one row short of the vocabulary: `<video>` has none
        vision_config={**VISION, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=t["<IMG_CONTEXT>"],
        image_seq_length=4,
        tie_word_embeddings=False,
    )


_INTERNVL_NAMES = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_INTERNVL_SIZE = {"size": {"height": 56, "width": 56}, **USUAL, **IMAGENET, "processor_class": "InternVLProcessor"}

INTERNVL = Family(
    name="internvl",
    special=(*_SPECIAL, "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"),
    beyond_head=("<video>",),
    tokenizer={**_TOKENIZER, **_INTERNVL_NAMES, "extra_special_tokens": _INTERNVL_NAMES},
    config=_internvl,
    files={
        "preprocessor_config.json": {
            **_INTERNVL_SIZE,
            "crop_to_patches": False,
            "do_convert_rgb": True,
            "min_patches": 1,
            "max_patches": 12,
            "resample": 3,
            "image_processor_type": "GotOcr2ImageProcessorFast",
        },
        "processor_config.json": {"image_seq_length": 4, "processor_class": "InternVLProcessor"},
        "video_preprocessor_config.json": {**_INTERNVL_SIZE, "video_processor_type": "InternVLVideoProcessor"},
    },
    chat=_TURNS.replace("IMAGE", "<IMG_CONTEXT>\n") + _ASSISTANT,
    generation=lambda t: {"eos_token_id": t["<|im_end|>"], "pad_token_id": t["<|endoftext|>"]},
)

_GRID = [[56 * a, 56 * b] for a in range(1, 4) for b in range(1, 4)]
_ONEVISION_NAMES = {"image_token": "<image>", "video_token": "<video>"}
_ONEVISION_SIZE = {"size": {"height": 56, "width": 56}, **USUAL, **CLIP, "do_convert_rgb": True, "resample": 3}


def _onevision(t: Tokens) -> Any:
    return transformers.LlavaOnevisionConfig(
        text_config=_plain_text(t, t.rounded, tie_word_embeddings=True),
        vision_config={
            **VISION,
            "model_type": "siglip_vision_model",
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        image_token_index=t["<image>"],
        video_token_index=t["<video>"],
        image_grid_pinpoints=_GRID,
        vision_aspect_ratio="anyres_max_9",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )


LLAVA_ONEVISION = Family(
    name="llava_onevision",
    special=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
    tokenizer={**_TOKENIZER, **_ONEVISION_NAMES, "extra_special_tokens": _ONEVISION_NAMES},
    config=_onevision,
    files={
        "preprocessor_config.json": {
            **_ONEVISION_SIZE,
            "do_pad": True,
            "image_grid_pinpoints": _GRID,
            "image_processor_type": "LlavaOnevisionImageProcessor",
            "processor_class": "LlavaOnevisionProcessor",
        },
        "video_preprocessor_config.json": {
            **_ONEVISION_SIZE,
            "video_processor_type": "LlavaOnevisionVideoProcessor",
            "processor_class": "LlavaOnevisionProcessor",
        },
        "processor_config.json": {
            **_ONEVISION_NAMES,
            "num_image_tokens": 16,
            "vision_feature_select_strategy": "full",
            "processor_class": "LlavaOnevisionProcessor",
        },
    },
    chat=(
        "{% for m in messages %}<|im_start|>{{ m.role }} {% if m.content is string %}\n{{ m.content }}{% else %}"
        "{% for c in m.content if c.type == 'image' %}<image>{% endfor %}"
        "{% for c in m.content if c.type == 'text' %}\n{{ c.text }}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
        + _ASSISTANT
    ),
    generation=partial(_generation, temperature=0.7, top_k=20, top_p=0.8, repetition_penalty=1.1),
    chat_in=("json", "tokenizer"),
)

FAMILIES = (
    QWEN2_5_VL,
    QWEN2_VL,
    QWEN3_VL,
    QWEN3_VL_THINKING,
    QWEN3_VL_MOE,
    QWEN3_5,
    QWEN3_5_MOE,
    INTERNVL,
    LLAVA_ONEVISION,
)
