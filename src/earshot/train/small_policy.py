"""A small policy that writes well-formed completions about a few pairs, for either side by chance.

An untaught one writes noise, which nobody reads: rewards of 0, a listener that is not asked, gradients of 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import torch

from earshot.protocol import PromptSet, write_completion
from earshot.types import Pair, Verdict
from earshot.vlm import Vlm
from earshot.vlm.prefix import shared_logps
from earshot.vlm.prefix.encode import padded

# A trace for either side, in the languages of prompt sets; each makes claims of both images.
_TRACES: Final = (
    (
        "The first image shows a red circle. The second image is blurry.",
        "The first image is dull. The second is sharp.",
    ),
    ("first : left red , clean . second : blurry .", "first : noisy . second : right blue , clean ."),
)
# Of nine families at this rate, each has learnt after 20 to 70 lessons.
_MOST_LESSONS: Final = 200
_LEARNING_RATE: Final = 5e-3
_LEARNT_NATS: Final = 0.8  # a completion, beyond the choice of its side: half of them are then as taught, or more


def completions_of(vlm: Vlm) -> list[list[int]]:
    """The token ids of two well-formed completions, one for either side, as the model is to write them."""
    sides = zip(("first", "second"), _traces(vlm.prompts), strict=True)
    texts = [vlm.continuation(write_completion(Verdict(side, trace), vlm.prompts)) for side, trace in sides]  # type: ignore[arg-type]
    ids: list[list[int]] = vlm.tokenizer([text + vlm.tokenizer.eos_token for text in texts], add_special_tokens=False)[
        "input_ids"
    ]
    return ids


def _traces(prompts: PromptSet) -> tuple[str, str]:
    understood = [pair for pair in _TRACES if all(prompts.language.split(trace) for trace in pair)]
    return (understood or _TRACES)[0]


def teach(vlm: Vlm, pairs: Sequence[Pair]) -> int:
    """Teaches a small model `completions_of` about these pairs; its vision tower stays as it is.

    Returns:
        The lessons that it took.
    """
    taught = completions_of(vlm)
    ids, mask = padded(taught, vlm.tokenizer.pad_token_id, vlm.device)
    weights = _language_weights(vlm.model)
    prompts = [dict(vlm.encode_pairs([pair])) for pair in pairs]
    optimizer = torch.optim.AdamW(weights, lr=_LEARNING_RATE, weight_decay=0.0)
    vlm.model.train()  # as it will be while it samples: some families then drop what they have learnt here and there
    learnt = 0
    for lesson in range(_MOST_LESSONS):
        logps = shared_logps(vlm.model, prompts[lesson % len(prompts)], [0] * len(taught), ids, mask).logps
        loss = -(logps * mask).sum() / len(taught)
        learnt = learnt + 1 if loss.item() < math.log(len(taught)) + _LEARNT_NATS else 0
        if learnt == len(prompts):
            break
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    vlm.model.eval().requires_grad_(True)
    return lesson


def _language_weights(model: Any) -> list[torch.nn.Parameter]:
    """The only weights that get gradients from here on: a tower with a thousand patches takes most of the time."""
    model.requires_grad_(False)
    for part in (model.get_decoder(), model.get_output_embeddings()):
        part.requires_grad_(True)
    return [weight for weight in model.parameters() if weight.requires_grad]
