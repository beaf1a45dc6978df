"""Families that are asked for more rarely, for what is odd about each.

They share a vocabulary of chat tokens; what stands for images is each family's own. Llama 4: attention in chunks.
LFM2-VL: convolutions with a state. Idefics 2, Aria: images as a list for each row, with masks of their pixels. Janus,
Emu 3: models that also draw images. Ovis 2: image tokens of several kinds. Ernie 4.5: experts chosen by kind of token.
EXAONE 4.5, GLM-4.5V: Qwen's images before other language models. Mistral 4: compressed keys and values. BLIP-2, Fuyu,
GOT-OCR 2: no chat template. Florence 2: an encoder and a decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import transformers

from tests.vlm.families.family import CLIP, HALF, HIDDEN, TEXT, USUAL, VISION, Family, Tokens
from tests.vlm.families.glm import GLM4V
from tests.vlm.families.llava import MISTRAL3
from tests.vlm.families.qwen import QWEN2_5_VL

_SPECIAL = ("<pad>", "<s>", "<|end|>", "<unk>", "<|user|>", "<|assistant|>")
_TOKENIZER = {"bos_token": "<s>", "eos_token": "<|end|>", "pad_token": "<pad>", "unk_token": "<unk>"}
_CHAT = (
    "<s>{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}IMAGE{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SIGLIP = {**VISION, "model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14, "vision_use_head": False}
_SIZE = {"height": 56, "width": 56}


def _ids(t: Tokens) -> dict[str, Any]:
    return {"bos_token_id": t["<s>"], "eos_token_id": t["<|end|>"], "pad_token_id": t["<pad>"]}


def _text(kind: str, t: Tokens, **more: Any) -> dict[str, Any]:
    return {**TEXT, **_ids(t), "model_type": kind, "vocab_size": t.rounded, "tie_word_embeddings": False, **more}


def _family(
    name: str,
    prefix: str,
    config: Callable[[Tokens], Any],
    image: str | None,
    *,
    special: tuple[str, ...],
    images: Mapping[str, Any],
    processor: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    needs_torchvision: bool = False,
) -> Family:
    """A family of this room.

    Args:
        name: The suite's.
        prefix: Of the names of its processors.
        config: The model's.
        image: What its template writes for an image; None where there is no template.
        special: Its tokens beside the shared ones.
        images: The image processor's settings.
        processor: The processor's.
        names: What the tokenizer calls its tokens.
        needs_torchvision: As in `Family`.
    """
    named = {"processor_class": f"{prefix}Processor"}
    settings = {**USUAL, "image_processor_type": f"{prefix}ImageProcessor", **named, **images}
    return Family(
        name=name,
        special=(*_SPECIAL, *special),
        tokenizer={**_TOKENIZER, **(names or {}), "extra_special_tokens": dict(names or {})},
        config=config,
        files={"preprocessor_config.json": settings, "processor_config.json": {**named, **(processor or {})}},
        chat=None if image is None else _CHAT.replace("IMAGE", image),
        generation=_ids,
        needs_torchvision=needs_torchvision,
    )


def _llama4(chunk: int, t: Tokens) -> Any:
    text = _text(
        "llama4_text",
        t,
        num_hidden_layers=4,
        head_dim=16,
        intermediate_size_mlp=128,
        num_local_experts=2,
        attention_chunk_size=chunk,
        no_rope_layers=[1, 1, 1, 0],
    )
    vision = {
        **VISION,
        "image_size": 56,
        "patch_size": 14,
        "vision_output_dim": 64,
        "projector_input_dim": 64,
        "projector_output_dim": 64,
        "intermediate_size": 256,
    }
    return transformers.Llama4Config(
        text_config=text,
        vision_config=vision,
        boi_token_index=t["<|image_start|>"],
        eoi_token_index=t["<|image_end|>"],
        image_token_index=t["<|patch|>"],
    )


LLAMA4 = _family(
    "llama4",
    "Llama4",
    partial(_llama4, 96),
    "<|image|>",
    special=(
        "<|image_start|>",
        "<|image_end|>",
        "<|image|>",
        "<|patch|>",
        "<|tile_x_separator|>",
        "<|tile_y_separator|>",
    ),
    images={**HALF, "size": _SIZE, "max_patches": 4, "resize_to_max_canvas": False},
    processor={"patch_size": 14, "pixel_shuffle_ratio": 0.5, "fake_image_token": "<|image|>"},
    needs_torchvision=True,
)


def _lfm2(t: Tokens) -> Any:
    kinds = ["conv", "conv", "full_attention", "conv"]
    return transformers.Lfm2VlConfig(
        text_config=_text("lfm2", t, num_hidden_layers=4, layer_types=kinds, block_auto_adjust_ff_dim=False),
        vision_config={**VISION, "model_type": "siglip2_vision_model", "patch_size": 14, "num_patches": 64},
        image_token_id=t["<image>"],
        projector_hidden_size=64,
        downsample_factor=2,
        tie_word_embeddings=False,
    )


LFM2_VL = _family(
    "lfm2_vl",
    "Lfm2Vl",
    _lfm2,
    "<image>",
    special=("<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"),
    images={
        **HALF,
        "do_image_splitting": False,
        "downsample_factor": 2,
        "encoder_patch_size": 14,
        "tile_size": 112,
        "min_image_tokens": 4,
        "max_image_tokens": 16,
        "max_num_patches": 64,
        "size": {"height": 112, "width": 112},
    },
    names={"image_token": "<image>"},
    needs_torchvision=True,
)


def _idefics2(t: Tokens) -> Any:
    return transformers.Idefics2Config(
        text_config=_text("mistral", t, head_dim=16, sliding_window=None),
        vision_config={**VISION, "image_size": 112, "patch_size": 14},
        perceiver_config={
            "hidden_size": HIDDEN,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 4,
            "resampler_head_dim": 16,
            "num_key_value_heads": 2,
        },
        image_token_id=t["<image>"],
        tie_word_embeddings=False,
    )


IDEFICS2 = _family(
    "idefics2",
    "Idefics2",
    _idefics2,
    "<image>",
    special=("<fake_token_around_image>", "<image>", "<end_of_utterance>"),
    images={**HALF, "size": {"shortest_edge": 56, "longest_edge": 112}, "do_pad": True, "do_image_splitting": False},
    processor={"image_seq_len": 4},
)


def _aria(t: Tokens) -> Any:
    return transformers.AriaConfig(
        text_config=_text("aria_text", t, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1, head_dim=16),
        vision_config={**VISION, "model_type": "idefics3_vision", "image_size": 490, "patch_size": 70},
        projector_patch_to_query_dict={49: 4, 196: 8},
        image_token_index=t["<image>"],
    )


ARIA = _family(
    "aria",
    "Aria",
    _aria,
    "<image>",
    special=("<image>",),
    images={**HALF, "do_resize": False, "max_image_size": 490, "min_image_size": 56, "split_image": False},
    processor={"size_conversion": {"490": 4, "980": 8}},
    names={"image_token": "<image>"},
)


def _janus(t: Tokens) -> Any:
    vision = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 14,
        "mlp_ratio": 2.0,
        "projection_dim": HIDDEN,
        "num_image_tokens": 16,
    }
    drawing = {
        "embed_dim": 8,
        "num_embeddings": 16,
        "latent_channels": 32,
        "base_channels": 32,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
        "num_patches": 4,
        "projection_dim": HIDDEN,
        "image_token_embed_dim": HIDDEN,
    }
    text = _text("llama", t)
    return transformers.JanusConfig(
        text_config=text, vision_config=vision, vq_config=drawing, image_token_id=t["<image_placeholder>"]
    )


_JANUS_NAMES = {
    "image_token": "<image_placeholder>",
    "boi_token": "<begin_of_image>",
    "eoi_token": "<end_of_image>",
}
JANUS = _family(
    "janus",
    "Janus",
    _janus,
    "<image_placeholder>",
    special=tuple(_JANUS_NAMES.values()),
    images={**HALF, "size": _SIZE, "min_size": 14, "do_pad": True, "background_color": [127, 127, 127]},
    processor={"num_image_tokens": 16},
    names=_JANUS_NAMES,
)
DEEPSEEK_VL = _family(
    "deepseek_vl",
    "DeepseekVL",
    lambda t: transformers.DeepseekVLConfig(
        text_config=_text("llama", t), vision_config=_SIGLIP, image_token_id=t["<image_placeholder>"]
    ),
    "<image_placeholder>",
    special=("<image_placeholder>",),
    images={**HALF, "size": _SIZE, "min_size": 14, "do_pad": True, "background_color": [127, 127, 127]},
    processor={"num_image_tokens": 16},
    names={"image_token": "<image_placeholder>"},
)

_OVIS_PLACES = ("<IMG_START>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>")


def _ovis2(t: Tokens) -> Any:
    return transformers.Ovis2Config(
        text_config=_text("qwen2", t),
        vision_config={**VISION, "image_size": 56, "patch_size": 14, "vocab_size": 64, "hidden_stride": 2},
        image_token_id=t["<IMG_ATOM>"],
        visual_indicator_token_ids=[t[token] for token in _OVIS_PLACES],
        vocab_size=t.rounded,
        hidden_size=HIDDEN,
        tie_word_embeddings=False,
    )


OVIS2 = _family(
    "ovis2",
    "Ovis2",
    _ovis2,
    "<image>",
    special=("<image>", "<IMG_ATOM>", *_OVIS_PLACES),
    images={**CLIP, "size": _SIZE, "crop_to_patches": True, "min_patches": 1, "max_patches": 4},
    processor={"image_seq_length": 4},
)


def _emu3(t: Tokens) -> Any:
    drawing = {
        "codebook_size": 16,
        "embed_dim": 4,
        "latent_channels": 4,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 2],
        "num_res_blocks": 1,
        "hidden_size": 64,
        "temporal_downsample_factor": 4,
    }
    codes = {f"<|visual token {n:06d}|>": t[f"<|visual token {n:06d}|>"] for n in range(16)}
    return transformers.Emu3Config(
        text_config=_text("emu3_text_model", t),
        vq_config=drawing,
        vocabulary_map={**codes, "<image>": t["<image>"], "<|extra_200|>": t["<|extra_200|>"]},
    )


_EMU3_NAMES = {
    "image_token": "<image>",
    "boi_token": "<|image start|>",
    "eoi_token": "<|image end|>",
    "image_wrapper_token": "<|image token|>",
    "eof_token": "<|extra_201|>",
}
EMU3 = _family(
    "emu3",
    "Emu3",
    _emu3,
    "<image>",
    special=(*_EMU3_NAMES.values(), "<|extra_200|>", *(f"<|visual token {n:06d}|>" for n in range(16))),
    images={**HALF, "min_pixels": 32 * 32, "max_pixels": 32 * 32, "spatial_factor": 8},
    names=_EMU3_NAMES,
)

_BLIP2_TEXT = {
    "model_type": "opt",
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "ffn_dim": 128,
    "num_attention_heads": 4,
    "word_embed_proj_dim": HIDDEN,
    "max_position_embeddings": 2_048,
    "dropout": 0.0,
}
_QFORMER = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "encoder_hidden_size": 64,
}
BLIP2 = _family(
    "blip2",
    "Blip2",
    lambda t: transformers.Blip2Config(
        text_config={**_BLIP2_TEXT, **_ids(t), "vocab_size": t.rounded},
        vision_config={**VISION, "image_size": 56, "patch_size": 14},
        qformer_config=_QFORMER,
        num_query_tokens=4,
        image_token_index=t["<image>"],
    ),
    None,
    special=("<image>",),
    images={**CLIP, "size": _SIZE, "image_processor_type": "BlipImageProcessor"},
    processor={"num_query_tokens": 4},
)
FUYU = _family(
    "fuyu",
    "Fuyu",
    lambda t: transformers.FuyuConfig(
        text_config=_text("persimmon", t),
        image_size=60,
        patch_size=30,
        hidden_size=HIDDEN,
        image_token_id=t["|SPEAKER|"],
    ),
    None,
    special=("|SPEAKER|", "|NEWLINE|", "<0x00>", "<0x01>", "<0x02>", "<0x03>", "<0x04>"),
    images={**HALF, "size": {"height": 120, "width": 120}, "patch_size": {"height": 30, "width": 30}},
)
GOT_OCR2 = _family(
    "got_ocr2",
    "GotOcr2",
    lambda t: transformers.GotOcr2Config(
        text_config=_text("qwen2", t),
        vision_config={
            "hidden_size": 64,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 128,
            "patch_size": 16,
            "window_size": 4,
            "global_attn_indexes": [1],
            "mlp_dim": 96,
        },
        image_token_index=t["<imgpad>"],
        image_seq_length=4,
    ),
    None,
    special=("<img>", "</img>", "<imgpad>"),
    images={**CLIP, "size": {"height": 128, "width": 128}},
)


def _florence2(t: Tokens) -> Any:
    text = {
        "model_type": "bart",
        **_ids(t),
        "vocab_size": t.rounded,
        "d_model": HIDDEN,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 96,
        "decoder_ffn_dim": 96,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "max_position_embeddings": 1_024,
        "dropout": 0.0,
    }
    vision = {
        "depths": [1, 1],
        "patch_size": [7, 3],
        "patch_stride": [4, 2],
        "patch_padding": [3, 1],
        "patch_prenorm": [False, True],
        "embed_dim": [32, 64],
        "num_heads": [2, 4],
        "num_groups": [2, 4],
        "window_size": 7,
        "projection_dim": HIDDEN,
    }
    return transformers.Florence2Config(text_config=text, vision_config=vision, image_token_id=t["<image>"])


FLORENCE2 = _family(
    "florence2",
    "Florence2",
    _florence2,
    None,
    special=("<image>",),
    images={**CLIP, "size": _SIZE, "image_seq_length": 50, "image_processor_type": "CLIPImageProcessor"},
    names={"image_token": "<image>"},
)


def _qwen_images(config: Callable[[Tokens], Any], name: str, prefix: str) -> Family:
    """Another language model behind Qwen's images and vocabulary."""
    files = {file: {**settings, "processor_class": f"{prefix}Processor"} for file, settings in QWEN2_5_VL.files.items()}
    return replace(QWEN2_5_VL, name=name, config=config, files=files)


