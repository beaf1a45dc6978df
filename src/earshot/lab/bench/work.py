"""Work counted beside time: what really went through a model, whatever way it was called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from earshot.vlm.mechanisms import core_of


@dataclass
class Work:
    """What was computed.

    Attributes:
        images: Images through the vision tower.
        language_tokens: Tokens through the language model, padding included.
        multiply_adds: Of all weights but embeddings and the head, where gradients are taken twice as many, and three
            times of weights that are trained; attention among tokens is not in it.
    """

    images: int = 0
    language_tokens: int = 0
    multiply_adds: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.images + other.images,
            self.language_tokens + other.language_tokens,
            self.multiply_adds + other.multiply_adds,
        )


def ideal_ratio(ours: Work, stock: Work) -> float | None:
    """How many times faster the work alone would let us be; None where none was counted."""
    return stock.multiply_adds / ours.multiply_adds if ours.multiply_adds else None


@contextmanager
def counted(model: Any, work: Work) -> Iterator[None]:
    """Adds to `work` what goes through the model inside."""
    core = core_of(model)
    vision: Any = getattr(core, "visual", None) or core.vision_tower
    language: Any = core.language_model
    embeddings = {id(p) for p in language.get_input_embeddings().parameters()}
    weights = {part: [p for p in part.parameters() if id(p) not in embeddings] for part in (vision, language)}

    def add(part: Any, tokens: int) -> None:
        every, trained = (sum(p.numel() for p in weights[part] if p.requires_grad or not of) for of in (False, True))
        learns = torch.is_grad_enabled() and trained > 0
        work.multiply_adds += tokens * (2 * every + trained if learns else every)

    def on_vision(part: Any, args: Any, kwargs: dict[str, Any]) -> None:
        grid = kwargs.get("grid_thw")
        if grid is not None:
            work.images += grid.size(0)
            add(part, int(grid.prod(-1).sum()))
        else:
            images = (args[0] if args else kwargs["pixel_values"]).size(0)
            work.images += images
            add(part, images * (part.config.image_size // part.config.patch_size) ** 2)

    def on_language(part: Any, args: Any, kwargs: dict[str, Any]) -> None:
        embedded = kwargs.get("inputs_embeds")
        tokens = (kwargs["input_ids"] if embedded is None else embedded).shape[:2].numel()
        work.language_tokens += tokens
        add(part, tokens)

    hooks = [
        vision.register_forward_pre_hook(on_vision, with_kwargs=True),
        language.register_forward_pre_hook(on_language, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
