"""Rows that share a prefix with images, computed once.

G completions of one pair, or G traces read by the listener, share the prompt and two images, which are most of the
tokens. The prefix is encoded once, its key-value cache copied to the rows that continue it, and only their own tokens
are computed on top: the same numbers as G separate rows, to rounding.

Shapes: N prefixes, P prefix tokens (padded on the left), R rows that continue them, S suffix tokens, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int

from earshot.errors import ModelError


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


def encode_prefix(model: Any, inputs: Mapping[str, Any]) -> Prefix:
    """Encodes N left-padded prompts with their images, without gradients.

    Args:
        model: A transformers image-text-to-text model, possibly wrapped by PEFT.
        inputs: A batch from `Vlm.encode`, on the model's device.

    Raises:
        ModelError: The model keeps no key-value cache, so that nothing can be continued.
    """
    positions = _prefix_positions(model, inputs)
    with torch.no_grad():
        output = model(**inputs, position_ids=positions, use_cache=True, logits_to_keep=1)
    if output.past_key_values is None:
        raise ModelError(f"{type(model).__name__} returns no key-value cache; its prefixes cannot be shared")
    last = positions[..., -1]  # the prompts are padded on the left: the last column is real in every row
    highest = positions.amax(dim=(0, 2)) if positions.dim() == 3 else last
    return Prefix(output.past_key_values, inputs["attention_mask"], highest + 1, output.logits[:, -1])


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
    width = max(len(suffix) for suffix in suffixes)
    device = prefix.mask.device
    ids = torch.full((len(suffixes), width), pad_id)
    mask = torch.zeros_like(ids)
    for row, suffix in enumerate(suffixes):
        ids[row, width - len(suffix) :] = torch.tensor(suffix)
        mask[row, width - len(suffix) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    rows = torch.tensor(owners, device=device)
    # Suffixes are padded on the left, between prefix and text, so that every row's last column is its last token.
    steps = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        output = model(
            input_ids=ids,
            attention_mask=torch.cat([prefix.mask[rows], mask], dim=1),
            position_ids=_suffix_positions(model, prefix.next_position[rows, None] + steps),
            past_key_values=_copy_rows(prefix.cache, rows),
            use_cache=True,
            logits_to_keep=1,
        )
    return output.logits[:, -1]


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
    cache = _copy_rows(prefix.cache, rows)
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
                position_ids=_suffix_positions(model, position[:, None] + step),
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


def _copy_rows(cache: Any, rows: Int[torch.Tensor, " r"]) -> Any:
    """A cache whose row `i` is row `rows[i]` of the given one, which stays as it is."""
    copied = copy.deepcopy(cache)
    copied.batch_select_indices(rows)
    return copied


def _core(model: Any) -> Any:
    """The transformers model inside wrappers such as PEFT's."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return base.model


def _prefix_positions(model: Any, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Positions of left-padded prompts: (N, P), or (3, N, P) where images take positions in time, height and width."""
    core, mask = _core(model), inputs["attention_mask"]
    if hasattr(core, "get_rope_index") and inputs.get("image_grid_thw") is not None:
        positions, _ = core.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=mask,
        )
        return positions
    plain = (mask.cumsum(1) - 1).clamp(min=0)
    return plain.expand(3, -1, -1) if hasattr(core, "get_rope_index") else plain


def _suffix_positions(model: Any, positions: Int[torch.Tensor, "r s"]) -> torch.Tensor:
    return positions.expand(3, -1, -1) if hasattr(_core(model), "get_rope_index") else positions
