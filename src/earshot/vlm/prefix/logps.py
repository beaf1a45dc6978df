"""Log-probabilities of completions with gradients, for rows that share prompts and images.

Three forms give the same numbers to rounding. *cache*: each prompt once, its key-value cache copied to the rows that
continue it. *packed*: one row `[prompt | completion | completion | …]` for each prompt, under a mask in which
completions do not see one another. *plain*: the rows as they would stand without any of this.

Shapes: N prompts, P prompt tokens (padded on the left), R rows that continue them, C completion tokens (padded on the
right), L tokens of a packed row, B rows of prompt and completion.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch.utils.checkpoint import checkpoint

from earshot.errors import ModelError
from earshot.vlm.mechanisms import (
    OF_TEXT,
    base_of,
    is_distributed,
    is_sharded,
    reason_against_sharing,
    reason_for_one_pass,
    reason_for_whole_rows,
    takes_mask_by_rule,
)
from earshot.vlm.prefix.forms import (
    Batch,
    Form,
    Scoring,
    cached_scores,
    packed_scores,
    plain_scores,
    reason_against_form,
)
from earshot.vlm.prefix.head import join
from earshot.vlm.prefix.pictures import (
    Pictures,
    layout_is_known,
    prompts_with_pictures,
    refuse_image_tokens,
    same_pictures,
    split_pictures,
)

TOKENS_AT_ONCE = 32_768  # of one forward pass; what lies beyond is computed in parts, and again in the backward pass
PACKED_AT_ONCE = 8_192  # as above for packed rows where masks are written out: `forms.MASK_ENTRIES` is its square
_SCORES = {"cache": cached_scores, "packed": packed_scores, "plain": plain_scores}
_said: set[str] = set()


class Logps(NamedTuple):
    """What the model thinks of each completion token; 0 where the completion has ended.

    Attributes:
        logps: Log-probability in nats of each token given all before it.
        entropies: Entropy in nats of the distribution it was drawn from; None unless asked for.
    """

    logps: Float[torch.Tensor, "r c"]
    entropies: Float[torch.Tensor, "r c"] | None


def shared_logps(
    model: Any,
    inputs: Mapping[str, Any],
    owners: Sequence[int],
    completions: Int[torch.Tensor, "r c"],
    mask: Int[torch.Tensor, "r c"],
    *,
    temperature: float = 1.0,
    with_entropy: bool = False,
    fused_head: bool = False,
    form: Form | None = None,
    tokens_at_once: int = TOKENS_AT_ONCE,
    pictures: Pictures | None = None,
    cache: Any = None,
) -> Logps:
    """Log-probabilities of completions, each distinct prompt and image computed once.

    Gradients reach every parameter, the vision tower's too. What does not fit `tokens_at_once` is computed in parts
    that are recomputed in the backward pass, so that one part at a time lies in memory. A model that is wrapped for
    several processes is not recomputed, a sharded one not parted: there the caller's micro-batches bound the memory.

    Args:
        model: A transformers image-text-to-text model, possibly wrapped by PEFT.
        inputs: N left-padded prompts from `Vlm.encode`, on the model's device.
        owners: For each of the R rows, which prompt it continues.
        completions: Token ids, padded on the right.
        mask: 1 where a completion token is real.
        temperature: Divides the logits. With `fused_head`, the one that the head was made with counts.
        with_entropy: Whether entropies are returned.
        fused_head: The model's forward takes `shift_labels` and `fused_lm_head` as TRL's `add_fused_lm_head` makes it;
            required where the model is wrapped for several processes.
        form: How to compute; by default as `choose_form` says.
        tokens_at_once: Of one forward pass, padding included.
        pictures: The images by prompt, where the caller has already split them.
        cache: The prompts' cache from `encode_prefix(with_gradients=True)` under the same weights. It is used in the
            form 'cache' and where everything fits one pass; a backward pass goes through it once.

    Raises:
        ModelError: Image tokens disagree with images, a completion holds an image token (both name the row), the
            model is wrapped and has no fused head, or `form` is one that it cannot do.
    """
    if is_distributed(model) and not fused_head:
        raise ModelError("gradients of a model wrapped for several processes need 'fused_head'; see add_fused_lm_head")
    refuse_image_tokens(model, completions * mask)
    if pictures is None and layout_is_known(model, inputs):
        pictures = split_pictures(model, inputs)
    batch = Batch(dict(inputs), pictures, torch.tensor(list(owners), device=completions.device), completions, mask)
    form = form or choose_form(model, batch)
    scoring = Scoring(temperature, with_entropy, fused_head)
    written_out = form == "packed" and not takes_mask_by_rule(model)
    at_once = min(tokens_at_once, PACKED_AT_ONCE) if written_out else tokens_at_once
    # Of a sharded model every pass is a meeting of all processes, which must come to the same number of them.
    parts = [[*range(len(owners))]] if is_sharded(model) else _parts(batch, form, at_once)
    recompute = len(parts) > 1 and torch.is_grad_enabled() and not is_distributed(model)
    if cache is not None and form == "cache" and len(parts) == 1:
        return Logps(*cached_scores(model, batch, scoring, cache))
    scores = []
    for rows in parts:
        given = (model, batch if len(parts) == 1 else batch.rows(rows), scoring)
        compute = _SCORES[form]
        scores.append(checkpoint(compute, *given, use_reentrant=False) if recompute else compute(*given))
    logps, entropies = join(scores)
    order = torch.tensor([row for rows in parts for row in rows], device=completions.device).argsort()
    return Logps(logps[order], None if entropies is None else entropies[order])


def logps_of_rows(
    model: Any,
    input_ids: Int[torch.Tensor, "b t"],
    attention_mask: Int[torch.Tensor, "b t"],
    logits_to_keep: int,
    *,
    num_images: Sequence[int] | None = None,
    with_entropy: bool = False,
    fused_head: bool = False,
    form: Form | None = None,
    **image_inputs: Any,
) -> Logps:
    """As `shared_logps`, from whole rows in which prompts and images stand as often as they have completions.

    Rows that follow one another with the same prompt and the same images are one group.

    Args:
        model: As in `shared_logps`, and so are the arguments not named here.
        input_ids: Prompts padded on the left, then completions padded on the right.
        attention_mask: 1 where a token is real.
        logits_to_keep: The width of the completions.
        num_images: Images of each row; found from image tokens where it is None.
        **image_inputs: `pixel_values` and what else the processor made, for all rows; None is left out.

    Raises:
        ModelError: As `shared_logps`.
    """
    width = input_ids.size(1) - logits_to_keep
    images = {name: value for name, value in image_inputs.items() if value is not None}
    rows = {"input_ids": input_ids, "attention_mask": attention_mask, **images}
    prompts = {name: value[:, :width] if name in OF_TEXT else value for name, value in rows.items()}
    options: dict[str, Any] = {"with_entropy": with_entropy, "fused_head": fused_head}
    completions, mask = input_ids[:, width:], attention_mask[:, width:]
    if not layout_is_known(model, prompts):
        _say_once(f"{type(base_of(model)).__name__}: images come in a form that cannot be split; rows stay plain")
        everything = list(range(input_ids.size(0)))
        return shared_logps(model, prompts, everything, completions, mask, form="plain", **options)
    pictures = split_pictures(model, prompts, num_images)
    firsts, which = _groups(prompts, pictures)
    shared, own = prompts_with_pictures(prompts, pictures, firsts)
    return shared_logps(model, shared, which, completions, mask, form=form, pictures=own, **options)


def choose_form(model: Any, batch: Batch) -> Form:
    """The fastest form that the model can do; docs/decisions/shared-prefix.md has the measurements behind it."""
    prompt, completion = batch.inputs["input_ids"].size(1), batch.completions.size(1)
    one_pass = reason_for_one_pass(model) if torch.is_grad_enabled() else None
    reason = reason_for_plain_rows(
        model, batch.inputs, prompt + completion, pictures=batch.pictures is not None, one_pass=one_pass
    )
    if reason is not None:
        _say_once(f"{type(base_of(model)).__name__}: prefixes are not shared, rows stay plain, because {reason}")
        return "plain"
    if prompt < 2 or batch.owners.unique().numel() == batch.owners.numel():
        return "plain"  # nothing stands before the last token, from which completions start; or nothing is shared
    return "packed" if one_pass else "cache"


def reason_for_plain_rows(
    model: Any, inputs: Mapping[str, Any], tokens: int, *, pictures: bool, one_pass: str | None
) -> str | None:
    """Why gradients of rows of so many tokens cannot go through a shared prompt; None where they can.

    Args:
        model: A transformers image-text-to-text model, possibly wrapped.
        inputs: What its processor made of the prompts.
        tokens: Of a prompt and its completion.
        pictures: Whether the images can be told apart.
        one_pass: Why gradients can go through no cache, if they cannot (`mechanisms.reason_for_one_pass`).
    """
    if reason := reason_for_whole_rows(model, inputs) or reason_against_sharing(model, tokens):
        return reason
    if one_pass and (reason := reason_against_form("packed", model, inputs, pictures=pictures, one_pass=one_pass)):
        return f"{one_pass}, and {reason}"
    return None


def _parts(batch: Batch, form: Form, tokens_at_once: int) -> list[list[int]]:
    """Rows of each forward pass: whole groups while they fit; a group too large for one pass is split."""
    prompt, completion = batch.inputs["input_ids"].size(1), batch.completions.size(1)
    per_row = prompt + completion if form == "plain" else completion
    per_group = 0 if form == "plain" else prompt
    if batch.pictures is None and batch.inputs["input_ids"].size(0) > 1:
        return [list(range(len(batch.owners)))]  # images that cannot be told apart cannot be parted
    groups: dict[int, list[int]] = {}
    for row, owner in enumerate(batch.owners.tolist()):
        groups.setdefault(owner, []).append(row)
    parts: list[list[int]] = []
    room = 0
    for rows in groups.values():
        at_once = max(1, (tokens_at_once - per_group) // per_row)
        for start in range(0, len(rows), at_once):
            piece = rows[start : start + at_once]
            cost = per_group + per_row * len(piece)
            if not parts or cost > room:
                parts.append([])
                room = tokens_at_once
            parts[-1].extend(piece)
            room -= cost
    return parts


def _groups(prompts: Mapping[str, Any], pictures: Pictures) -> tuple[list[int], list[int]]:
    """The first row of each group, and each row's group."""
    ids, mask = prompts["input_ids"], prompts["attention_mask"]
    alike = [False, *((ids[1:] == ids[:-1]) & (mask[1:] == mask[:-1])).all(1).tolist()]
    own = [pictures.of([row]) for row in range(ids.size(0))]
    firsts: list[int] = []
    which: list[int] = []
    for row in range(ids.size(0)):
        if not (alike[row] and same_pictures(own[row], own[row - 1])):
            firsts.append(row)
        which.append(len(firsts) - 1)
    return firsts, which


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        warnings.warn(message, stacklevel=3)