_QWEN_VISION = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 4,
    "out_hidden_size": HIDDEN,
    "patch_size": 14,
}


def _exaone(t: Tokens) -> Any:
    ids = {"bos_token_id": t["<|endoftext|>"], "eos_token_id": t["<|im_end|>"], "pad_token_id": t["<|endoftext|>"]}
    text = {**TEXT, **ids, "vocab_size": t.rounded, "num_hidden_layers": 4, "sliding_window": 96}
    vision = {**_QWEN_VISION, "fullatt_block_indexes": [1], "window_size": 56, "num_key_value_heads": 2}
    return transformers.Exaone4_5_Config(
        text_config={**text, "model_type": "exaone4", "sliding_window_pattern": 4},
        vision_config=vision,
        image_token_id=t["<|image_pad|>"],
        video_token_id=t["<|video_pad|>"],
    )


EXAONE4_5 = _qwen_images(_exaone, "exaone4_5", "Exaone4_5_")


def _glm_moe(t: Tokens) -> Any:
    dense = GLM4V.config(t)
    experts = {
        "model_type": "glm4v_moe_text",
        "head_dim": 16,
        "moe_intermediate_size": 64,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    }
    return transformers.Glm4vMoeConfig(
        text_config={**dense.text_config.to_dict(), **experts},
        vision_config={**dense.vision_config.to_dict(), "model_type": "glm4v_moe_vision"},
        **{name: getattr(dense, name) for name in ("image_token_id", "video_token_id", "image_start_token_id")},
        image_end_token_id=dense.image_end_token_id,
        video_start_token_id=dense.video_start_token_id,
        video_end_token_id=dense.video_end_token_id,
    )


