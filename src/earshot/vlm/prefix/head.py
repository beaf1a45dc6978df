"""Log-probabilities of chosen tokens from hidden states, without the logits of all tokens in memory at once.

Shapes: T tokens, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Int
from torch.utils.checkpoint import checkpoint

Scores: TypeAlias = tuple[torch.Tensor, torch.Tensor | None]
"""Log-probabilities, and entropies where they were asked for."""

LOGITS_AT_ONCE = 2**24  # entries of a block of logits, 64 MiB in float32


def score(
    hidden: Float[torch.Tensor, "t d"],
    targets: Int[torch.Tensor, " t"],
    head: Any,
    *,
    temperature: float,
    with_entropy: bool,
) -> tuple[Float[torch.Tensor, " t"], Float[torch.Tensor, " t"] | None]:
    """Log-probability (nats) of each target, and the entropy (nats) of the distribution it was drawn from.

    Blocks of logits are recomputed in the backward pass where there is more than one.

    Args:
        hidden: The last hidden state before each target.
        targets: Token ids.
        head: The module that turns hidden states into logits.
        temperature: Divides the logits; above 0.
        with_entropy: Whether to return entropies; None otherwise.
    """
    block = max(1, LOGITS_AT_ONCE // head.weight.size(0))

    def one(h: torch.Tensor, t: torch.Tensor) -> Scores:
        return score_logits(head(h), t, temperature=temperature, with_entropy=with_entropy)

    if hidden.size(0) <= block:
        return one(hidden, targets)
    recompute = torch.is_grad_enabled() and (hidden.requires_grad or head.weight.requires_grad)
    parts = [
        checkpoint(one, h, t, use_reentrant=False) if recompute else one(h, t)
        for h, t in zip(hidden.split(block), targets.split(block), strict=True)
    ]
    return join(parts)


def join(parts: Sequence[Scores]) -> Scores:
    """Scores of one batch from those of its parts."""
    entropies = [part[1] for part in parts if part[1] is not None]
    return torch.cat([part[0] for part in parts]), torch.cat(entropies) if entropies else None


def score_logits(
    logits: Float[torch.Tensor, "t v"], targets: Int[torch.Tensor, " t"], *, temperature: float, with_entropy: bool
) -> tuple[Float[torch.Tensor, " t"], Float[torch.Tensor, " t"] | None]:
    """As `score`, from logits that are at hand; computed in float32 at least."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    logps = (logits if temperature == 1.0 else logits / temperature).log_softmax(dim=-1)
    chosen = logps.gather(-1, targets[:, None])[:, 0]
    return chosen, -(logps.exp() * logps).sum(-1) if with_entropy else None
