"""LLaVA's line, and what Mistral made of it.

LLaVA 1.5 and NeXT: the tokenizer puts a BOS before a text, and the template has none. Pixtral and Mistral 3: images
keep their sizes, so that their pixels come as a list or padded.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import transformers

from tests.vlm.families.family import CLIP, TEXT, USUAL, VISION, Family, Tokens

_TOKENIZER = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "image_token": "<image>",
    "extra_special_tokens": {"image_token": "<image>"},
}
_CLIP_VISION = {
    **VISION,
    "num_hidden_layers": 3,
    "model_type": "clip_vision_model",
    "image_size": 56,
    "patch_size": 14,
    "projection_dim": 64,
}
_PINPOINTS = [[56, 112], [112, 56], [112, 112]]


def _generation(t: Tokens) -> dict[str, Any]:
    return {"bos_token_id": t["<s>"], "eos_token_id": t["</s>"], "pad_token_id": t["<pad>"]}


def _llava(config: str, language: str, more: dict[str, Any], t: Tokens) -> Any:
    ids = {"bos_token_id": t["<s>"], "eos_token_id": t["</s>"]}
    text = {**TEXT, **ids, "model_type": language, "vocab_size": t.rounded, "tie_word_embeddings": False}
    return getattr(transformers, config)(
        text_config=text | ({"sliding_window": None} if language == "mistral" else {}),
        vision_config=_CLIP_VISION,
        image_token_index=t["<image>"],
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
        **more,
    )


def _llava_images(prefix: str, images: str, more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    processor = {"processor_class": f"{prefix}Processor"}
    return {
        "preprocessor_config.json": {
            **USUAL,
            **CLIP,
            **processor,
            **more,
            "crop_size": {"height": 56, "width": 56},
            "do_center_crop": True,
            "do_convert_rgb": True,
            "resample": 3,
            "size": {"shortest_edge": 56},
            "image_processor_type": images,
        },
        "processor_config.json": {
            **processor,
            "image_token": "<image>",
            "patch_size": 14,
            "num_additional_image_tokens": 1,
            "vision_feature_select_strategy": "default",
        },
    }


LLAVA = Family(
    name="llava",
    special=("<unk>", "<s>", "</s>", "<image>", "<pad>"),
    tokenizer=_TOKENIZER,
    config=partial(_llava, "LlavaConfig", "llama", {"image_seq_length": 16}),
    files=_llava_images("Llava", "CLIPImageProcessor", {}),
    chat=(
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.role.upper() + ': ' }}{% endif %}"
        "{% if m.content is string %}{{ m.content }} {% else %}"
        "{% for c in m.content if c.type == 'image' %}<image>\n{% endfor %}"
        "{% for c in m.content if c.type == 'text' %}{{ c.text + ' ' }}{% endfor %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    ),
    generation=_generation,
    chat_in=("json",),
    adds_bos=True,
)
LLAVA_NEXT = replace(
    LLAVA,
    name="llava_next",
    config=partial(_llava, "LlavaNextConfig", "mistral", {"image_grid_pinpoints": _PINPOINTS}),
    files=_llava_images("LlavaNext", "LlavaNextImageProcessor", {"do_pad": True, "image_grid_pinpoints": _PINPOINTS}),
    chat=(
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {% for c in m.content if c.type == 'image' %}<image>\n"
        "{% endfor %}{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %} [/INST]"
        "{% else %} {{ m.content[0].text }}</s> {% endif %}{% endfor %}"
    ),
)

_TEKKEN = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "extra_special_tokens": {
        "image_token": "[IMG]",
        "image_break_token": "[IMG_BREAK]",
        "image_end_token": "[IMG_END]",
    },
}
_MISTRAL_CHAT = (
    "{{- bos_token }}{{- '[SYSTEM_PROMPT]You are an assistant.[/SYSTEM_PROMPT]' }}{%- for m in messages %}"
    "{%- if m.role == 'user' %}{{- '[INST]' }}{%- if m.content is string %}{{- m.content }}{%- else %}"
    "{%- for c in m.content %}{%- if c.type == 'image' %}{{- '[IMG]' }}{%- else %}{{- c.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}{{- '[/INST]' }}{%- else %}{{- m.content + eos_token }}{%- endif %}{%- endfor %}"
)
_PIXTRAL_VISION = {
    **VISION,
    "model_type": "pixtral",
    "head_dim": 16,
    "image_size": 112,
    "patch_size": 14,
}


def _mistral_text(t: Tokens, **more: Any) -> dict[str, Any]:
    ids = {"bos_token_id": t["<s>"], "eos_token_id": t["</s>"]}
    sizes = {"model_type": "mistral", "vocab_size": t.rounded, "head_dim": 16, "sliding_window": None}
    return {**TEXT, **ids, **sizes, "tie_word_embeddings": False, **more}


def _mistral3(t: Tokens) -> Any:
    return transformers.Mistral3Config(
        text_config=_mistral_text(t),
        vision_config=_PIXTRAL_VISION,
        image_token_index=t["[IMG]"],
        spatial_merge_size=2,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )


def _pixtral(t: Tokens) -> Any:
    return transformers.LlavaConfig(
        text_config=_mistral_text(t),
        vision_config=_PIXTRAL_VISION,
        image_token_index=t["[IMG]"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )


def _pixtral_images(merge: int) -> dict[str, dict[str, Any]]:
    return {
        "preprocessor_config.json": {
            **USUAL,
            **CLIP,
            "do_convert_rgb": True,
            "patch_size": 14,
            "resample": 3,
            "size": {"longest_edge": 112},
            "image_processor_type": "PixtralImageProcessor",
            "processor_class": "PixtralProcessor",
        },
        "processor_config.json": {
            "image_token": "[IMG]",
            "image_break_token": "[IMG_BREAK]",
            "image_end_token": "[IMG_END]",
            "patch_size": 14,
            "spatial_merge_size": merge,
            "processor_class": "PixtralProcessor",
        },
    }


PIXTRAL = Family(
    name="pixtral",
    special=(
        "<unk>",
        "<s>",
        "</s>",
        "[INST]",
        "[/INST]",
        "[IMG]",
        "<pad>",
        "[IMG_BREAK]",
        "[IMG_END]",
        "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
        "[THINK]",
        "[/THINK]",
    ),
    tokenizer=_TEKKEN,
    config=_pixtral,
    files=_pixtral_images(1),
    chat=_MISTRAL_CHAT,
    generation=_generation,
    chat_in=("json",),
    adds_bos=True,
    needs_torchvision=True,
)
MISTRAL3 = replace(PIXTRAL, name="mistral3", config=_mistral3, files=_pixtral_images(2))

FAMILIES = (LLAVA, LLAVA_NEXT, PIXTRAL, MISTRAL3)
