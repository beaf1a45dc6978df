"""What anyone would use instead: TRL's own trainer, a plain batched listener, plain `generate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from earshot.protocol import listener_prefill
from earshot.types import Pair
from earshot.vlm import Vlm, answer_tokens
from earshot.vlm.runs import attend_by_runs


@contextmanager
def stock_attention(model: Any) -> Iterator[None]:
    """Within, every part of the model attends as transformers has it."""
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        attend_by_runs(model)


def plain_listener(vlm: Vlm, pairs: Sequence[Pair], traces: Sequence[str]) -> list[float]:
    """p(first) for every pair and trace, each a row of its own with its own images, in one batch."""
    answers = answer_tokens(vlm)
    inputs = vlm.encode(
        [vlm.asked_about(pair) for pair in pairs],
        [pair.images for pair in pairs],
        prefills=[vlm.continuation(listener_prefill(trace, vlm.prompts)) + answers.begun for trace in traces],
    ).to(vlm.device)
    with torch.no_grad(), stock_attention(vlm.model):
        logits = vlm.model(**inputs, logits_to_keep=1).logits[:, -1]
    return torch.softmax(logits[:, list(answers.ids)].double(), dim=-1)[:, 0].tolist()


def plain_generate(vlm: Vlm, pairs: Sequence[Pair], *, samples: int, new_tokens: int) -> list[str]:
    """`samples` completions of every pair in both orders, by the model's own `generate`, in one batch."""
    shown = [pair for known in pairs for pair in (known, known.swapped())]
    inputs = vlm.encode(
        [vlm.asked_about(pair) for pair in shown],
        [pair.images for pair in shown],
    ).to(vlm.device)
    with torch.no_grad(), stock_attention(vlm.model):
        ids = vlm.model.generate(
            **inputs,
            do_sample=True,
            num_return_sequences=samples,
            max_new_tokens=new_tokens,
            suppress_tokens=list(vlm.forbidden_ids),
            pad_token_id=vlm.tokenizer.pad_token_id,
        )
    texts: list[str] = vlm.tokenizer.batch_decode(ids[:, inputs["input_ids"].size(1) :], skip_special_tokens=True)
    return texts
