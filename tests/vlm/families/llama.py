"""Families on Llama's language model: Mllama (cross-attention to tiles), SmolVLM and Idefics 3 (tiles in the text)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
import transformers

from tests.vlm.families.family import CLIP, HALF, HIDDEN, TEXT, USUAL, VISION, Family, Tokens

_LLAMA3 = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|finetune_right_pad_id|>",
)
_LLAMA3_CHAT = (
    "{{- bos_token }}{%- for m in messages %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{%- if m.content is string %}{{- m.content }}{%- else %}{%- for c in m.content %}{%- if c.type == 'image' %}"
    "{{- '<|image|>' }}{%- elif c.type == 'text' %}{{- c.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)


def _mllama(t: Tokens) -> Any:
    ids = {"bos_token_id": t["<|begin_of_text|>"], "pad_token_id": t["<|finetune_right_pad_id|>"]}
    ends = [t["<|end_of_text|>"], t["<|eom_id|>"], t["<|eot_id|>"]]
    text = {
        **TEXT,
        **ids,
        "vocab_size": t.size,  # the head has no row for `<|image|>`, which comes after it
        "num_hidden_layers": 4,
        "cross_attention_layers": [1, 3],
        "eos_token_id": ends,
        "tie_word_embeddings": False,
    }
    vision = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "attention_heads": 4,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "image_size": 56,
        "patch_size": 14,
        "max_num_tiles": 4,
        "vision_output_dim": 3 * HIDDEN,
        "intermediate_layers_indices": [0, 1],
        "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    }
    return transformers.MllamaConfig(text_config=text, vision_config=vision, image_token_index=t["<|image|>"])


def _open_gates(model: torch.nn.Module) -> None:
    """Gates start at zero, and images would not be seen at all."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gate" in name and parameter.dim() <= 1:
                parameter.fill_(0.7)


MLLAMA = Family(
    name="mllama",
    special=_LLAMA3,
    beyond_head=("<|image|>",),
    tokenizer={
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|finetune_right_pad_id|>",
        "model_max_length": 131_072,
    },
    config=_mllama,
    files={
        "preprocessor_config.json": {
            **USUAL,
            **CLIP,
            "do_convert_rgb": True,
            "do_pad": True,
            "max_image_tiles": 4,
            "resample": 2,
            "size": {"height": 56, "width": 56},
            "image_processor_type": "MllamaImageProcessor",
            "processor_class": "MllamaProcessor",
        }
    },
    chat=_LLAMA3_CHAT,
    generation=lambda t: {
        "bos_token_id": t["<|begin_of_text|>"],
        "eos_token_id": [t["<|end_of_text|>"], t["<|eom_id|>"], t["<|eot_id|>"]],
        "pad_token_id": t["<|finetune_right_pad_id|>"],
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.9,
    },
    chat_in=("json",),
    adds_bos=True,
    ready=_open_gates,
)

_TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
_TILE_NAMES = {
    "fake_image_token": "<fake_token_around_image>",
    "image_token": "<image>",
    "end_of_utterance_token": "<end_of_utterance>",
    "global_image_token": "<global-img>",
}
_TILE_TURNS = (
    "{% for m in messages %}{{ m.role | capitalize }}"
    "{% if m.content[0]['type'] == 'image' %}:{% else %}: {% endif %}{% for c in m.content %}"
    "{% if c.type == 'text' %}{{ c.text }}{% elif c.type == 'image' %}<image>{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def _tiled(config: str, bos: str, end: str, pad: str, t: Tokens) -> Any:
    ids = {"bos_token_id": t[bos], "eos_token_id": t[end], "pad_token_id": t[pad]}
    text = {**TEXT, **ids, "model_type": "llama", "vocab_size": t.rounded, "tie_word_embeddings": False}
    return getattr(transformers, config)(
        text_config=text,
        vision_config={**VISION, "image_size": 64, "patch_size": 8},
        image_token_id=t["<image>"],
        scale_factor=4,
        tie_word_embeddings=False,
    )


def _tiled_images(prefix: str) -> dict[str, dict[str, Any]]:
    processor = {"processor_class": f"{prefix}Processor"}
    return {
        "preprocessor_config.json": {
            **USUAL,
            **HALF,
            **processor,
            "do_convert_rgb": True,
            "do_image_splitting": True,
            "do_pad": True,
            "max_image_size": {"longest_edge": 64},
            "size": {"longest_edge": 128},
            "resample": 1,
            "image_processor_type": f"{prefix}ImageProcessor",
        },
        "processor_config.json": {**processor, "image_seq_len": 4},
    }


SMOLVLM = Family(
    name="smolvlm",
    special=(
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
        "<repo_name>",
        *_TILE_NAMES.values(),
        *_TILES,
    ),
    tokenizer={
        "bos_token": "<|im_start|>",
        "eos_token": "<end_of_utterance>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        **_TILE_NAMES,
        "extra_special_tokens": _TILE_NAMES,
        "model_max_length": 8_192,
    },
    config=partial(_tiled, "SmolVLMConfig", "<|im_start|>", "<end_of_utterance>", "<|im_end|>"),
    files={
        **_tiled_images("SmolVLM"),
        "video_preprocessor_config.json": {
            **USUAL,
            **HALF,
            "size": {"longest_edge": 128},
            "max_image_size": {"longest_edge": 64},
            "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 64}},
            "video_processor_type": "SmolVLMVideoProcessor",
            "processor_class": "SmolVLMProcessor",
        },
    },
    chat="<|im_start|>" + _TILE_TURNS,
    generation=lambda t: {
        "bos_token_id": t["<|im_start|>"],
        "eos_token_id": t["<end_of_utterance>"],
        "pad_token_id": t["<|im_end|>"],
    },
    chat_in=("json", "tokenizer"),
)
IDEFICS3 = replace(
    SMOLVLM,
    name="idefics3",
    special=(*_LLAMA3, *_TILE_NAMES.values(), *_TILES),
    tokenizer={
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "pad_token": "<|finetune_right_pad_id|>",
        **_TILE_NAMES,
        "extra_special_tokens": _TILE_NAMES,
    },
    config=partial(_tiled, "Idefics3Config", "<|begin_of_text|>", "<end_of_utterance>", "<|finetune_right_pad_id|>"),
    files=_tiled_images("Idefics3"),
    chat="<|begin_of_text|>" + _TILE_TURNS,
    generation=lambda t: {
        "bos_token_id": t["<|begin_of_text|>"],
        "eos_token_id": [t["<|end_of_text|>"], t["<end_of_utterance>"]],
        "pad_token_id": t["<|finetune_right_pad_id|>"],
    },
    adds_bos=True,
)

FAMILIES = (MLLAMA, SMOLVLM, IDEFICS3)
