"""Attention to prompts that lie in memory once, and under masks that are not written out.

*Sampling.* A cache with a row for each completion holds the prompt's keys and values G times, and every new token
reads all of them. Here the queries of all rows that continue a prompt read it together, in one product of matrices.

*Packed rows.* A dense mask of a row grows with the square of its length; FlexAttention knows the mask as a rule.

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
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from earshot.vlm.mechanisms import OWN_ATTENTION, base_of, takes_own_mask

_BLOCK = 128  # tokens, as FlexAttention has them


class SharedPrompts(NamedTuple):
    """The prompts that the rows of a pass continue, and which row continues which.

    Attributes:
        layers: The prompts' cache, layer by layer.
        hidden: True where a prompt token is padding; None where none is.
        owners: The prompt of each row, and the row's number among those of its prompt; None where every prompt has as
            many rows and they stand in order.
        rows: The inverse of `owners`; any row where a prompt has fewer than the most.
        unwritten: True at places for the rows' own tokens that hold none yet; None where there are no such places.
    """

    layers: list[Any]
    hidden: Bool[torch.Tensor, "n 1 1 p"] | None
    owners: tuple[Int[torch.Tensor, " r"], Int[torch.Tensor, " r"]] | None
    rows: Int[torch.Tensor, "n l"]
    unwritten: Bool[torch.Tensor, "1 1 1 t"] | None = None

    def by_prompt(self, values: Float[torch.Tensor, "r ..."]) -> Float[torch.Tensor, "n l ..."]:
        """The rows' values, prompt by prompt."""
        return values.unflatten(0, tuple(self.rows.shape)) if self.owners is None else values[self.rows]

    def by_row(self, values: Float[torch.Tensor, "n l ..."]) -> Float[torch.Tensor, "r ..."]:
        """The prompts' values, row by row."""
        return values.flatten(0, 1) if self.owners is None else values[self.owners]


def can_share_prompts(model: Any, cache: Any) -> bool:
    """Whether rows can share this cache's prompts: whether `shared_prompt_attention` computes the model's attention."""
    return takes_own_mask(model) and all(type(layer) is DynamicLayer for layer in cache.layers)


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
    text._attn_implementation = OWN_ATTENTION
    try:
        yield
    finally:
        text._attn_implementation = before


def mask_by_rule(model: Any, segments: Int[torch.Tensor, "n l"]) -> BlockMask:
    """Each token sees what is before it in its own segment and in the prompt, segment 0.

    Takes a few bytes for each pair of blocks of 128 tokens, where torch's own `create_block_mask` takes ten for each
    pair of tokens while it looks for the blocks that nothing is seen of.

    From here on the language model's attention takes such masks; under others it is what it was. That must outlast the
    pass, because layers that are checkpointed are computed again in the backward one.

    Args:
        model: Its attention is transformers' `sdpa`.
        segments: The segment of each token of each row, -1 of padding at its end.
    """

    base_of(model).config.get_text_config()._attn_implementation = OWN_ATTENTION
    rest = -segments.size(1) % _BLOCK
    blocks_NBT = torch.nn.functional.pad(segments, (0, rest), value=-1).unflatten(1, (-1, _BLOCK))
    low_NB, high_NB = blocks_NBT.amin(2), blocks_NBT.amax(2)
    prompt_NB = (blocks_NBT == 0).any(2)
    before = torch.ones(low_NB.size(1), low_NB.size(1), dtype=torch.bool, device=segments.device).tril()
    # Some token of the one may see some token of the other: segments come one after another.
    met = (low_NB[:, :, None] <= high_NB[:, None]) & (low_NB[:, None] <= high_NB[:, :, None])
    some = before & (prompt_NB[:, None] | met)
    one_segment = low_NB == high_NB
    same = (low_NB[:, :, None] == low_NB[:, None]) & one_segment[:, :, None] & one_segment[:, None]
    whole = before.tril(-1) & ((one_segment & prompt_NB)[:, None] | same)
    if rest:
        whole[:, -1] = False  # its last tokens are none
    return BlockMask.from_kv_blocks(
        *_listed(some & ~whole),
        *_listed(whole),
        BLOCK_SIZE=_BLOCK,
        mask_mod=lambda row, _head, query, key: (
            (query >= key) & ((segments[row, query] == segments[row, key]) | (segments[row, key] == 0))
        ),
        seq_lengths=(segments.size(1), segments.size(1)),
    )


def _listed(blocks: Bool[torch.Tensor, "n q k"]) -> tuple[Int[torch.Tensor, "n 1 q"], Int[torch.Tensor, "n 1 q k"]]:
    """For each block of queries how many blocks of keys it has, and which, these first."""
    order = blocks.int().argsort(dim=2, descending=True, stable=True)
    return blocks.sum(2, dtype=torch.int32)[:, None], order.int()[:, None]


def attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **given: Any) -> tuple[Any, Any]:
    """The attention that a pass asks for by its arguments; transformers' `sdpa` where it asks for nothing."""
    if "shared_prompts" in given:
        return shared_prompt_attention(module, query, key, value, **given)
    if isinstance(attention_mask, BlockMask):
        return flex_attention_forward(module, query, key, value, attention_mask, **given)
    return sdpa_attention_forward(module, query, key, value, attention_mask, **given)


def shared_prompt_attention(
    module: Any,
    query: Float[torch.Tensor, "r h 1 d"],
    key: Float[torch.Tensor, "r k t d"],
    value: Float[torch.Tensor, "r k t d"],
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
    if prompts.unwritten is not None:
        near_RKQT = near_RKQT.masked_fill(prompts.unwritten, -torch.inf)
    weights = torch.cat([far_RKQP, near_RKQT], dim=3).softmax(dim=3, dtype=torch.float32).to(query.dtype)
    far_NKLQP = prompts.by_prompt(weights[..., :p]).transpose(1, 2)
    seen_NKLQD = (far_NKLQP.reshape(n, k, -1, p) @ values_NKPD).view(n, k, -1, h // k, d)
    seen_RKQD = prompts.by_row(seen_NKLQD.transpose(1, 2)) + weights[..., p:] @ value
    return seen_RKQD.reshape(r, 1, h, d), None


AttentionInterface.register(OWN_ATTENTION, attention)
AttentionMaskInterface.register(OWN_ATTENTION, sdpa_mask)
