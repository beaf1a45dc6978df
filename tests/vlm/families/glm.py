"""GLM-4.1V and 4.6V: positions in three axes over half of each head, several ends of a turn, answer tags as tokens."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import transformers

from tests.vlm.families.family import CLIP, HIDDEN, TEXT, Family, Tokens

_SPECIAL = (
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<|begin_of_image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|end_of_video|>",
    "<|image|>",
    "<|video|>",
)
_CHAT = (
    "[gMASK]<sop>{% for m in messages %}{% if m.role == 'user' %}<|user|>\n{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for c in m.content %}{% if c.type == 'image' %}<|begin_of_image|><|image|><|end_of_image|>"
    "{% elif c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "{% else %}<|assistant|>\n{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def _glm(version: str, t: Tokens) -> Any:
    rope = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [2, 1, 1],
        "partial_rotary_factor": 0.5,
    }
    text = {
        **TEXT,
        "model_type": "glm4v_text",
        "vocab_size": t.rounded,
        "rope_parameters": rope,
        "eos_token_id": [t["<|endoftext|>"], t["<|user|>"]],
        "pad_token_id": t["<|endoftext|>"],
        "tie_word_embeddings": False,
    }
    vision = {
        "model_type": "glm4v_vision",
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_heads": 4,
        "out_hidden_size": HIDDEN,
        "image_size": 112,
        "patch_size": 14,
    }
    return getattr(transformers, f"{version}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=t["<|image|>"],
        video_token_id=t["<|video|>"],
        image_start_token_id=t["<|begin_of_image|>"],
        image_end_token_id=t["<|end_of_image|>"],
        video_start_token_id=t["<|begin_of_video|>"],
        video_end_token_id=t["<|end_of_video|>"],
        tie_word_embeddings=False,
    )


def _images(version: str) -> dict[str, dict[str, Any]]:
    patches = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2, **CLIP}
    processor = {"processor_class": f"{version}Processor"}
    return {
        "preprocessor_config.json": {
            **patches,
            **processor,
            "size": {"shortest_edge": 28 * 28 * 4, "longest_edge": 28 * 28 * 32},
            "image_processor_type": f"{version}ImageProcessor",
        },
        "video_preprocessor_config.json": {
            **patches,
            **processor,
            "size": {"shortest_edge": 12_544, "longest_edge": 47_040_000},
            "video_processor_type": f"{version}VideoProcessor",
        },
    }


GLM4V = Family(
    name="glm4v",
    special=_SPECIAL,
    plain=("<think>", "</think>", "<answer>", "</answer>", "<|begin_of_box|>", "<|end_of_box|>", "/nothink"),
    tokenizer={"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "extra_special_tokens": list(_SPECIAL)},
    config=partial(_glm, "Glm4v"),
    files=_images("Glm4v"),
    chat=_CHAT,
    generation=lambda t: {
        "do_sample": True,
        "eos_token_id": [t["<|endoftext|>"], t["<|user|>"]],
        "pad_token_id": t["<|endoftext|>"],
        "temperature": 0.8,
        "top_k": 2,
        "top_p": 0.6,
    },
)
GLM46V = replace(GLM4V, name="glm46v", config=partial(_glm, "Glm46V"), files=_images("Glm46V"))

FAMILIES = (GLM4V, GLM46V)
