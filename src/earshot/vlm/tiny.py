"""Tiny vision-language models, built offline from a config: for the synthetic world, tests and dry runs.

Two families: `qwen2_5_vl`, the reference, and `llava` (CLIP and Llama), so that nothing grows to depend on one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from earshot.errors import ModelError
from earshot.protocol import prompt_set
from earshot.vlm.model import Vlm
from earshot.vlm.processors import images_and_text, videos_like
from earshot.vlm.runs import attend_by_runs

_QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
QWEN_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif c.type == 'text' %}{{ c.text }}"
    "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAVA_SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
_LLAVA_CHAT = (
    "{% for m in messages %}{{ m.role | upper }}: "
    "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<image>{% elif c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}{% endif %}"
    "{% if m.role == 'assistant' %}</s>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
PROTOCOL_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
FAMILIES = ("qwen2_5_vl", "llava")
_HEAD_SIZE = 32  # of attention


@dataclass(frozen=True, slots=True)
class TinySize:
    """Dimensions of a tiny model.

    Attributes:
        hidden: Width of the language model, a multiple of 64.
        layers: Its layers.
        vision_hidden: Width of the vision tower, a multiple of 32.
        vision_layers: Its layers.
        image_px: Side to which images are resized; a multiple of 28, one image token for 28 × 28 pixels.
    """

    hidden: int = 128
    layers: int = 4
    vision_hidden: int = 96
    vision_layers: int = 3
    image_px: int = 56


def build_tiny(
    family: str,
    corpus: Iterable[str],
    *,
    size: TinySize | None = None,
    vocab_size: int = 700,
    seed: int = 0,
    prompts: str = "brief",
) -> Vlm:
    """A randomly initialised tiny model of the family with a byte-level tokenizer trained on `corpus`.

    Raises:
        ModelError: The family is not one of `FAMILIES`.
    """
    if family not in _BUILDERS:
        raise ModelError(f"tiny model: no family {family!r}, expected one of {', '.join(FAMILIES)}")
    torch.manual_seed(seed)
    model, processor = _BUILDERS[family](corpus, size or TinySize(), vocab_size)
    draw_weights(model)
    attend_by_runs(model)
    return Vlm(model=model, processor=processor, prompts=prompt_set(prompts), name=f"tiny-{family}")


def draw_weights(model: torch.nn.Module) -> None:
    """Draws matrices at std 1/sqrt(fan_in): with the stock 0.02 a narrow model does not learn to see shapes."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and "embed" not in name.rsplit(".", 2)[-2]:
                parameter.normal_(std=parameter[0].numel() ** -0.5)


def train_tokenizer(
    corpus: Iterable[str], special: tuple[str, ...], vocab_size: int, **named: str
) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every frequent word of the corpus becomes one token, and any text can be written.

    The protocol's tags are single tokens, but no special ones: they stay visible in decoded text.

    Args:
        corpus: What it is trained on.
        special: Control tokens.
        vocab_size: Of all tokens but the tags.
        **named: Which of the control tokens are transformers' `eos_token` and so on.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in PROTOCOL_TAGS])
    rest = [token for token in special if token not in named.values()]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", extra_special_tokens=rest, **named)


def _text_config(size: TinySize, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What the language models of both families have in common."""
    heads = size.hidden // _HEAD_SIZE
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": size.hidden,
        "intermediate_size": size.hidden * 2,
        "num_hidden_layers": size.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2),
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }


def _build_qwen(corpus: Iterable[str], size: TinySize, vocab_size: int) -> tuple[Any, ProcessorMixin]:
    tokenizer = train_tokenizer(corpus, _QWEN_SPECIAL, vocab_size, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = QWEN_CHAT
    token_id = tokenizer.convert_tokens_to_ids
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
    config = Qwen2_5_VLConfig(
        text_config={**_text_config(size, tokenizer), "rope_parameters": rope},
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.vision_hidden * 3,
            "num_heads": size.vision_hidden // _HEAD_SIZE,
            "out_hidden_size": size.hidden,
            "fullatt_block_indexes": list(range(size.vision_layers)),
            "window_size": 112,
            "patch_size": 14,
        },
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    pixels = size.image_px**2
    images = Qwen2VLImageProcessorPil(min_pixels=pixels, max_pixels=pixels, patch_size=14, merge_size=2)
    images_only = images_and_text(Qwen2_5_VLProcessor)
    processor = images_only(image_processor=images, tokenizer=tokenizer, chat_template=QWEN_CHAT)
    processor.left_out = {"video_processor": videos_like(images)}
    return Qwen2_5_VLForConditionalGeneration(config), processor


def _build_llava(corpus: Iterable[str], size: TinySize, vocab_size: int) -> tuple[Any, ProcessorMixin]:
    tokenizer = train_tokenizer(
        corpus, _LLAVA_SPECIAL, vocab_size, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = _LLAVA_CHAT
    patch_px = 28
    config = LlavaConfig(
        text_config=LlamaConfig(**_text_config(size, tokenizer)),
        vision_config=CLIPVisionConfig(
            hidden_size=size.vision_hidden,
            intermediate_size=size.vision_hidden * 3,
            num_hidden_layers=size.vision_layers,
            num_attention_heads=size.vision_hidden // _HEAD_SIZE,
            image_size=size.image_px,
            patch_size=patch_px,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(size.image_px // patch_px) ** 2,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    side = {"height": size.image_px, "width": size.image_px}
    images = CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False)
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=patch_px,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_LLAVA_CHAT,
    )
    return LlavaForConditionalGeneration(config), processor


_BUILDERS = {"qwen2_5_vl": _build_qwen, "llava": _build_llava}
