"""What is measured: sizes, models with random weights, and pairs of noise in prompts of a given length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field, model_validator

from earshot.config import Config, build_config, parse_yaml
from earshot.config.applications import Count
from earshot.errors import InputError
from earshot.lab.bench.like import COLOURS, build_like
from earshot.types import Pair, Votes
from earshot.vlm import Vlm
from earshot.vlm.model import resolve_device
from earshot.vlm.tiny import TinySize, build_tiny

_CORPUS = [
    f"prompt : {' '.join(COLOURS)} . which better ?",
    "<think> image 1 shows a . 2 </think><answer>1</answer> yes no",
] * 8
_OWN = ("hidden", "layers", "vision_hidden", "vision_layers", "family")  # sizes that a model to be like has itself
_LIKE = {"pixels": 756, "prompt_tokens": 256, "device": "cuda", "dtype": "bfloat16", "lora": 64, "checkpointed": True}


class Shape(Config):
    """Sizes of one measurement."""

    pixels: Annotated[int, Field(ge=0, multiple_of=28)] = 504
    """Side of each of a pair's two square images; 0 for prompts without images."""
    prompt_tokens: Count = 77
    """Tokens of the prompt beside those of its images."""
    new_tokens: Count = 128
    """Tokens of each completion, or of each trace that is read; none is shorter."""
    group: Count = 8
    """Completions of one pair."""
    groups: Count = 2
    """Pairs at a time."""
    hidden: Annotated[int, Field(ge=1, multiple_of=64)] = 256
    """Width of the language model."""
    layers: Count = 6
    """Its layers."""
    vision_hidden: Annotated[int, Field(ge=1, multiple_of=32)] = 192
    """Width of the vision tower."""
    vision_layers: Count = 4
    """Its layers."""
    family: Literal["qwen2_5_vl", "llava"] = "qwen2_5_vl"
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of weights and activations."""
    lora: Annotated[int, Field(ge=0)] = 0
    """Rank of the adapters that a step trains; 0 trains all weights."""
    checkpointed: bool = False
    """Whether a step computes layers again in its backward pass."""
    like: str | None = None
    """`3b` or `7b`, or a model's folder: whose sizes to take, in place of the tiny model's."""
    small: bool = False
    """Few, narrow layers of what it is to be like: a rehearsal."""

    @model_validator(mode="after")
    def _has_its_sizes(self) -> Shape:
        given = [name for name in _OWN if name in self.model_fields_set]
        if self.like is not None and given:
            raise ValueError(f"{given[0]} is the model's own where it is to be like {self.like}")
        if self.like is None and self.small:
            raise ValueError("small says how to make what 'like' names, which is missing")
        return self

    def told(self) -> dict[str, Any]:
        """The sizes that count."""
        left_out = ("like", "small") if self.like is None else _OWN
        return self.model_dump(exclude={*left_out})

    def build(self, seed: int = 0) -> Vlm:
        """A model of this shape with random weights, which writes nothing but words and never ends early."""
        if self.like is not None:
            where, dtype = resolve_device(self.device), getattr(torch, self.dtype)
            return build_like(
                self.like, pixels=self.pixels or 28, device=where, dtype=dtype, seed=seed, small=self.small
            )
        size = TinySize(self.hidden, self.layers, self.vision_hidden, self.vision_layers, self.pixels or 28)
        vlm = build_tiny(self.family, _CORPUS, size=size, seed=seed)
        vlm.model.to(resolve_device(self.device), getattr(torch, self.dtype))
        # Whole words only, so that a text has as many tokens when the listener reads it as when it was written.
        words = {vlm.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in COLOURS}
        vlm.forbidden_ids = [i for i in range(vlm.model.config.get_text_config().vocab_size) if i not in words]
        return vlm

    def pairs(self, vlm: Vlm, count: int) -> list[Pair]:
        """Pairs whose prompts have `prompt_tokens` tokens beside their images, which are noise.

        Raises:
            InputError: The conversation alone has more tokens.
        """
        draw = np.random.default_rng(0)
        bare = self._length(vlm, "")
        if bare >= self.prompt_tokens:
            raise InputError(
                f"bench: prompt_tokens {self.prompt_tokens}, expected more than {bare}, the question's own"
            )
        pairs = []
        for k in range(count):
            words = " ".join(draw.choice(COLOURS, self.prompt_tokens - bare + (bare - self._length(vlm, "red")) + 1))
            side = self.pixels or 28
            noise = draw.integers(0, 255, (2, side, side, 3), dtype=np.uint8)
            first, second = map(Image.fromarray, noise)
            pairs.append(Pair(f"p{k}", words, first, second, Votes(1.0, 0.0)))
        return pairs

    def messages(self, vlm: Vlm, pair: Pair) -> list[dict[str, Any]]:
        """The question about a pair, with or without places for images."""
        *system, message = vlm.messages(pair.prompt)
        if self.pixels:
            return [*system, message]
        return [*system, {**message, "content": [part for part in message["content"] if part["type"] == "text"]}]

    def images(self, pair: Pair) -> list[Any]:
        return [pair.first, pair.second] if self.pixels else []

    def texts(self, rows: int) -> list[str]:
        """Traces of `new_tokens` words for the listener to read."""
        draw = np.random.default_rng(1)
        return [" ".join(draw.choice(COLOURS, self.new_tokens)) for _ in range(rows)]

    def _length(self, vlm: Vlm, prompt: str) -> int:
        """Tokens of the question beside those of its images."""
        text = vlm.rendered(vlm.messages(prompt))
        return len(vlm.tokenizer(text, add_special_tokens=False)["input_ids"]) - 2 * bool(self.pixels)


def shape_of(sizes: Sequence[str], like: str | None = None) -> Shape:
    """The shape of which these sizes, each `key=value`, are not the default.

    Args:
        sizes: What is told of it.
        like: A model whose sizes to take; then the rest is by default as `configs/qwen2.5-vl-7b-lora.yaml` trains.

    Raises:
        InputError: A size is not written so.
        ConfigError: There is no such size, or it is out of its range.
    """
    tree: dict[str, Any] = {} if like is None else {**_LIKE, "like": like}
    for size in sizes:
        key, equals, value = size.partition("=")
        if not equals:
            raise InputError(f"{size!r}: expected key=value, such as pixels=224")
        tree[key] = parse_yaml(value)
    return build_config(Shape, tree, "bench")


def repeated(pairs: Sequence[Pair], group: int) -> list[Pair]:
    """Every pair as often as it has completions, side by side."""
    return [pair for pair in pairs for _ in range(group)]
