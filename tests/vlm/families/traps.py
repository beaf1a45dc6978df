"""Traps in the vocabulary, each set in a family that is otherwise plain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.vlm.families.family import Family, Tokens
from tests.vlm.families.qwen import QWEN2_5_VL, QWEN3_VL_THINKING

_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def _with_head(rows: int, t: Tokens) -> Any:
    """The plain family's config with a head of so many rows more than there are tokens."""
    config = QWEN2_5_VL.config(t)
    config.text_config.vocab_size = t.size + rows
    return config


NEWLINES = replace(QWEN2_5_VL, name="trap_newlines", plain=("\n", "\n\n", "\t"))
BEYOND_HEAD = replace(
    QWEN2_5_VL, name="trap_beyond_head", beyond_head=("<tool>", "</tool>"), config=lambda t: _with_head(0, t)
)
LONG_HEAD = replace(QWEN2_5_VL, name="trap_long_head", config=lambda t: _with_head(500, t))
TAGS = replace(QWEN2_5_VL, name="trap_tags", plain=_TAGS)
SPECIAL_TAGS = replace(QWEN2_5_VL, name="trap_special_tags", special=(*QWEN2_5_VL.special, *_TAGS))
OPENED_SPECIAL_TAGS = replace(
    QWEN3_VL_THINKING, name="trap_opened_special_tags", special=(*QWEN3_VL_THINKING.special, *_TAGS), plain=()
)
NO_PAD = replace(QWEN2_5_VL, name="trap_no_pad", tokenizer={"eos_token": "<|im_end|>"})
OWN_BOS = replace(
    QWEN2_5_VL,
    name="trap_own_bos",
    special=(*QWEN2_5_VL.special, "<s>"),
    tokenizer={**QWEN2_5_VL.tokenizer, "bos_token": "<s>"},
    adds_bos=True,
)

FAMILIES: tuple[Family, ...] = (
    NEWLINES,
    BEYOND_HEAD,
    LONG_HEAD,
    TAGS,
    SPECIAL_TAGS,
    OPENED_SPECIAL_TAGS,
    NO_PAD,
    OWN_BOS,
)
