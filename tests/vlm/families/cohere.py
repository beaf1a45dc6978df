"""Cohere's families: sliding layers whose cache is cut, a scale on the logits, tiles written out in the text."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import transformers

from tests.vlm.families.family import HALF, TEXT, USUAL, VISION, Family, Tokens

_SPECIAL = (
    "<PAD>",
    "<UNK>",
    "<BOS_TOKEN>",
    "<EOS_TOKEN>",
    "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|USER_TOKEN|>",
    "<|CHATBOT_TOKEN|>",
    "<|SYSTEM_TOKEN|>",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
    "<|START_OF_IMG|>",
    "<|END_OF_IMG|>",
    "<|IMG_PATCH|>",
    "<|IMG_LINE_BREAK|>",
)
_TOKENIZER = {
    "bos_token": "<BOS_TOKEN>",
    "eos_token": "<|END_OF_TURN_TOKEN|>",
    "pad_token": "<PAD>",
    "unk_token": "<UNK>",
    "model_max_length": 16_384,
}
_CHAT = (
    "<BOS_TOKEN>{% for m in messages %}<|START_OF_TURN_TOKEN|>"
    "{% if m.role == 'assistant' %}<|CHATBOT_TOKEN|>{% else %}<|USER_TOKEN|>{% endif %}"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'image' %}IMAGE"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|END_OF_TURN_TOKEN|>{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>{% endif %}"
)


def _cohere(config: str, image: dict[str, str], window: int, t: Tokens) -> Any:
    text = {
        **TEXT,
        "model_type": "cohere2",
        "vocab_size": t.rounded,
        "num_hidden_layers": 4,
        "head_dim": 16,
        "sliding_window": window,
        "logit_scale": 0.25,
        "pad_token_id": t["<PAD>"],
        "bos_token_id": t["<BOS_TOKEN>"],
        "eos_token_id": t["<|END_OF_TURN_TOKEN|>"],
        "tie_word_embeddings": True,
    }
    vision = {
        **VISION,
        "model_type": "siglip_vision_model",
        "image_size": 56,
        "patch_size": 14,
        "vision_use_head": False,
    }
    return getattr(transformers, config)(
        text_config=text,
        vision_config=vision,
        downsample_factor=2,
        alignment_intermediate_size=128,
        tie_word_embeddings=True,
        **{name: t[token] for name, token in image.items()},
    )


_SIZE = {
    **USUAL,
    **HALF,
    "size": {"height": 56, "width": 56},
    "crop_to_patches": True,
    "do_convert_rgb": True,
    "min_patches": 1,
    "max_patches": 4,
    "resample": 3,
}

AYA_VISION = Family(
    name="aya_vision",
    special=(*_SPECIAL, "<image>", "TILE_GLOBAL", *(f"TILE_{n}" for n in range(1, 13)), "TILE"),
    tokenizer=_TOKENIZER,
    config=partial(_cohere, "AyaVisionConfig", {"image_token_index": "<|IMG_PATCH|>"}, 4_096),
    files={
        "preprocessor_config.json": {
            **_SIZE,
            "image_processor_type": "GotOcr2ImageProcessorFast",
            "processor_class": "AyaVisionProcessor",
        },
        "processor_config.json": {
            "downsample_factor": 2,
            "img_size": 56,
            "patch_size": 14,
            "image_token": "<image>",
            "start_of_img_token": "<|START_OF_IMG|>",
            "end_of_img_token": "<|END_OF_IMG|>",
            "img_patch_token": "<|IMG_PATCH|>",
            "img_line_break_token": "<|IMG_LINE_BREAK|>",
            "tile_token": "TILE",
            "tile_global_token": "TILE_GLOBAL",
            "processor_class": "AyaVisionProcessor",
        },
    },
    chat=_CHAT.replace("IMAGE", "<image>"),
    generation=lambda t: {
        "bos_token_id": t["<BOS_TOKEN>"],
        "eos_token_id": t["<|END_OF_TURN_TOKEN|>"],
        "pad_token_id": t["<PAD>"],
    },
    chat_in=("json",),
    adds_bos=True,
)
AYA_VISION_SHORT = replace(
    AYA_VISION,
    name="aya_vision_short_window",
    config=partial(_cohere, "AyaVisionConfig", {"image_token_index": "<|IMG_PATCH|>"}, 96),
)

_COHERE2_NAMES = {
    "boi_token": "<|START_OF_IMG|>",
    "eoi_token": "<|END_OF_IMG|>",
    "image_token": "<|IMG_PATCH|>",
    "img_line_break_token": "<|IMG_LINE_BREAK|>",
}
COHERE2_VISION = replace(
    AYA_VISION,
    name="cohere2_vision",
    special=_SPECIAL,
    tokenizer={**_TOKENIZER, **_COHERE2_NAMES, "extra_special_tokens": _COHERE2_NAMES},
    config=partial(_cohere, "Cohere2VisionConfig", {"image_token_id": "<|IMG_PATCH|>"}, 4_096),
    files={
        "preprocessor_config.json": {
            **_SIZE,
            "downsample_factor": 2,
            "patch_size": 2,  # tokens along a side of a tile
            "image_processor_type": "Cohere2VisionImageProcessorFast",
            "processor_class": "Cohere2VisionProcessor",
        },
        "processor_config.json": {"processor_class": "Cohere2VisionProcessor"},
    },
    chat=_CHAT.replace("IMAGE", "<|IMG_PATCH|>"),
    needs_torchvision=True,
)

FAMILIES = (AYA_VISION, AYA_VISION_SHORT, COHERE2_VISION)
