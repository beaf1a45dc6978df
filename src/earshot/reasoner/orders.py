"""Judging a pair in both orders of its images, and telling what was said in the pair's own sides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from earshot.predictions.judgement import JudgedSample
from earshot.protocol import PromptSet, parse_completion
from earshot.types import Malformed, Order, Pair, Verdict, other

ORDERS: tuple[Order, Order] = ("forward", "swapped")


def in_both_orders(pairs: Sequence[Pair]) -> list[tuple[Pair, Order]]:
    """Every pair as it is shown, first as it is and then with its images exchanged."""
    return [(pair if order == "forward" else pair.swapped(), order) for pair in pairs for order in ORDERS]


def own_key(pair_id: str, order: Order, seed: int) -> bytes:
    """32 bytes that a pair's sampling in one order is drawn from, a function of these arguments alone."""
    return hashlib.sha256(f"{seed}\0{order}\0{pair_id}".encode()).digest()


def own_seed(pair_id: str, order: Order, seed: int) -> int:
    """The same as a seed below 2³¹, for an engine that draws by itself."""
    return int.from_bytes(own_key(pair_id, order, seed)[:4], "big") >> 1


Own = Callable[[Sequence[int], Sequence[str]], Float[np.ndarray, " n"]]
"""The probability of the first image as shown that a model gives after its own traces, by the places of their pairs."""


def as_samples(
    shown: Sequence[tuple[Pair, Order]], texts: Sequence[str], own: Own, prompts: PromptSet
) -> list[list[JudgedSample]]:
    """What completions say of the pairs that they were written about.

    Args:
        shown: The pairs as they were shown.
        texts: Completions, as many for each of `shown`, one pair's after another's.
        own: The model that wrote them, for its probability of either answer after its own trace.
        prompts: How that model was asked.

    Raises:
        ListenerUnavailable: It gave none.
    """
    samples = len(texts) // max(len(shown), 1)
    parsed = [parse_completion(text, prompts) for text in texts]
    rows = [k for k, verdict in enumerate(parsed) if isinstance(verdict, Verdict)]
    traces = [verdict.trace for verdict in parsed if isinstance(verdict, Verdict)]
    p_shown = own([k // samples for k in rows], traces) if rows else np.empty(0)
    p_by_row = dict(zip(rows, p_shown.tolist(), strict=True))
    return [
        [_as_sample(texts[k], parsed[k], order, p_by_row.get(k)) for k in range(index * samples, (index + 1) * samples)]
        for index, (_, order) in enumerate(shown)
    ]


def _as_sample(text: str, parsed: Verdict | Malformed, order: Order, p_shown: float | None) -> JudgedSample:
    """A completion told in the pair's own sides."""
    if isinstance(parsed, Malformed):
        return JudgedSample(order, text, side=None, malformed=parsed.reason, p_first=None)
    swapped = order == "swapped"
    assert p_shown is not None
    return JudgedSample(
        order=order,
        trace=parsed.trace,
        side=other(parsed.side) if swapped else parsed.side,
        malformed=None,
        p_first=1.0 - p_shown if swapped else p_shown,
    )
