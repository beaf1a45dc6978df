"""Qwen2.5-VL of real sizes with random weights, made on the device in seconds; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from earshot.protocol import listener_prefill, prompt_set, reasoner_messages
from earshot.vlm import Vlm
from earshot.vlm.prepared import remembering
from earshot.vlm.processors import images_and_text
from earshot.vlm.runs import attend_by_runs
from earshot.vlm.tiny import build_tiny, draw_weights

COLOURS = ("red", "blue", "green", "black", "white", "grey", "pink", "brown")
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class Size:
    """Dimensions of the language model, then of the vision tower."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    tied: bool
    vision_layers: int
    vision_hidden: int
    vision_intermediate: int
    vision_heads: int
    whole_images: tuple[int, ...]
    """Vision layers that attend to whole images, the others to windows of 112 px."""


SIZES = {
    "7b": Size(3584, 18944, 28, 28, 4, 152_064, False, 32, 1280, 3420, 16, (7, 15, 23, 31)),
    "3b": Size(2048, 11008, 36, 16, 2, 151_936, True, 32, 1280, 3420, 16, (7, 15, 23, 31)),
    "tiny": Size(128, 256, 2, 4, 2, 2048, False, 2, 64, 96, 2, (1,)),
}


def make(size: Size, *, device: str, dtype: torch.dtype, side_px: int, seed: int = 0) -> Vlm:
    """A model of this size, whose texts never end by themselves and whose images are scaled to `side_px` squared."""
    like = build_tiny("qwen2_5_vl", ["red"])  # for the family's control tokens and chat template
    tokenizer = _tokenizer(size, like.tokenizer)
    images = Qwen2VLImageProcessorPil(min_pixels=side_px**2, max_pixels=side_px**2, patch_size=14, merge_size=2)
    processor = images_and_text(Qwen2_5_VLProcessor)(
        image_processor=remembering(images), tokenizer=tokenizer, chat_template=tokenizer.chat_template
    )
    torch.manual_seed(seed)
    with torch.device(device):  # not on `meta`, which would lose the rotary buffers
        model = AutoModelForImageTextToText.from_config(config_of(size, tokenizer), dtype=dtype)
    draw_weights(model)
    attend_by_runs(model)
    vlm = Vlm(model.eval(), processor, prompt_set("standard"), "random").freeze()
    vlm.forbidden_ids = sorted({*vlm.forbidden_ids, *vlm.stop_ids})
    return vlm


def config_of(size: Size, tokenizer: Any) -> Qwen2_5_VLConfig:
    """The model's configuration."""
    id_of, head = tokenizer.convert_tokens_to_ids, size.hidden // size.heads
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": size.vocabulary,
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.key_heads,
            "max_position_embeddings": 128_000,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [head // 8, head // 16 * 3, head // 16 * 3],
            },
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "tie_word_embeddings": size.tied,
        },
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.vision_intermediate,
            "num_heads": size.vision_heads,
            "out_hidden_size": size.hidden,
            "fullatt_block_indexes": list(size.whole_images),
            "window_size": 112,
            "patch_size": 14,
        },
        image_token_id=id_of("<|image_pad|>"),
        video_token_id=id_of("<|video_pad|>"),
        vision_start_token_id=id_of("<|vision_start|>"),
        vision_end_token_id=id_of("<|vision_end|>"),
        tie_word_embeddings=size.tied,
    )


def _tokenizer(size: Size, like: Any) -> PreTrainedTokenizerFast:
    """One word, one token: a text has as many tokens when it is read as when it was written."""
    special = list(like.all_special_tokens)
    split, prompts = pre_tokenizers.Whitespace(), prompt_set("standard")
    known = dict.fromkeys(["<unk>", *map(str, range(10)), *COLOURS, "user", "assistant", "system"])
    texts = [listener_prefill("red", prompts)]
    for message in reasoner_messages("red", prompts):
        content = message["content"]
        texts += [content] if isinstance(content, str) else [part.get("text", "") for part in content]
    for text in texts:
        known |= dict.fromkeys(word for word, _ in split.pre_tokenize_str(text))
    room = size.vocabulary - len(special) - len(_TAGS) - 40  # as in Qwen's, some rows have no token
    words = [*known, *(f"w{k}" for k in range(room - len(known)))]
    core = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = split
    ends = {"eos_token": like.eos_token, "pad_token": like.pad_token}
    rest = [token for token in special if token not in ends.values()]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", padding_side="left", extra_special_tokens=rest, **ends
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in _TAGS])
    tokenizer.chat_template = like.chat_template
    return tokenizer
