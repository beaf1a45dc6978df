"""The reasoner: a vision-language model that thinks about a pair before it names a side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from earshot.images import DEFAULT_LIMITS, ImageLimits
from earshot.listener.local import LocalListener
from earshot.protocol import parse_completion
from earshot.types import Malformed, Order, Pair, Sample, Verdict, other
from earshot.vlm import Vlm
from earshot.vlm.prefix import Sampling, encode_prefix, sample

_ORDERS: tuple[Order, Order] = ("forward", "swapped")


@dataclass
class Reasoner:
    """Judges pairs in both orders of their images.

    Attributes:
        vlm: The model; evaluation leaves it as it is.
        max_new_tokens: Completions that are longer are cut, and then malformed.
        temperature: Of sampling; 0 is greedy.
        batch_size: Pairs (in one order) that are encoded at a time.
    """

    vlm: Vlm
    max_new_tokens: int = 512
    temperature: float = 1.0
    batch_size: int = 16
    limits: ImageLimits = DEFAULT_LIMITS

    def judge(self, pairs: Sequence[Pair], *, samples: int = 1, seed: int = 0) -> list[list[Sample]]:
        """`samples` completions for every pair in either order; a list of 2 * samples for each pair.

        A pair's completions depend on the seed and its id, not on the pairs it is judged with.

        Raises:
            ImageError: An image is refused.
        """
        training = self.vlm.model.training
        self.vlm.model.eval()
        try:
            shown = [(pair if order == "forward" else pair.swapped(), order) for pair in pairs for order in _ORDERS]
            judged: list[list[Sample]] = []
            for start in range(0, len(shown), self.batch_size):
                judged.extend(self._judge_batch(shown[start : start + self.batch_size], samples, seed))
        finally:
            self.vlm.model.train(training)
        return [judged[k] + judged[k + 1] for k in range(0, len(judged), 2)]

    def _judge_batch(self, shown: Sequence[tuple[Pair, Order]], samples: int, seed: int) -> list[list[Sample]]:
        texts = self._complete([pair for pair, _ in shown], [order for _, order in shown], samples, seed)
        parsed = [parse_completion(text) for text in texts]
        rows = [k for k, verdict in enumerate(parsed) if isinstance(verdict, Verdict)]
        own = LocalListener(self.vlm, batch_size=self.batch_size, limits=self.limits)
        traces = [verdict.trace for verdict in parsed if isinstance(verdict, Verdict)]
        p_shown = own.p_first([shown[k // samples][0] for k in rows], traces) if rows else np.empty(0)
        p_by_row = dict(zip(rows, p_shown.tolist(), strict=True))
        return [
            [
                _as_sample(texts[k], parsed[k], order, p_by_row.get(k))
                for k in range(index * samples, (index + 1) * samples)
            ]
            for index, (_, order) in enumerate(shown)
        ]

    def _complete(self, pairs: Sequence[Pair], orders: Sequence[Order], samples: int, seed: int) -> list[str]:
        vlm = self.vlm
        prefix = encode_prefix(vlm.model, vlm.encode_pairs(pairs, self.limits))
        owners = [row for row in range(len(pairs)) for _ in range(samples)]
        uniforms = np.concatenate(
            [
                _uniforms(pair.id, order, seed, samples, self.max_new_tokens)
                for pair, order in zip(pairs, orders, strict=True)
            ]
        )
        sampling = Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            stop_ids=vlm.stop_ids,
            forbidden_ids=vlm.forbidden_ids,
            pad_id=vlm.tokenizer.pad_token_id,
        )
        completions = sample(vlm.model, prefix, owners, torch.from_numpy(uniforms), sampling)
        return vlm.tokenizer.batch_decode(completions, skip_special_tokens=True)


def _uniforms(pair_id: str, order: Order, seed: int, samples: int, length: int) -> np.ndarray:
    """The random numbers of one pair in one order, (samples, length), a function of these arguments alone."""
    key = hashlib.sha256(f"{seed}\0{order}\0{pair_id}".encode()).digest()
    return np.random.default_rng(np.frombuffer(key, dtype=np.uint32)).random((samples, length), dtype=np.float32)


def _as_sample(text: str, parsed: Verdict | Malformed, order: Order, p_shown: float | None) -> Sample:
    """A completion told in the pair's own sides."""
    if isinstance(parsed, Malformed):
        return Sample(order, text, text, side=None, malformed=parsed.reason, p_first=None)
    swapped = order == "swapped"
    assert p_shown is not None
    return Sample(
        order=order,
        completion=text,
        trace=parsed.trace,
        side=other(parsed.side) if swapped else parsed.side,
        malformed=None,
        p_first=1.0 - p_shown if swapped else p_shown,
    )
