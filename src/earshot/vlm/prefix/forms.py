"""The three forms in which rows of shared prompts are computed; `logps` chooses between them.

Shapes: N prompts, P prompt tokens (padded on the left), R rows, C completion tokens (padded on the right), L tokens of
a packed row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int

from earshot.errors import ModelError
from earshot.vlm.mechanisms import (
    OF_TEXT,
    attention_of,
    base_of,
    core_of,
    has_plain_head,
    in_all_axes,
    next_positions,
    prompt_positions,
    reason_for_one_pass,
    reason_for_whole_rows,
    takes_mask_by_rule,
    takes_own_mask,
)
from earshot.vlm.prefix.attention import mask_by_rule
from earshot.vlm.prefix.growing import cache_before, cache_rows
from earshot.vlm.prefix.head import Scores, score, score_logits
from earshot.vlm.prefix.pictures import Pictures, picture_inputs, prompts_with_pictures
from earshot.vlm.prefix.whole import whole_rows

Form: TypeAlias = Literal["cache", "packed", "plain"]

MASK_ENTRIES = 2**26  # of a mask that is written out, 64 MiB; larger ones are rules, where the model takes these
_IGNORED = -100


def reason_against_form(
    form: Form, model: Any, inputs: Mapping[str, Any], *, pictures: bool, one_pass: str | None
) -> str | None:
    """Why a model's rows cannot be computed in a form; None where they can.

    Args:
        form: Which.
        model: A transformers image-text-to-text model, possibly wrapped.
        inputs: What its processor made.
        pictures: Whether their images can be told apart.
        one_pass: Why gradients can go through no cache, if they cannot (`mechanisms.reason_for_one_pass`).
    """
    if form == "cache" and one_pass:
        return one_pass
    if form == "cache":
        return reason_for_whole_rows(model, inputs)
    if form == "packed" and not (takes_own_mask(model) and pictures):
        return "its attention takes no mask of ours"
    return None


class Scoring(NamedTuple):
    """What is asked of the logits: see `shared_logps`."""

    temperature: float
    with_entropy: bool
    fused_head: bool


@dataclass(frozen=True)
class Batch:
    """N prompts and the R rows that continue them.

    Attributes:
        inputs: The prompts as the model takes them.
        pictures: Their images; None where these cannot be told apart and stay in `inputs`.
        owners: Which prompt each row continues.
        completions: Token ids, padded on the right.
        mask: 1 where a completion token is real.
    """

    inputs: dict[str, Any]
    pictures: Pictures | None
    owners: Int[torch.Tensor, " r"]
    completions: Int[torch.Tensor, "r c"]
    mask: Int[torch.Tensor, "r c"]

    def rows(self, rows: list[int]) -> Batch:
        """These rows with the prompts that they continue."""
        taken = torch.tensor(rows, device=self.owners.device)
        if self.pictures is None:  # one prompt, whose images cannot be told apart
            return Batch(self.inputs, None, self.owners[taken], self.completions[taken], self.mask[taken])
        prompts, owners = self.owners[taken].unique(return_inverse=True)
        inputs, own = prompts_with_pictures(self.inputs, self.pictures, prompts.tolist())
        return Batch(inputs, own, owners, self.completions[taken], self.mask[taken])

    def texts(self) -> dict[str, Any]:
        """The prompts without their images."""
        return {name: value for name, value in self.inputs.items() if name in OF_TEXT}

    def images(self, model: Any) -> dict[str, Any]:
        """The images as the model takes them, each distinct one encoded once where that can be."""
        if self.pictures is not None:
            return picture_inputs(model, self.pictures)
        return {name: value for name, value in self.inputs.items() if name not in OF_TEXT}


def cached_scores(model: Any, batch: Batch, scoring: Scoring, cache: Any = None) -> Scores:
    """Each prompt but for its last token once; then, on copies of its cache, that token and the completion.

    Args:
        model: The model.
        batch: The rows.
        scoring: What is asked.
        cache: The prompts', where they have been computed already.
    """
    _refuse_form("cache", model, batch)
    positions = prompt_positions(model, batch.inputs)
    texts = {name: value[:, :-1] for name, value in batch.texts().items()}
    target = model if scoring.fused_head else core_of(model)
    keep = {"logits_to_keep": 1} if scoring.fused_head else {}
    if cache is None:
        cache = target(
            **texts, **batch.images(model), position_ids=positions[..., :-1], use_cache=True, **keep
        ).past_key_values
    else:
        cache = cache_before(cache, positions.size(-1) - 1)
    last = next_positions(positions)[batch.owners] - 1
    steps = torch.arange(batch.completions.size(1), device=last.device)
    inputs = {
        "input_ids": _shifted(batch, batch.inputs["input_ids"][batch.owners, -1]),
        "attention_mask": torch.cat([texts["attention_mask"][batch.owners], _seen(batch)], dim=1),
        "position_ids": in_all_axes(model, last[:, None] + steps),
        "past_key_values": cache_rows(cache, batch.owners),
    }
    return _scores(model, inputs, batch.completions.masked_fill(batch.mask == 0, _IGNORED), scoring)


def packed_scores(model: Any, batch: Batch, scoring: Scoring) -> Scores:
    """One row for each prompt: its tokens but the last, then that token and the completion for each continuation."""
    _refuse_form("packed", model, batch)
    packed = _pack(batch, prompt_positions(model, batch.inputs))
    inputs = {
        "input_ids": packed.ids,
        "attention_mask": _mask(model, packed.segments),
        "position_ids": packed.positions,
        **batch.images(model),
    }
    return _by_completion(batch, _scores(model, inputs, packed.targets, scoring), packed.places)


def plain_scores(model: Any, batch: Batch, scoring: Scoring) -> Scores:
    """Whole rows, prompts and images standing once for each completion."""
    rows = whole_rows(model, batch.inputs, batch.pictures, batch.owners.tolist(), batch.completions, batch.mask)
    real = batch.mask.bool()
    steps = torch.arange(real.size(1), device=real.device)
    numbers = torch.arange(real.size(0), device=real.device)[:, None].expand_as(real)
    before = (numbers[real], (rows.starts[:, None] + steps)[real] - 1)  # where each completion token is predicted
    targets = torch.full_like(rows.inputs["input_ids"], _IGNORED)
    targets[before] = batch.completions[real]
    return _by_completion(batch, _scores(model, rows.inputs, targets, scoring), before)


def _refuse_form(form: Form, model: Any, batch: Batch) -> None:
    one_pass = reason_for_one_pass(model) if torch.is_grad_enabled() else None
    why = reason_against_form(form, model, batch.inputs, pictures=batch.pictures is not None, one_pass=one_pass)
    if why is not None:
        raise ModelError(f"form '{form}': {why}; use form 'plain'")


def _by_completion(batch: Batch, scores: Scores, places: tuple[torch.Tensor, torch.Tensor]) -> Scores:
    """Scores of the rows of a pass, at the places that predict the real completion tokens, completion by completion."""
    real = batch.mask.bool()

    def placed(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(real.shape).masked_scatter(real, values[places])

    logps, entropies = scores
    return placed(logps), placed(entropies) if entropies is not None else None


def _scores(model: Any, inputs: dict[str, Any], targets: Int[torch.Tensor, "n l"], scoring: Scoring) -> Scores:
    """Log-probabilities and entropies at every place with a target, the token that follows it; 0 elsewhere."""
    if scoring.fused_head:
        output = model(**inputs, shift_labels=targets, fused_lm_head=True)
        return output.log_probs, output.entropy if scoring.with_entropy else None
    real = targets != _IGNORED
    if has_plain_head(model):
        hidden = core_of(model)(**inputs).last_hidden_state
        logps, entropies = score(
            hidden[real],
            targets[real],
            base_of(model).get_output_embeddings(),
            temperature=scoring.temperature,
            with_entropy=scoring.with_entropy,
        )
    else:
        logps, entropies = score_logits(
            base_of(model)(**inputs).logits[real],
            targets[real],
            temperature=scoring.temperature,
            with_entropy=scoring.with_entropy,
        )

    def spread(values: Float[torch.Tensor, " k"]) -> torch.Tensor:
        return values.new_zeros(real.shape).masked_scatter(real, values)

    return spread(logps), spread(entropies) if entropies is not None else None


def _shifted(batch: Batch, before: Int[torch.Tensor, " r"]) -> Int[torch.Tensor, "r c"]:
    """What each completion token follows: the prompt's last token, then the completion without its own last."""
    return torch.cat([before[:, None], batch.completions[:, :-1]], dim=1)


