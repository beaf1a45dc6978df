"""Sampled continuations of encoded prompts.

Shapes: N prefixes, R rows that continue them, S tokens drawn, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int

from earshot.errors import ModelError
from earshot.vlm.prefix.encode import Prefix
from earshot.vlm.prefix.inside import cache_rows, in_all_axes


class Sampling(NamedTuple):
    """How tokens are drawn.

    Attributes:
        max_new_tokens: Rows that have not ended by then are cut.
        temperature: Divides the logits; 0 takes the likeliest token.
        stop_ids: Tokens that end a row; the one that ended it is kept.
        forbidden_ids: Tokens that are never drawn.
        pad_id: Fed to rows that have ended, never returned.
    """

    max_new_tokens: int
    temperature: float
    stop_ids: Sequence[int]
    forbidden_ids: Sequence[int]
    pad_id: int


def sample(
    model: Any,
    prefix: Prefix,
    owners: Sequence[int],
    uniforms: Float[torch.Tensor, "r s"],
    sampling: Sampling,
) -> list[list[int]]:
    """Sampled continuations of the prefixes, R lists of token ids that include the stop token; without gradients.

    Each token is the inverse of the cumulative distribution at the row's own uniform number, so that a row's text
    does not depend on what it is batched with.

    Args:
        model: The model that encoded `prefix`.
        prefix: N prefixes; it is left as it was.
        owners: For each of the R rows, which prefix it continues.
        uniforms: Numbers in [0, 1), one for each row and token.
        sampling: Lengths, temperature, stop and forbidden tokens.

    Raises:
        ModelError: The model's logits are not finite.
    """
    device = prefix.mask.device
    rows = torch.tensor(owners, device=device)
    uniforms = uniforms.to(device)
    cache = cache_rows(prefix.cache, rows)
    mask, position, logits = prefix.mask[rows], prefix.next_position[rows], prefix.logits[rows]
    stops = torch.tensor(list(sampling.stop_ids), device=device)
    tokens: list[torch.Tensor] = []
    ended = torch.zeros(len(owners), dtype=torch.bool, device=device)
    with torch.no_grad():
        for step in range(sampling.max_new_tokens):
            drawn = _draw(logits, uniforms[:, step], sampling)
            tokens.append(drawn.masked_fill(ended, sampling.pad_id))
            mask = torch.cat([mask, (~ended).long()[:, None]], dim=1)
            ended = ended | torch.isin(drawn, stops)
            if bool(ended.all()) or step + 1 == sampling.max_new_tokens:
                break
            output = model(
                input_ids=tokens[-1][:, None],
                attention_mask=mask,
                position_ids=in_all_axes(model, position[:, None] + step),
                past_key_values=cache,
                use_cache=True,
            )
            cache, logits = output.past_key_values, output.logits[:, -1]
    lengths = mask[:, prefix.mask.size(1) :].sum(1).tolist()
    return [row[:length] for row, length in zip(torch.stack(tokens, 1).tolist(), lengths, strict=True)]


def _draw(
    logits: Float[torch.Tensor, "r v"], uniform: Float[torch.Tensor, " r"], sampling: Sampling
) -> Int[torch.Tensor, " r"]:
    logits = logits.float()
    if sampling.forbidden_ids:
        logits = logits.index_fill(1, torch.tensor(list(sampling.forbidden_ids), device=logits.device), -torch.inf)
    if not bool(torch.isfinite(logits.amax(dim=-1)).all()):  # NaN is the largest of any row that holds one
        raise ModelError("sampling: the model's logits are not finite; its weights are broken, or its dtype too narrow")
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    cumulative = (logits / sampling.temperature).softmax(dim=-1).cumsum(dim=-1)
    # Scaled by the last value: rounding leaves the sum a little off 1, and no token lies beyond it.
    drawn = torch.searchsorted(cumulative, (uniform[:, None] * cumulative[:, -1:]).to(cumulative.dtype), right=True)
    return drawn[:, 0].clamp(max=logits.size(-1) - 1)
