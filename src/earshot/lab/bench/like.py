"""Models of published shapes with random weights, made on the device in seconds; nothing is downloaded.

Of a shape that is known here by name the tokenizer is made too: one word is one token, so that what is sampled has as
many tokens when a listener reads it, and every id that means something stands where Qwen has it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from earshot.images import Sight
from earshot.protocol import prompt_set
from earshot.vlm import Vlm, load
from earshot.vlm.model import set_limits
from earshot.vlm.prepared import forgetting
from earshot.vlm.processors import images_and_text, videos_like
from earshot.vlm.runs import attend_by_runs
from earshot.vlm.shrink import small_config
from earshot.vlm.tiny import PROTOCOL_TAGS, QWEN_CHAT, draw_weights

COLOURS: Final = ("red", "blue", "green", "black", "white", "grey", "pink", "brown")


class _Size(NamedTuple):
    """Where published models of the family differ."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool


# The config.json of Qwen/Qwen2.5-VL-3B-Instruct and Qwen2.5-VL-7B-Instruct on the Hugging Face hub.
PUBLISHED: Final = {
    "3b": _Size(2048, 11008, 36, 16, 2, 151_936, tied=True),
    "7b": _Size(3584, 18944, 28, 28, 4, 152_064, tied=False),
}
_TEXT = {"max_position_embeddings": 128_000, "rms_norm_eps": 1e-6}
_ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
_VISION = {
    **{"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14},
    **{"window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "spatial_merge_size": 2, "temporal_patch_size": 2},
}
_WORDS: Final = 151_643  # tokens before the first special one
_SPECIAL: Final = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
_TEXTS_SEEN = ("yes", "no", *map(str, range(10)), *COLOURS)  # words that are told apart; all others of a prompt are one


def outline(like: str, *, pixels: int | None = None) -> Vlm:
    """A model without weights (on torch's meta device).

    Args:
        like: One of `PUBLISHED`, or where `earshot.vlm.load` finds a model, of which the weights are not read.
        pixels: Side of the square images that it sees; None leaves that to its processor.

    Raises:
        ModelError: There is no such model.
    """
    vlm = _published(like) if like in PUBLISHED else load(like, device="cpu", weights=False)
    forgetting(vlm.processor.image_processor)  # as stock has it: who remembers pictures says so
    if pixels is not None:
        set_limits(vlm, Sight(pixels**2, pixels**2))
    return vlm


def build_like(
    like: str, *, pixels: int, device: torch.device, dtype: torch.dtype, seed: int = 0, small: bool = False
) -> Vlm:
    """A model with random weights, made on the device, which never ends a text by itself.

    Args:
        like: As in `outline`.
        pixels: Side of the square images that it sees.
        device: Where it is made.
        dtype: Of its weights.
        seed: Of its weights.
        small: With few, narrow layers, as a dry run makes them: to rehearse on a CPU what is measured elsewhere.
    """
    vlm = outline(like, pixels=pixels)
    config = small_config(vlm.model.config) if small else vlm.model.config
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()
    draw_weights(model)
    attend_by_runs(model)
    vlm = replace(vlm, model=model)
    vlm.forbidden_ids = sorted({*vlm.forbidden_ids, *vlm.stop_ids})
    return vlm


def _published(name: str) -> Vlm:
    tokenizer = _tokenizer()
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(_config(PUBLISHED[name], tokenizer), dtype=torch.bfloat16)
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2)
    processor = images_and_text(Qwen2_5_VLProcessor)(
        image_processor=images, tokenizer=tokenizer, chat_template=QWEN_CHAT
    )
    processor.left_out = {"video_processor": videos_like(images)}
    return Vlm(model, processor, prompt_set("standard"), f"like-{name}")


def _config(size: _Size, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    token_id = tokenizer.convert_tokens_to_ids
    text = {
        **_TEXT,
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "rope_parameters": _ROPE,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": size.tied,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config={**_VISION, "out_hidden_size": size.hidden},
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=size.tied,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    words = ["<unk>", *_TEXTS_SEEN]
    words += [f"w{k}" for k in range(_WORDS - len(words))]
    core = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    core.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in PROTOCOL_TAGS])
    named = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": "<unk>"}
    rest = [token for token in _SPECIAL if token not in named.values()]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", extra_special_tokens=rest, **named)
    tokenizer.chat_template = QWEN_CHAT
    return tokenizer


def trainable(lora: int) -> dict[str, Any] | None:
    """`peft.LoraConfig`'s fields for adapters of this rank, where `configs/qwen2.5-vl-7b-lora.yaml` has them."""
    if not lora:
        return None
    return {"r": lora, "lora_alpha": 2 * lora, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}