def _seen(batch: Batch) -> Int[torch.Tensor, "r c"]:
    return torch.cat([torch.ones_like(batch.mask[:, :1]), batch.mask[:, :-1]], dim=1)


class _Packed(NamedTuple):
    """Packed rows, padded on the right.

    Attributes:
        ids: Token ids.
        positions: As the model takes them: (N, L) or (3, N, L).
        segments: 0 for prompt tokens, 1, 2, … for completions, -1 for padding.
        targets: The completion token that each place predicts; ignored in prompts and padding.
        places: Where the real completion tokens' predictions stand, row by row: indices of prompts and places.
    """

    ids: Int[torch.Tensor, "n l"]
    positions: torch.Tensor
    segments: Int[torch.Tensor, "n l"]
    targets: Int[torch.Tensor, "n l"]
    places: tuple[torch.Tensor, torch.Tensor]


def _pack(batch: Batch, positions: torch.Tensor) -> _Packed:
    prompt_ids, prompt_mask = batch.inputs["input_ids"], batch.inputs["attention_mask"]
    lengths = batch.mask.sum(1).tolist()
    owners = batch.owners.tolist()
    ends = (prompt_mask.sum(1) - 1).tolist()  # where the next segment of each prompt begins
    starts, numbers, counts = [], [], [0] * len(ends)
    for owner, length in zip(owners, lengths, strict=True):
        starts.append(ends[owner])
        counts[owner] += 1
        numbers.append(counts[owner])
        ends[owner] += length
    shape = (len(ends), max(ends))
    ids, segments = prompt_ids.new_zeros(shape), prompt_ids.new_full(shape, -1)
    targets = prompt_ids.new_full(shape, _IGNORED)
    axes = positions if positions.dim() == 3 else positions[None]
    placed = axes.new_zeros(axes.size(0), *shape)
    for n, mask in enumerate(prompt_mask.bool()):
        size = int(mask.sum()) - 1
        ids[n, :size] = prompt_ids[n][mask][:-1]
        placed[:, n, :size] = axes[:, n, mask][:, :-1]
        segments[n, :size] = 0
    steps = torch.arange(batch.mask.size(1), device=ids.device)
    real = batch.mask.bool()
    places = (torch.tensor(starts, device=ids.device)[:, None] + steps)[real]
    prompts = batch.owners[:, None].expand_as(real)[real]
    ids[prompts, places] = _shifted(batch, prompt_ids[batch.owners, -1])[real]
    targets[prompts, places] = batch.completions[real]
    segments[prompts, places] = torch.tensor(numbers, device=ids.device)[:, None].expand_as(real)[real]
    after = next_positions(positions)[batch.owners] - 1
    placed[:, prompts, places] = (after[:, None] + steps)[real].to(placed.dtype)
    return _Packed(ids, placed if positions.dim() == 3 else placed[0], segments, targets, (prompts, places))


def _mask(model: Any, segments: Int[torch.Tensor, "n l"]) -> Any:
    """Each token sees what is before it in its own segment and in the prompt; in the form its attention takes."""
    length = segments.size(1)
    if segments.numel() * length > MASK_ENTRIES and takes_mask_by_rule(model):
        return mask_by_rule(model, segments)
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    own = segments[:, :, None] == segments[:, None, :]
    seen = (causal & (own | (segments[:, None, :] == 0)))[:, None]
    if attention_of(model) != "eager":
        return seen
    dtype = next(core_of(model).parameters()).dtype
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)
