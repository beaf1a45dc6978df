"""Prompts encoded once, and next-token logits on top of them.

Shapes: N prefixes, P prefix tokens (padded on the left), R rows that continue them, S suffix tokens (padded on the
right, so that no token of a row sees padding but what stands before its prompt), V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int

from earshot.errors import ModelError
from earshot.vlm.mechanisms import (
    OF_TEXT,
    base_of,
    check_inputs,
    checkpoints_layers,
    core_of,
    has_plain_head,
    in_all_axes,
    is_distributed,
    next_positions,
    prompt_positions,
    reason_for_whole_rows,
)
from earshot.vlm.prefix.growing import cache_rows
from earshot.vlm.prefix.head import score, score_logits
from earshot.vlm.prefix.pictures import layout_is_known, picture_inputs, split_pictures
from earshot.vlm.prefix.whole import rows_at_once, whole_rows


class Prefix(NamedTuple):
    """N encoded prompts, ready to be continued.

    Attributes:
        cache: The key-value cache of N rows; None where the model's memory of a prompt cannot be continued by others,
            so that every row is computed whole.
        mask: 1 where a prefix token is real, 0 where it is padding.
        next_position: The position that the next token of each prefix takes.
        logits: Next-token logits after each prefix; None without a cache.
        inputs: The prompts, as they were encoded.
    """

    cache: Any
    mask: Int[torch.Tensor, "n p"]
    next_position: Int[torch.Tensor, " n"] | None
    logits: Float[torch.Tensor, "n v"] | None
    inputs: Mapping[str, Any]


class Continued(NamedTuple):
    """What a model makes of suffixes that it is given.

    Attributes:
        logits: Next-token logits after each.
        logps: Log-probability (nats) of each token, given those before it; 0 at the first of a suffix and where there
            is none. None where it was not asked for.
    """

    logits: Float[torch.Tensor, "r v"]
    logps: Float[torch.Tensor, "r s"] | None


def encode_prefix(model: Any, inputs: Mapping[str, Any], *, with_gradients: bool = False) -> Prefix:
    """Encodes N left-padded prompts with their images, each distinct image once.

    Args:
        model: A transformers image-text-to-text model, possibly wrapped by PEFT.
        inputs: A batch from `Vlm.encode`, on the model's device.
        with_gradients: Keep what a backward pass through the cache needs, for `shared_logps(cache=...)`.

    Raises:
        ModelError: Image tokens disagree with images (the message names the row), what the processor made for each
            token is not known, or the model keeps no key-value cache.
    """
    if checkpoints_layers(model):
        raise ModelError("a model in training whose layers are checkpointed keeps no cache; call eval() before")
    check_inputs(inputs)
    if reason_for_whole_rows(model, inputs) is not None:
        return Prefix(None, inputs["attention_mask"], None, None, inputs)
    positions = prompt_positions(model, inputs)
    given = dict(inputs)
    with torch.set_grad_enabled(with_gradients):
        if layout_is_known(model, given):
            pictures = split_pictures(model, given)
            texts = {name: value for name, value in given.items() if name in OF_TEXT}
            given = texts | picture_inputs(model, pictures)
        output = model(**given, position_ids=positions, use_cache=True, logits_to_keep=1)
    if output.past_key_values is None:
        raise ModelError(f"{type(model).__name__} returns no key-value cache; its prefixes cannot be shared")
    return Prefix(
        output.past_key_values, inputs["attention_mask"], next_positions(positions), output.logits[:, -1], inputs
    )


def next_logits(
    model: Any, ids: Int[torch.Tensor, "r 1"], positions: Int[torch.Tensor, "r 1"], cache: Any, **given: Any
) -> Float[torch.Tensor, "r v"]:
    """Next-token logits after one more token of each row, which the cache takes in.

    Args:
        model: The model of the cache.
        ids: The tokens.
        positions: Where they stand.
        cache: Of what stands before them, R rows.
        **given: What else a pass is told of the rows.
    """
    at = in_all_axes(model, positions)
    output = model(input_ids=ids, position_ids=at, past_key_values=cache, use_cache=True, **given)
    logits: Float[torch.Tensor, "r v"] = output.logits[:, -1]
    return logits


def suffix_logits(
    model: Any, prefix: Prefix, owners: Sequence[int], suffixes: Sequence[Sequence[int]], *, pad_id: int
) -> Float[torch.Tensor, "r v"]:
    """Next-token logits after each suffix, put onto the prefix that owns it; without gradients.

    Args:
        model: The model that encoded `prefix`.
        prefix: N prefixes; it is left as it was.
        owners: For each of the R rows, which prefix it continues.
        suffixes: R lists of token ids, none of them empty.
        pad_id: Written after shorter suffixes; masked out.
    """
    return _after(model, prefix, owners, suffixes, pad_id, spoken=False).logits


def continued(
    model: Any,
    inputs: Mapping[str, Any],
    owners: Sequence[int],
    suffixes: Sequence[Sequence[int]],
    *,
    pad_id: int,
    spoken: bool = False,
) -> Continued:
    """Suffixes put onto the prompts that own them; without gradients.

    Prompts with several suffixes are encoded once, apart from these, where the model allows it; where each prompt has
    just its own, one pass over whole rows is faster than two.

    Args:
        model: A transformers image-text-to-text model, possibly wrapped by PEFT.
        inputs: N left-padded prompts from `Vlm.encode`, on the model's device.
        owners: For each of the R rows, which prompt it continues.
        suffixes: R lists of token ids, none of them empty.
        pad_id: Written after shorter suffixes; masked out.
        spoken: Also how likely the model finds the suffixes themselves, from the same pass.

    Raises:
        ModelError: As `encode_prefix`.
    """
    apart = list(owners) != list(range(inputs["input_ids"].size(0))) or not layout_is_known(model, inputs)
    if apart and reason_for_whole_rows(model, inputs) is None:
        return _after(model, encode_prefix(model, inputs), owners, suffixes, pad_id, spoken)
    return _whole(model, inputs, owners, suffixes, pad_id, spoken)


def _after(
    model: Any, prefix: Prefix, owners: Sequence[int], suffixes: Sequence[Sequence[int]], pad_id: int, spoken: bool
) -> Continued:
    if prefix.cache is None:
        return _whole(model, prefix.inputs, owners, suffixes, pad_id, spoken)
    ids, mask = padded(suffixes, pad_id, prefix.mask.device)
    rows = torch.tensor(owners, device=prefix.mask.device)
    assert prefix.next_position is not None
    steps = torch.arange(ids.size(1), device=ids.device)
    given = {
        "input_ids": ids,
        "attention_mask": torch.cat([prefix.mask[rows], mask], dim=1),
        "position_ids": in_all_axes(model, prefix.next_position[rows, None] + steps),
        "past_key_values": cache_rows(prefix.cache, rows),
        "use_cache": True,
    }
    return _read(model, given, torch.zeros_like(rows), ids, mask, spoken)


def padded(
    suffixes: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[Int[torch.Tensor, "r s"], Int[torch.Tensor, "r s"]]:
    """Ids and mask of lists of tokens, padded on the right."""
    width = max(len(suffix) for suffix in suffixes)
    ids = torch.full((len(suffixes), width), pad_id)
    mask = torch.zeros_like(ids)
    for row, suffix in enumerate(suffixes):
        ids[row, : len(suffix)] = torch.tensor(suffix)
        mask[row, : len(suffix)] = 1
    return ids.to(device), mask.to(device)


def _whole(
    model: Any,
    inputs: Mapping[str, Any],
    owners: Sequence[int],
    suffixes: Sequence[Sequence[int]],
    pad_id: int,
    spoken: bool,
) -> Continued:
    pictures = split_pictures(model, inputs) if layout_is_known(model, inputs) else None
    together = rows_at_once(inputs, pictures, len(owners))
    all_ids, all_mask = padded(suffixes, pad_id, inputs["input_ids"].device)
    read = []
    with torch.no_grad():
        for start in range(0, len(owners), together):
            ids, mask = all_ids[start : start + together], all_mask[start : start + together]
            rows = whole_rows(model, inputs, pictures, owners[start : start + together], ids, mask)
            read.append(_read(model, {**rows.inputs, "use_cache": False}, rows.starts, ids, mask, spoken))
    logps = torch.cat([one.logps for one in read if one.logps is not None]) if spoken else None
    return Continued(torch.cat([one.logits for one in read]), logps)


def _read(
    model: Any,
    given: Mapping[str, Any],
    starts: Int[torch.Tensor, " r"],
    ids: Int[torch.Tensor, "r s"],
    mask: Int[torch.Tensor, "r s"],
    spoken: bool,
) -> Continued:
    """One pass over rows whose suffixes begin at `starts`, without the logits that nobody needs where that can be."""
    rows, last = torch.arange(starts.numel(), device=starts.device), starts + mask.sum(1) - 1
    which, before = mask[:, 1:].nonzero(as_tuple=True)
    targets, places = ids[which, before + 1], starts[which] + before
    logps = torch.zeros(mask.shape, device=mask.device) if spoken else None
    with torch.no_grad():
        if has_plain_head(model) and not is_distributed(model):
            hidden, head = core_of(model)(**given).last_hidden_state, base_of(model).get_output_embeddings()
            if logps is not None:
                told = score(hidden[which, places], targets, head, temperature=1.0, with_entropy=False)[0]
                logps[which, before + 1] = told.float()
            return Continued(head(hidden[rows, last]), logps)
        if logps is None and "logits_to_keep" in inspect.signature(type(base_of(model)).forward).parameters:
            kept, at = last.unique(return_inverse=True)
            return Continued(model(**given, logits_to_keep=kept).logits[rows, at], None)
        logits = model(**given).logits
        if logps is not None:
            told = score_logits(logits[which, places], targets, temperature=1.0, with_entropy=False)[0]
            logps[which, before + 1] = told.float()
        return Continued(logits[rows, last], logps)
