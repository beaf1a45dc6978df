"""What is measured: sizes, models with random weights, and pairs of noise in prompts of a given length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from earshot.errors import InputError
from earshot.protocol import reasoner_messages
from earshot.types import Pair, Votes
from earshot.vlm import Vlm
from earshot.vlm.model import resolve_device
from earshot.vlm.tiny import FAMILIES, TinySize, build_tiny

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_COLOURS = ("red", "blue", "green", "black", "white", "grey", "pink", "brown")
_CORPUS = [f"prompt : {' '.join(_COLOURS)} . which better ?", "<think> 1 2 </think><answer>1</answer>"] * 8


@dataclass(frozen=True)
class Shape:
    """Sizes of one measurement.

    Attributes:
        pixels: Side of each of a pair's two square images, a multiple of 28; 0 for prompts without images.
        prompt_tokens: Tokens of the prompt beside those of its images.
        new_tokens: Tokens of each completion; none is shorter.
        group: Completions of one pair.
        groups: Pairs of one step.
        hidden: Width of the language model, a multiple of 64.
        layers: Its layers.
        vision_hidden: Width of the vision tower, a multiple of 32.
        vision_layers: Its layers.
        family: One of `earshot.vlm.tiny.FAMILIES`.
        device: `cpu`, `cuda` or `auto`.
        dtype: Of weights and activations.

    Raises:
        InputError: A size is out of its range.
    """

    pixels: int = 504
    prompt_tokens: int = 77
    new_tokens: int = 128
    group: int = 8
    groups: int = 2
    hidden: int = 256
    layers: int = 6
    vision_hidden: int = 192
    vision_layers: int = 4
    family: str = "qwen2_5_vl"
    device: str = "cpu"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        steps = {"pixels": 28, "hidden": 64, "vision_hidden": 32}
        for name in ("pixels", "prompt_tokens", "new_tokens", "group", "groups", "hidden", "layers", "vision_layers"):
            value, least = getattr(self, name), 0 if name == "pixels" else 1
            if value < least or value % steps.get(name, 1):
                wanted = f"a multiple of {steps[name]}" if name in steps else f"at least {least}"
                raise InputError(f"bench: {name} {value}, expected {wanted}")
        for name, known in (("family", FAMILIES), ("dtype", tuple(DTYPES))):
            if getattr(self, name) not in known:
                raise InputError(f"bench: {name} {getattr(self, name)!r}, expected one of {', '.join(known)}")

    def build(self, seed: int = 0) -> Vlm:
        """A model of this shape with random weights, which writes nothing but words and never ends early."""
        size = TinySize(self.hidden, self.layers, self.vision_hidden, self.vision_layers, self.pixels or 28)
        vlm = build_tiny(self.family, _CORPUS, size=size, seed=seed)
        vlm.model.to(resolve_device(self.device), DTYPES[self.dtype])
        # Whole words only, so that a text has as many tokens when the listener reads it as when it was written.
        words = {vlm.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in _COLOURS}
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
            words = " ".join(draw.choice(_COLOURS, self.prompt_tokens - bare + (bare - self._length(vlm, "red")) + 1))
            side = self.pixels or 28
            noise = draw.integers(0, 255, (2, side, side, 3), dtype=np.uint8)
            first, second = map(Image.fromarray, noise)
            pairs.append(Pair(f"p{k}", words, first, second, Votes(1.0, 0.0)))
        return pairs

    def messages(self, vlm: Vlm, pair: Pair) -> list[dict[str, Any]]:
        """The question about a pair, with or without places for images."""
        (message,) = reasoner_messages(pair.prompt, vlm.prompts)
        if self.pixels:
            return [message]
        return [{**message, "content": [part for part in message["content"] if part["type"] == "text"]}]

    def images(self, pair: Pair) -> list[Any]:
        return [pair.first, pair.second] if self.pixels else []

    def texts(self, rows: int) -> list[str]:
        """Traces of `new_tokens` words for the listener to read."""
        draw = np.random.default_rng(1)
        return [" ".join(draw.choice(_COLOURS, self.new_tokens)) for _ in range(rows)]

    def _length(self, vlm: Vlm, prompt: str) -> int:
        """Tokens of the question beside those of its images."""
        messages = reasoner_messages(prompt, vlm.prompts)
        text = vlm.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return len(vlm.tokenizer(text, add_special_tokens=False)["input_ids"]) - 2 * bool(self.pixels)


def repeated(pairs: Sequence[Pair], group: int) -> list[Pair]:
    """Every pair as often as it has completions, side by side."""
    return [pair for pair in pairs for _ in range(group)]
