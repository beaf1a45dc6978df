"""Attention of single tokens to a prompt that lies in memory once, and to the tokens that their own row drew before.

A cache with a row for each completion holds the prompt's keys and values G times, and every new token reads all of
them. Here the queries of all rows that continue a prompt read it together, in one product of matrices.

Shapes: N prompts, P prompt tokens (padded on the left), R rows that continue them, L rows of the prompt with most,
T tokens drawn so far, H query heads, K key heads, Q = H / K, D size of a head.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer

from earshot.vlm.prefix.inside import base_of, takes_own_mask

NAME = "earshot_shared_prompt"


class SharedPrompts(NamedTuple):
    """The prompts that the rows of a pass continue, and which row continues which.

    Attributes:
        layers: The prompts' cache, layer by layer.
        hidden: True where a prompt token is padding; None where none is.
        owners: The prompt of each row, and the row's number among those of its prompt; None where every prompt has as
            many rows and they stand in order.
        rows: The inverse of `owners`; any row where a prompt has fewer than the most.
    """

    layers: list[Any]
    hidden: Bool[torch.Tensor, "n 1 1 p"] | None
    owners: tuple[Int[torch.Tensor, " r"], Int[torch.Tensor, " r"]] | None
    rows: Int[torch.Tensor, "n l"]

    def by_prompt(self, values: Float[torch.Tensor, "r ..."]) -> Float[torch.Tensor, "n l ..."]:
        """The rows' values, prompt by prompt."""
        return values.unflatten(0, tuple(self.rows.shape)) if self.owners is None else values[self.rows]

    def by_row(self, values: Float[torch.Tensor, "n l ..."]) -> Float[torch.Tensor, "r ..."]:
        """The prompts' values, row by row."""
        return values.flatten(0, 1) if self.owners is None else values[self.owners]


def can_share_prompts(model: Any, cache: Any, owners: Int[torch.Tensor, " r"]) -> bool:
    """Whether rows with these owners share a prompt, in a model whose attention `shared_prompt_attention` computes.

    Where they can, it was never slower than copies; docs/decisions/shared-prefix.md has the measurements.
    """
    if not takes_own_mask(model) or not all(type(layer) is DynamicLayer for layer in cache.layers):
        return False
    return owners.unique().numel() < owners.numel()


def share_prompts(cache: Any, mask: Int[torch.Tensor, "n p"], owners: Int[torch.Tensor, " r"]) -> SharedPrompts:
    """The prompts for rows with these owners; those that none continues are left out.

    Args:
        cache: The prompts' cache; it is left as it was.
        mask: 1 where a prompt token is real.
        owners: The prompt of each row.
    """
    kept, owners = owners.unique(return_inverse=True)
    if kept.numel() < mask.size(0):
        cache = copy.copy(cache)
        cache.layers = [copy.copy(layer) for layer in cache.layers]
        cache.batch_select_indices(kept)
        mask = mask[kept]
    counts = torch.bincount(owners)
    order = owners.argsort(stable=True)
    numbers = torch.arange(owners.numel(), device=owners.device) - (counts.cumsum(0) - counts)[owners[order]]
    lanes = torch.empty_like(owners).scatter_(0, order, numbers)
    rows = owners.new_zeros(kept.numel(), int(counts.max()))
    everyone = torch.arange(owners.numel(), device=owners.device)
    rows[owners, lanes] = everyone
    in_order = rows.numel() == owners.numel() and bool((rows.flatten() == everyone).all())
    hidden = None if bool(mask.all()) else mask[:, None, None] == 0
    return SharedPrompts(cache.layers, hidden, None if in_order else (owners, lanes), rows)


@contextmanager
def sharing_attention(model: Any) -> Iterator[None]:
    """Within, the language model's attention takes a `SharedPrompts` as the argument `shared_prompts` of a pass."""
    text = base_of(model).config.get_text_config()
    before = text._attn_implementation
    text._attn_implementation = NAME
    try:
        yield
    finally:
        text._attn_implementation = before


def shared_prompt_attention(
    module: Any,
    query: Float[torch.Tensor, "r h 1 d"],
    key: Float[torch.Tensor, "r k t d"],
    value: Float[torch.Tensor, "r k t d"],
    attention_mask: None,
    *,
    scaling: float,
    shared_prompts: SharedPrompts,
    **_: Any,
) -> tuple[Float[torch.Tensor, "r 1 h d"], None]:
    """One softmax over the prompt's tokens and the row's own, whose two halves are computed apart.

    Args:
        module: The layer, of which the index is taken.
        query: One token a row.
        key: Of the row's own tokens, the new one among them.
        value: Likewise.
        attention_mask: None; a row sees all of its own tokens.
        scaling: Of the products.
        shared_prompts: What the rows continue.
        **_: What else transformers tells of attention that is plainly causal.
    """
    prompts = shared_prompts
    layer = prompts.layers[module.layer_idx]
    keys_NKPD, values_NKPD = layer.keys, layer.values
    r, h, _one, d = query.shape
    n, k, p, _d = keys_NKPD.shape
    query_RKQD = query.view(r, k, h // k, d) * scaling
    query_NKLQD = prompts.by_prompt(query_RKQD).transpose(1, 2)
    far = query_NKLQD.reshape(n, k, -1, d) @ keys_NKPD.transpose(2, 3)
    if prompts.hidden is not None:
        far = far.masked_fill(prompts.hidden, -torch.inf)
    far_RKQP = prompts.by_row(far.view(n, k, -1, h // k, p).transpose(1, 2))
    near_RKQT = query_RKQD @ key.transpose(2, 3)
    weights = torch.cat([far_RKQP, near_RKQT], dim=3).softmax(dim=3, dtype=torch.float32).to(query.dtype)
    far_NKLQP = prompts.by_prompt(weights[..., :p]).transpose(1, 2)
    seen_NKLQD = (far_NKLQP.reshape(n, k, -1, p) @ values_NKPD).view(n, k, -1, h // k, d)
    seen_RKQD = prompts.by_row(seen_NKLQD.transpose(1, 2)) + weights[..., p:] @ value
    return seen_RKQD.reshape(r, 1, h, d), None


AttentionInterface.register(NAME, shared_prompt_attention)
