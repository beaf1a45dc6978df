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
from earshot.vlm.prefix.growing import growing_cache
from earshot.vlm.prefix.inside import in_all_axes

_WORTH_DROPPING = 0.75  # copying the cache without the ended rows pays once they are a quarter


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
    width, length = prefix.mask.size(1), sampling.max_new_tokens
    drawing = _Drawing(sampling, prefix.logits)
    cache = growing_cache(prefix.cache, rows)
    mask = torch.nn.functional.pad(prefix.mask[rows], (0, length), value=1)  # rows that have ended are never read
    position, logits, uniforms = prefix.next_position[rows], prefix.logits[rows], uniforms.to(device)
    texts = torch.full((len(owners), length), sampling.pad_id, device=device)
    lengths = torch.full((len(owners),), length, device=device)
    live = torch.arange(len(owners), device=device)  # the rows of the pass, by their place in `texts`
    with torch.no_grad():
        for step in range(length):
            drawn = drawing(logits, uniforms[live, step])
            texts[live, step] = drawn.masked_fill(lengths[live] <= step, sampling.pad_id)
            ends = drawing.ends(drawn) & (lengths[live] > step)
            lengths[live] = torch.where(ends, step + 1, lengths[live])
            kept = (lengths[live] > step + 1).nonzero()[:, 0]
            if kept.numel() == 0 or step + 1 == length:
                break
            if kept.numel() <= _WORTH_DROPPING * live.numel():
                cache.batch_select_indices(kept)
                live, mask, position = live[kept], mask[kept], position[kept]
            output = model(
                input_ids=texts[live, step][:, None],
                attention_mask=mask[:, : width + step + 1],
                position_ids=in_all_axes(model, position[:, None] + step),
                past_key_values=cache,
                use_cache=True,
            )
            logits = output.logits[:, -1]
    return [row[:n] for row, n in zip(texts.tolist(), lengths.tolist(), strict=True)]


class _Drawing:
    """Draws tokens from logits; what does not change from token to token is made once."""

    def __init__(self, sampling: Sampling, logits: Float[torch.Tensor, "n v"]) -> None:
        self._temperature = sampling.temperature
        self._forbidden = torch.zeros(logits.size(1), dtype=torch.bool, device=logits.device)
        self._forbidden[list(sampling.forbidden_ids)] = True
        self._stops = torch.zeros_like(self._forbidden)
        self._stops[list(sampling.stop_ids)] = True

    def __call__(self, logits: Float[torch.Tensor, "r v"], uniform: Float[torch.Tensor, " r"]) -> torch.Tensor:
        logits = logits.float().masked_fill(self._forbidden, -torch.inf)
        if not bool(torch.isfinite(logits.amax(dim=-1)).all()):  # NaN is the largest of any row that holds one
            raise ModelError(
                "sampling: the model's logits are not finite; its weights are broken, or its dtype too narrow"
            )
        if self._temperature == 0:
            return logits.argmax(dim=-1)
        cumulative = (logits / self._temperature).softmax(dim=-1).cumsum(dim=-1)
        # Scaled by the last value: rounding leaves the sum a little off 1, and no token lies beyond it.
        drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
        return drawn[:, 0].clamp(max=logits.size(-1) - 1)

    def ends(self, drawn: Int[torch.Tensor, " r"]) -> torch.Tensor:
        """Whether each token ends its row."""
        return self._stops[drawn]
