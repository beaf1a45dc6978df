"""Gemma and PaliGemma.

Gemma 3: newlines and tabs are added tokens, an image's tokens see one another both ways, most layers attend in a
window. Gemma 4, small: layers share keys and values, and have embeddings of their own; large: keys are values.
PaliGemma 2: the whole prompt sees itself both ways, and there is no chat template.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import transformers

from tests.vlm.families.family import HALF, HIDDEN, TEXT, USUAL, VISION, Family, Tokens

_SPECIAL = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)
_NAMES = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
_CHAT = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{% if m.content is string %}{{ m.content | trim }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<start_of_image>{% elif c.type == 'text' %}{{ c.text | trim }}{% endif %}{% endfor %}"
    "{% endif %}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def _gemma3(window: int, t: Tokens) -> Any:
    text = {
        **TEXT,
        "vocab_size": t.rounded,
        "num_hidden_layers": 7,  # five that slide, one that does not, one that slides
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": window,
        "bos_token_id": t["<bos>"],
        "eos_token_id": t["<eos>"],
        "pad_token_id": t["<pad>"],
    }
    return transformers.Gemma3Config(
        text_config=text,
        vision_config={**VISION, "model_type": "siglip_vision_model", "image_size": 112, "patch_size": 14},
        mm_tokens_per_image=16,
        boi_token_index=t["<start_of_image>"],
        eoi_token_index=t["<end_of_image>"],
        image_token_index=t["<image_soft_token>"],
    )


GEMMA3 = Family(
    name="gemma3",
    special=_SPECIAL,
    plain=("\n", "\n\n", "\t", "<b>"),
    tokenizer={
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        **_NAMES,
        "extra_special_tokens": _NAMES,
    },
    config=partial(_gemma3, 4_096),
    files={
        "preprocessor_config.json": {
            **USUAL,
            **HALF,
            "size": {"height": 112, "width": 112},
            "resample": 2,
            "image_seq_length": 16,
            "image_processor_type": "Gemma3ImageProcessor",
            "processor_class": "Gemma3Processor",
        },
        "processor_config.json": {"image_seq_length": 16, "processor_class": "Gemma3Processor"},
    },
    chat=_CHAT,
    generation=lambda t: {
        "bos_token_id": t["<bos>"],
        "eos_token_id": [t["<eos>"], t["<end_of_turn>"]],
        "pad_token_id": t["<pad>"],
        "do_sample": True,
        "top_k": 64,
        "top_p": 0.95,
    },
    chat_in=("json", "tokenizer"),
    adds_bos=True,
)
GEMMA3_SHORT = replace(GEMMA3, name="gemma3_short_window", config=partial(_gemma3, 96))

_GEMMA4_NAMES = {
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "image_token": "<|image|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
    "audio_token": "<|audio|>",
}
_GEMMA4_PATCHES = {"patch_size": 4, "pooling_kernel_size": 3}


def _gemma4(more: dict[str, Any], t: Tokens) -> Any:
    text = {
        **TEXT,
        "vocab_size": t.rounded,
        "vocab_size_per_layer_input": t.rounded,
        "num_hidden_layers": 6,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2,
        "head_dim": 16,
        "global_head_dim": 16,
        "sliding_window": 96,
        "final_logit_softcapping": 30.0,
        "bos_token_id": t["<bos>"],
        "eos_token_id": t["<eos>"],
        "pad_token_id": t["<pad>"],
        **more,
    }
    vision = {**VISION, "num_key_value_heads": 4, "head_dim": 16, "position_embedding_size": 256, **_GEMMA4_PATCHES}
    return transformers.Gemma4Config(
        text_config=text,
        vision_config=vision,
        audio_config=None,
        boi_token_id=t["<|image>"],
        eoi_token_id=t["<image|>"],
        image_token_id=t["<|image|>"],
        video_token_id=t["<|video|>"],
        boa_token_id=t["<|audio>"],
        eoa_token_index=t["<audio|>"],
        audio_token_id=t["<|audio|>"],
    )


GEMMA4 = Family(
    name="gemma4",
    special=("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", *_GEMMA4_NAMES.values(), "<|video|>"),
    tokenizer={
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        **_GEMMA4_NAMES,
        "extra_special_tokens": _GEMMA4_NAMES,
    },
    config=partial(_gemma4, {"num_kv_shared_layers": 3, "hidden_size_per_layer_input": 16}),
    files={
        "processor_config.json": {
            "processor_class": "Gemma4Processor",
            "image_seq_length": 70,
            "image_processor": {
                **USUAL,
                **_GEMMA4_PATCHES,
                "do_normalize": False,
                "max_soft_tokens": 70,
                "image_processor_type": "Gemma4ImageProcessor",
            },
            "feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"},
            "video_processor": {**_GEMMA4_PATCHES, "video_processor_type": "Gemma4VideoProcessor"},
        },
    },
    chat=(
        "{{ bos_token }}{% for m in messages %}<|turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
        "{% if m.content is string %}{{ m.content | trim }}{% else %}{% for c in m.content %}"
        "{% if c.type == 'image' %}<|image|>{% elif c.type == 'text' %}{{ c.text | trim }}{% endif %}{% endfor %}"
        "{% endif %}<turn|>\n{% endfor %}{% if add_generation_prompt %}<|turn>model\n{% endif %}"
    ),
    generation=lambda t: {
        "bos_token_id": t["<bos>"],
        "eos_token_id": [t["<eos>"], t["<turn|>"]],
        "pad_token_id": t["<pad>"],
        "do_sample": True,
        "top_k": 64,
        "top_p": 0.95,
    },
    adds_bos=True,
)
GEMMA4_LARGE = replace(
    GEMMA4,
    name="gemma4_large",
    config=partial(
        _gemma4,
        {"hidden_size_per_layer_input": 0, "attention_k_eq_v": True, "use_bidirectional_attention": "vision"},
    ),
)


def _paligemma2(t: Tokens) -> Any:
    text = {
        **TEXT,
        "model_type": "gemma2",
        "vocab_size": t.rounded,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 4_096,
        "bos_token_id": t["<bos>"],
        "eos_token_id": t["<eos>"],
        "pad_token_id": t["<pad>"],
    }
    vision = {
        **VISION,
        "model_type": "siglip_vision_model",
        "image_size": 56,
        "patch_size": 14,
        "vision_use_head": False,
        "projection_dim": HIDDEN,
    }
    return transformers.PaliGemmaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=t["<image>"],
        projection_dim=HIDDEN,
        hidden_size=HIDDEN,
    )


PALIGEMMA2 = Family(
    name="paligemma2",
    special=("<pad>", "<eos>", "<bos>", "<unk>", "<image>"),
    plain=("\n", "\t", "<b>", *(f"<loc{n:04d}>" for n in range(1024)), *(f"<seg{n:03d}>" for n in range(128))),
    tokenizer={
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "image_token": "<image>",
        "extra_special_tokens": {"image_token": "<image>"},
    },
    config=_paligemma2,
    files={
        "preprocessor_config.json": {
            **USUAL,
            **HALF,
            "size": {"height": 56, "width": 56},
            "resample": 3,
            "image_seq_length": 16,
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "PaliGemmaProcessor",
        }
    },
    chat=None,
    generation=lambda t: {"bos_token_id": t["<bos>"], "eos_token_id": t["<eos>"], "pad_token_id": t["<pad>"]},
)

FAMILIES = (GEMMA3, GEMMA3_SHORT, GEMMA4, GEMMA4_LARGE, PALIGEMMA2)
