"""Prompts encoded once, and next-token logits on top of them.

Shapes: N prefixes, P prefix tokens (padded on the left), R rows that continue them, S suffix tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int

from earshot.errors import ModelError
from earshot.vlm.prefix.inside import cache_rows, checkpoints_layers, in_all_axes, next_positions, prompt_positions
from earshot.vlm.prefix.pictures import layout_is_known, picture_inputs, split_pictures


class Prefix(NamedTuple):
    """N encoded prompts, ready to be continued.

    Attributes:
        cache: The key-value cache of N rows.
        mask: 1 where a prefix token is real, 0 where it is padding.
        next_position: The position that the next token of each prefix takes.
        logits: Next-token logits after each prefix.
    """

    cache: Any
    mask: Int[torch.Tensor, "n p"]
    next_position: Int[torch.Tensor, " n"]
    logits: Float[torch.Tensor, "n v"]


def encode_prefix(model: Any, inputs: Mapping[str, Any], *, with_gradients: bool = False) -> Prefix:
    """Encodes N left-padded prompts with their images, each distinct image once.

    Args:
        model: A transformers image-text-to-text model, possibly wrapped by PEFT.
        inputs: A batch from `Vlm.encode`, on the model's device.
        with_gradients: Keep what a backward pass through the cache needs, for `shared_logps(cache=...)`.

    Raises:
        ModelError: Image tokens disagree with images (the message names the row), or the model keeps no key-value
            cache, so that nothing can be continued.
    """
    if checkpoints_layers(model):
        raise ModelError("a model in training whose layers are checkpointed keeps no cache; call eval() before")
    positions = prompt_positions(model, inputs)
    given = dict(inputs)
    with torch.set_grad_enabled(with_gradients):
        if layout_is_known(model, given):
            pictures = split_pictures(model, given)
            given = {name: given[name] for name in ("input_ids", "attention_mask")} | picture_inputs(model, pictures)
        output = model(**given, position_ids=positions, use_cache=True, logits_to_keep=1)
    if output.past_key_values is None:
        raise ModelError(f"{type(model).__name__} returns no key-value cache; its prefixes cannot be shared")
    cache = output.past_key_values
    return Prefix(cache, inputs["attention_mask"], next_positions(positions), output.logits[:, -1])


def suffix_logits(
    model: Any, prefix: Prefix, owners: Sequence[int], suffixes: Sequence[Sequence[int]], *, pad_id: int
) -> Float[torch.Tensor, "r v"]:
    """Next-token logits after each suffix, put onto the prefix that owns it; without gradients.

    Args:
        model: The model that encoded `prefix`.
        prefix: N prefixes; it is left as it was.
        owners: For each of the R rows, which prefix it continues.
        suffixes: R lists of token ids, none of them empty.
        pad_id: Written before shorter suffixes; masked out.
    """
    ids, mask = _padded_on_the_left(suffixes, pad_id, prefix.mask.device)
    rows = torch.tensor(owners, device=prefix.mask.device)
    steps = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        output = model(
            input_ids=ids,
            attention_mask=torch.cat([prefix.mask[rows], mask], dim=1),
            position_ids=in_all_axes(model, prefix.next_position[rows, None] + steps),
            past_key_values=cache_rows(prefix.cache, rows),
            use_cache=True,
            logits_to_keep=1,
        )
    return output.logits[:, -1]


def continued_logits(
    model: Any, inputs: Mapping[str, Any], owners: Sequence[int], suffixes: Sequence[Sequence[int]], *, pad_id: int
) -> Float[torch.Tensor, "r v"]:
    """Next-token logits after each suffix, put onto the prompt that owns it; without gradients.

    Prompts with several suffixes are encoded once, apart from these; where each prompt has just its own, one pass
    over whole rows is faster than two.

    Args:
        model: A transformers image-text-to-text model, possibly wrapped by PEFT.
        inputs: N left-padded prompts from `Vlm.encode`, on the model's device.
        owners: For each of the R rows, which prompt it continues.
        suffixes: R lists of token ids, none of them empty.
        pad_id: Written before shorter suffixes; masked out.

    Raises:
        ModelError: As `encode_prefix`.
    """
    if list(owners) != list(range(inputs["input_ids"].size(0))) or not layout_is_known(model, inputs):
        return suffix_logits(model, encode_prefix(model, inputs), owners, suffixes, pad_id=pad_id)
    ids, mask = _padded_on_the_left(suffixes, pad_id, inputs["input_ids"].device)
    positions = prompt_positions(model, inputs)
    after = next_positions(positions)[:, None] + (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        output = model(
            input_ids=torch.cat([inputs["input_ids"], ids], dim=1),
            attention_mask=torch.cat([inputs["attention_mask"], mask], dim=1),
            position_ids=torch.cat([positions, in_all_axes(model, after)], dim=-1),
            **picture_inputs(model, split_pictures(model, inputs)),
            use_cache=False,
            logits_to_keep=1,
        )
    return output.logits[:, -1]


def _padded_on_the_left(
    suffixes: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Int[torch.Tensor, "r s"], Int[torch.Tensor, "r s"]]:
    """Ids and mask; the padding lies between prompt and suffix, so that every row's last column is its last token."""
    width = max(len(suffix) for suffix in suffixes)
    ids = torch.full((len(suffixes), width), pad_id)
    mask = torch.zeros_like(ids)
    for row, suffix in enumerate(suffixes):
        ids[row, width - len(suffix) :] = torch.tensor(suffix)
        mask[row, width - len(suffix) :] = 1
    return ids.to(device), mask.to(device)
