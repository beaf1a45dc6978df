"""Plain rows: a left-padded batch of prompts with completions on their right.

Shapes: B rows, P prompt tokens (padded on the left), C completion tokens (padded on the right).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from earshot.vlm.mechanisms import PER_TOKEN, check_inputs
from earshot.vlm.model import Vlm
from earshot.vlm.prefix.encode import padded

IGNORED = -100  # the label of a token that is not learned, as in transformers


def append_completions(
    prompts: Mapping[str, Any], completions: Sequence[Sequence[int]], *, pad_id: int
) -> tuple[dict[str, Any], int]:
    """Model inputs for prompt and completion, and the width C of the completions.

    Args:
        prompts: A batch from `Vlm.encode`: input_ids and attention_mask (B, P), image tensors as they are.
        completions: B lists of token ids, not padded.
        pad_id: Written where a completion is shorter than the longest; masked out.
    """
    check_inputs(prompts)
    ids, mask = padded(completions, pad_id, prompts["input_ids"].device)
    width = ids.size(1)
    inputs = dict(prompts)
    inputs["input_ids"] = torch.cat([prompts["input_ids"], ids], dim=1)
    inputs["attention_mask"] = torch.cat([prompts["attention_mask"], mask], dim=1)
    for name in set(prompts) & set(PER_TOKEN):
        last = prompts[name][:, -1:]
        after = torch.zeros_like(last) if PER_TOKEN[name] == "zero" else last
        inputs[name] = torch.cat([prompts[name], after.expand(-1, width, *after.shape[2:])], dim=1)
    return inputs, width


def supervised_batch(
    vlm: Vlm,
    conversations: Sequence[list[dict[str, Any]]],
    images: Sequence[Sequence[Any]],
    completions: Sequence[str],
    given: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Model inputs with `labels`: every row learns its completion and the end of the turn, nothing of the prompt.

    Prompts are never cut; a row too long for the memory is the caller's to leave out.

    Args:
        vlm: Whose processor makes the inputs.
        conversations: Chat messages, one list a row.
        images: The decoded images of each row.
        completions: What is learned.
        given: Beginnings of the assistant's turn that stand before the completions and are not learned.
    """
    prompts = vlm.encode(conversations, images)
    texts = [completion + vlm.tokenizer.eos_token for completion in completions]
    learned = vlm.tokenizer(texts, add_special_tokens=False)["input_ids"]
    opened = vlm.tokenizer(list(given), add_special_tokens=False)["input_ids"] if given else [[] for _ in learned]
    rows = [before + after for before, after in zip(opened, learned, strict=True)]
    inputs, width = append_completions(prompts, rows, pad_id=vlm.tokenizer.pad_token_id)
    labels = torch.full_like(inputs["input_ids"], IGNORED)
    start = labels.size(1) - width
    for row, (before, after) in enumerate(zip(opened, learned, strict=True)):
        labels[row, start + len(before) : start + len(before) + len(after)] = torch.tensor(after)
    return {**inputs, "labels": labels}
