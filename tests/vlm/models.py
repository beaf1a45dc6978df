"""Tiny models and batches that the tests of models share."""

from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from earshot.images import Sight
from earshot.protocol import reasoner_messages
from earshot.types import Pair, Votes
from earshot.vlm import Vlm
from earshot.vlm.model import set_limits
from earshot.vlm.tiny import TinySize, build_tiny

FAMILIES = ("qwen2_5_vl", "llava")
CORPUS = ["prompt : a red circle and two blue squares . which better ?", "<think> first is red </think> 1 2"] * 8
SIZE = TinySize(hidden=64, layers=2, vision_hidden=32, vision_layers=2)


@cache
def tiny(family: str, seed: int = 0) -> Vlm:
    """One shared model for all tests that do not change it."""
    return build_tiny(family, CORPUS, size=SIZE, vocab_size=330, seed=seed)


def fresh(family: str, seed: int = 0) -> Vlm:
    """A model of one's own, to break or to train."""
    return build_tiny(family, CORPUS, size=SIZE, vocab_size=330, seed=seed)


def picture(seed: int, width: int = 56, height: int = 56) -> Image.Image:
    """A picture of noise, the same for the same seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def noisy_pair(id: str, prompt: str = "a red circle", seed: int = 0) -> Pair:
    return Pair(id, prompt, picture(2 * seed), picture(2 * seed + 1), Votes(1.0, 0.0))


def any_size(vlm: Vlm) -> Vlm:
    """The model with a processor that keeps images' own sizes, where the family has such a thing."""
    if hasattr(vlm.processor.image_processor, "merge_size"):
        set_limits(vlm, Sight(28 * 28, 140 * 140))
    return vlm


def mixed_prompts(vlm: Vlm) -> dict[str, Any]:
    """Three prompts of different lengths, their six images of different sizes."""
    prompts = ["a red circle", "two blue squares and a red circle and two blue squares", "red"]
    sizes = [(56, 56), (112, 56), (56, 84), (84, 84), (140, 56), (28, 28)]
    images = [picture(k, *size) for k, size in enumerate(sizes)]
    messages = [reasoner_messages(p, vlm.prompts) for p in prompts]
    return dict(vlm.encode(messages, [images[:2], images[2:4], images[4:]]))


def text_prompts(vlm: Vlm, texts: list[str]) -> dict[str, Any]:
    return dict(vlm.encode([[{"role": "user", "content": text}] for text in texts], [[] for _ in texts]))


def images_of(inputs: dict[str, Any], prompt: int, per_prompt: int = 2) -> dict[str, Any]:
    """The image tensors of one prompt of a batch in which each prompt has as many."""
    chosen = slice(prompt * per_prompt, (prompt + 1) * per_prompt)
    if "image_grid_thw" in inputs:
        pieces = inputs["pixel_values"].split(inputs["image_grid_thw"].prod(-1).tolist())
        return {"pixel_values": torch.cat(pieces[chosen]), "image_grid_thw": inputs["image_grid_thw"][chosen]}
    return {"pixel_values": inputs["pixel_values"][chosen]} if "pixel_values" in inputs else {}


def plain_row(inputs: dict[str, Any], prompt: int, completion: list[int]) -> dict[str, Any]:
    """What a single stock forward pass takes: one prompt without padding, its images, and a completion."""
    real = inputs["attention_mask"][prompt].bool()
    after = torch.tensor(completion, dtype=torch.long)
    ids = torch.cat([inputs["input_ids"][prompt][real], after])[None]
    row = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **images_of(inputs, prompt)}
    if "mm_token_type_ids" in inputs:
        kinds = inputs["mm_token_type_ids"][prompt][real]
        row["mm_token_type_ids"] = torch.cat([kinds, torch.zeros(len(completion), dtype=kinds.dtype)])[None]
    return row
