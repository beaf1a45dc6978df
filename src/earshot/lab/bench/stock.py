"""What anyone would use instead: TRL's own trainer, a plain batched listener, plain `generate`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from earshot.protocol import listener_prefill, reasoner_messages
from earshot.types import Pair
from earshot.vlm import Vlm, answer_token_ids


def plain_listener(vlm: Vlm, pairs: Sequence[Pair], traces: Sequence[str]) -> list[float]:
    """p(first) for every pair and trace, each a row of its own with its own images, in one batch."""
    conversations = [[*reasoner_messages(pair.prompt, vlm.prompts)] for pair in pairs]
    inputs = vlm.encode(
        conversations,
        [[pair.first, pair.second] for pair in pairs],
        prefills=[listener_prefill(trace) for trace in traces],
    ).to(vlm.device)
    with torch.no_grad():
        logits = vlm.model(**inputs, logits_to_keep=1).logits[:, -1]
    return torch.softmax(logits[:, list(answer_token_ids(vlm))].double(), dim=-1)[:, 0].tolist()


def plain_generate(vlm: Vlm, pairs: Sequence[Pair], *, samples: int, new_tokens: int) -> list[str]:
    """`samples` completions of every pair in both orders, by the model's own `generate`, in one batch."""
    shown = [pair for known in pairs for pair in (known, known.swapped())]
    inputs = vlm.encode(
        [reasoner_messages(pair.prompt, vlm.prompts) for pair in shown],
        [[pair.first, pair.second] for pair in shown],
    ).to(vlm.device)
    with torch.no_grad():
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
