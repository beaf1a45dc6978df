"""Sampled continuations of encoded prompts.

Shapes: N prefixes, R rows that continue them, S tokens drawn, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from transformers import GenerationConfig
from transformers.generation import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from earshot.errors import ModelError
from earshot.types import Wanted
from earshot.vlm.mechanisms import OF_TEXT, base_of
from earshot.vlm.prefix.attention import can_share_prompts, share_prompts, sharing_attention
from earshot.vlm.prefix.captured import CapturedRows, can_capture
from earshot.vlm.prefix.encode import Prefix, next_logits
from earshot.vlm.prefix.growing import growing_cache
from earshot.vlm.prefix.pictures import layout_is_known, split_pictures
from earshot.vlm.prefix.whole import repeated_images, rows_at_once

_WORTH_DROPPING = 0.75  # copying the cache without the ended rows pays once they are a quarter
_WORTH_CAPTURING = 32  # tokens; a graph takes as long to make as some of them


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
    wanted: Wanted | None = None,
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
        wanted: Asked of every prefix after every token; the rows of one that is not are cut there.

    Raises:
        ModelError: The model's logits are not finite.
    """
    if prefix.cache is None:
        return _stock_samples(model, prefix, owners, uniforms, sampling, wanted)
    assert prefix.next_position is not None
    assert prefix.logits is not None
    device = prefix.mask.device
    rows, length = torch.tensor(owners, device=device), sampling.max_new_tokens
    drawing = _Drawing(sampling, prefix.logits)
    logits, uniforms = prefix.logits[rows], uniforms.to(device)
    texts = torch.full((len(owners), length), sampling.pad_id, device=device)
    lengths = torch.full((len(owners),), length, device=device)
    live = torch.arange(len(owners), device=device)  # the rows of the pass, by their place in `texts`
    unseen = _tokens_unseen(device)
    with torch.no_grad(), _rows_of(model, prefix, rows, length) as continued:
        for step in range(length):
            drawn = drawing(logits, uniforms[live, step])
            texts[live, step] = drawn.masked_fill(lengths[live] <= step, sampling.pad_id)
            ends = drawing.ends(drawn) & (lengths[live] > step)
            lengths[live] = torch.where(ends, step + 1, lengths[live])
            if wanted is not None and (gone := [k for k in range(prefix.mask.shape[0]) if not wanted(k)]):
                left = torch.isin(rows[live], torch.tensor(gone, device=device))
                lengths[live] = torch.where(left, lengths[live].clamp(max=step + 1), lengths[live])
            if step + 1 == length:
                break
            if (step + 1) % unseen == 0:
                drawing.check()
                kept = (lengths[live] > step + 1).nonzero()[:, 0]
                if kept.numel() == 0:
                    break
                if kept.numel() <= continued.worth_dropping * live.numel():
                    continued.keep(kept)
                    live = live[kept]
            logits = continued.logits(texts[live, step])
    drawing.check()
    return [row[:n] for row, n in zip(texts.tolist(), lengths.tolist(), strict=True)]


def _tokens_unseen(device: torch.device) -> int:
    """How many tokens are drawn before the device is asked which rows have ended: a GPU must finish for it."""
    return 1 if device.type == "cpu" else 8


def _stock_samples(
    model: Any,
    prefix: Prefix,
    owners: Sequence[int],
    uniforms: Float[torch.Tensor, "r s"],
    sampling: Sampling,
    wanted: Wanted | None,
) -> list[list[int]]:
    """As `sample`, by transformers' own loop over whole rows, told each token that our own numbers draw."""
    inputs, base = prefix.inputs, base_of(model)
    pictures = split_pictures(model, inputs) if layout_is_known(model, inputs) else None
    at_once = rows_at_once(inputs, pictures, len(owners))
    texts: list[list[int]] = []
    for start in range(0, len(owners), at_once):
        rows = list(owners[start : start + at_once])
        images = repeated_images(inputs, rows) if pictures is None else pictures.of(rows).inputs()
        given = {name: inputs[name][rows] for name in inputs if name in OF_TEXT}
        width = given["input_ids"].size(1)
        drawn = _Drawn(sampling, uniforms[start : start + at_once].to(prefix.mask.device), width)
        before = base.generation_config
        base.generation_config = GenerationConfig(pad_token_id=sampling.pad_id, eos_token_id=list(sampling.stop_ids))
        try:
            written = base.generate(
                **given,
                **images,
                max_new_tokens=sampling.max_new_tokens,
                do_sample=False,
                logits_processor=LogitsProcessorList([drawn]),
                stopping_criteria=StoppingCriteriaList([_Unwanted(rows, wanted)] if wanted is not None else []),
            )[:, width:].tolist()
        finally:
            base.generation_config = before
        texts += [_until_stop(row, sampling.stop_ids) for row in written]
    return texts


def _until_stop(ids: list[int], stop_ids: Sequence[int]) -> list[int]:
    """A row up to and with the first token that ends it."""
    end = next((place + 1 for place, token in enumerate(ids) if token in stop_ids), len(ids))
    return ids[:end]


class _Drawn(LogitsProcessor):
    """Leaves of each row's logits the token that `_Drawing` draws with the row's own numbers."""

    def __init__(self, sampling: Sampling, uniforms: Float[torch.Tensor, "r s"], width: int) -> None:
        self._sampling, self._uniforms, self._width = sampling, uniforms, width
        self._drawing: _Drawing | None = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self._drawing is None:
            self._drawing = _Drawing(self._sampling, scores)
        drawn = self._drawing(scores, self._uniforms[:, input_ids.size(1) - self._width])
        self._drawing.check()
        return torch.full_like(scores, -torch.inf).scatter(1, drawn[:, None], 0.0)