GLM4V_MOE = replace(GLM4V, name="glm4v_moe", config=_glm_moe)


def _mistral4(t: Tokens) -> Any:
    config = MISTRAL3.config(t)
    text = {
        "model_type": "mistral4",
        "hidden_size": HIDDEN,
        "intermediate_size": 128,
        "moe_intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "kv_lora_rank": 16,
        "q_lora_rank": 32,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 16,
        "vocab_size": t.rounded,
        "max_position_embeddings": 32_768,
        "bos_token_id": t["<s>"],
        "eos_token_id": t["</s>"],
        "pad_token_id": t["<pad>"],
    }
    return transformers.Mistral3Config(
        text_config=text,
        vision_config=config.vision_config.to_dict(),
        image_token_index=t["[IMG]"],
        spatial_merge_size=2,
        vision_feature_layer=-1,
    )


MISTRAL4 = replace(MISTRAL3, name="mistral4", config=_mistral4)

FAMILIES = (
    LLAMA4,
    LFM2_VL,
    IDEFICS2,
    ARIA,
    JANUS,
    DEEPSEEK_VL,
    OVIS2,
    EMU3,
    BLIP2,
    FUYU,
    GOT_OCR2,
    FLORENCE2,
    EXAONE4_5,
    GLM4V_MOE,
    MISTRAL4,
)