class _Unwanted(StoppingCriteria):
    """Ends the rows of prompts that nobody wants any more."""

    def __init__(self, owners: Sequence[int], wanted: Wanted) -> None:
        self._owners, self._wanted = owners, wanted

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.tensor([not self._wanted(owner) for owner in self._owners], device=input_ids.device)


@contextmanager
def _rows_of(
    model: Any, prefix: Prefix, owners: Int[torch.Tensor, " r"], length: int
) -> Iterator[_SharedRows | _CopiedRows | CapturedRows]:
    """The rows that continue a prefix, in the form that is faster for so many of them and so many tokens."""
    shareable = can_share_prompts(model, prefix.cache)
    captured = shareable and length >= _WORTH_CAPTURING and can_capture(model, owners.device)
    if not captured and not (shareable and owners.unique().numel() < owners.numel()):
        yield _CopiedRows(model, prefix, owners)
        return
    # Where prompts have several rows each it was never slower than copies: docs/decisions/shared-prefix.md.
    with sharing_attention(model):
        yield CapturedRows(model, prefix, owners, length) if captured else _SharedRows(model, prefix, owners)


class _SharedRows:
    """Rows whose cache holds their own tokens, beside prompts that are there once."""

    worth_dropping = _WORTH_DROPPING

    def __init__(self, model: Any, prefix: Prefix, owners: Int[torch.Tensor, " r"]) -> None:
        assert prefix.next_position is not None
        self._model, self._prefix, self._owners = model, prefix, owners
        self._cache, self._position = growing_cache(prefix.cache, owners, tokens=0), prefix.next_position[owners]
        self._prompts = share_prompts(prefix.cache, prefix.mask, owners)

    def logits(self, ids: Int[torch.Tensor, " r"]) -> Float[torch.Tensor, "r v"]:
        """Next-token logits after one more token of each row."""
        position, self._position = self._position, self._position + 1
        return next_logits(self._model, ids[:, None], position[:, None], self._cache, shared_prompts=self._prompts)

    def keep(self, rows: Int[torch.Tensor, " k"]) -> None:
        """Leaves out the other rows, and prompts that none continues any more."""
        self._cache.batch_select_indices(rows)
        self._owners, self._position = self._owners[rows], self._position[rows]
        self._prompts = share_prompts(self._prefix.cache, self._prefix.mask, self._owners)


class _CopiedRows:
    """Rows whose cache holds a copy of their prompt, for attention that may be of any kind."""

    worth_dropping = _WORTH_DROPPING

    def __init__(self, model: Any, prefix: Prefix, owners: Int[torch.Tensor, " r"]) -> None:
        assert prefix.next_position is not None
        self._model, self._mask = model, prefix.mask[owners]
        self._cache, self._position = growing_cache(prefix.cache, owners), prefix.next_position[owners]

    def logits(self, ids: Int[torch.Tensor, " r"]) -> Float[torch.Tensor, "r v"]:
        """Next-token logits after one more token of each row; rows that have ended are never read."""
        position, self._position = self._position, self._position + 1
        self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        return next_logits(self._model, ids[:, None], position[:, None], self._cache, attention_mask=self._mask)

    def keep(self, rows: Int[torch.Tensor, " k"]) -> None:
        """Leaves out the other rows."""
        self._cache.batch_select_indices(rows)
        self._mask, self._position = self._mask[rows], self._position[rows]


class _Drawing:
    """Draws tokens from logits; what does not change from token to token is made once."""

    def __init__(self, sampling: Sampling, logits: Float[torch.Tensor, "n v"]) -> None:
        self._temperature = sampling.temperature
        self._forbidden = torch.zeros(logits.size(1), dtype=torch.bool, device=logits.device)
        self._forbidden[list(sampling.forbidden_ids)] = True
        self._stops = torch.zeros_like(self._forbidden)
        self._stops[list(sampling.stop_ids)] = True
        self._finite = torch.ones((), dtype=torch.bool, device=logits.device)

    def __call__(self, logits: Float[torch.Tensor, "r v"], uniform: Float[torch.Tensor, " r"]) -> torch.Tensor:
        logits = logits.float().masked_fill(self._forbidden, -torch.inf)
        # NaN is the largest of any row that holds one.
        self._finite = self._finite & torch.isfinite(logits.amax(dim=-1)).all()
        if self._temperature == 0:
            return logits.argmax(dim=-1)
        cumulative = (logits / self._temperature).softmax(dim=-1).cumsum(dim=-1)
        # Scaled by the last value: rounding leaves the sum a little off 1, and no token lies beyond it.
        drawn = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
        return drawn[:, 0].clamp(max=logits.size(-1) - 1)

    def check(self) -> None:
        """Sees that all logits so far were finite, for which a GPU must finish what it has begun.

        Raises:
            ModelError: They were not.
        """
        if not bool(self._finite):
            raise ModelError(
                "sampling: the model's logits are not finite; its weights are broken, or its dtype too narrow"
            )

    def ends(self, drawn: Int[torch.Tensor, " r"]) -> torch.Tensor:
        """Whether each token ends its row."""
        return self._stops[drawn]
