"""A reasoner that runs here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from earshot.errors import PromptTooLong
from earshot.listener.local import LocalListener
from earshot.predictions.judgement import JudgedSample
from earshot.protocol import PromptSet
from earshot.reasoner.orders import as_samples, in_both_orders, own_key
from earshot.types import Order, Pair, Wanted
from earshot.vlm import Vlm
from earshot.vlm.prefix import Prefix, Sampling, Unwanted, encode_prefix, sample, while_wanted


@dataclass
class Reasoner:
    """Judges pairs in both orders of their images.

    Attributes:
        vlm: The model; evaluation leaves it as it is.
        max_new_tokens: Completions that are longer are cut, and then malformed.
        temperature: Of sampling; 0 is greedy.
        batch_size: Pairs (in one order) that are encoded at a time; both orders of a pair always are.
    """

    vlm: Vlm
    max_new_tokens: int = 512
    temperature: float = 1.0
    batch_size: int = 16

    @property
    def prompts(self) -> PromptSet:
        """How it is asked."""
        return self.vlm.prompts

    def judge(
        self, pairs: Sequence[Pair], *, samples: int = 1, seed: int = 0, wanted: Wanted | None = None
    ) -> list[list[JudgedSample]]:
        """`samples` completions for every pair in either order; a list of 2 * samples for each pair.

        A pair's completions depend on the seed and its id, not on the pairs it is judged with. Those of a pair that is
        no longer `wanted` are cut where they are, and are not to be used.

        Raises:
            InputError: The model is asked about edits, and a pair has no original, or the other way round.
            ImageError: An image is refused.
            PromptTooLong: Prompts do not fit into the model's context.
        """
        shown = in_both_orders(pairs)
        judged: list[list[JudgedSample]] = []
        # Both orders of a pair show the same two images.
        together = max(2, self.batch_size // 2 * 2) if self.vlm.shares_prompts else 1
        with self.vlm.reading():
            for start in range(0, len(shown), together):
                still = None if wanted is None else partial(_wanted_row, wanted, start)
                try:
                    judged.extend(self._judge_batch(shown[start : start + together], samples, seed, still))
                except PromptTooLong as error:
                    raise PromptTooLong({(start + row) // 2: why for row, why in error.too_long.items()}) from error
        return [judged[k] + judged[k + 1] for k in range(0, len(judged), 2)]

    def _judge_batch(
        self, shown: Sequence[tuple[Pair, Order]], samples: int, seed: int, wanted: Wanted | None
    ) -> list[list[JudgedSample]]:
        vlm = self.vlm
        anybody = None if wanted is None else partial(_any_wanted, wanted, len(shown))
        try:
            with while_wanted(vlm.model, anybody):
                prompts = vlm.encode_pairs([pair for pair, _ in shown], after=self.max_new_tokens)
                prefix = encode_prefix(vlm.model, prompts)
        except Unwanted:
            return as_samples(shown, [""] * (len(shown) * samples), _nobody, vlm.prompts)
        texts = self._complete(prefix, shown, samples, seed, wanted)
        # What the model wrote and what it then answers stand on the same prompts, encoded once.
        return as_samples(shown, texts, partial(LocalListener(vlm).p_first_after, prefix), vlm.prompts)

    def _complete(
        self,
        prefix: Prefix,
        shown: Sequence[tuple[Pair, Order]],
        samples: int,
        seed: int,
        wanted: Wanted | None,
    ) -> list[str]:
        vlm = self.vlm
        owners = [row for row in range(len(shown)) for _ in range(samples)]
        uniforms = np.concatenate(
            [_uniforms(pair.id, order, seed, samples, self.max_new_tokens) for pair, order in shown]
        )
        sampling = Sampling(
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            stop_ids=vlm.stop_ids,
            forbidden_ids=vlm.forbidden_ids,
            pad_id=vlm.tokenizer.pad_token_id,
        )
        completions = sample(vlm.model, prefix, owners, torch.from_numpy(uniforms), sampling, wanted)
        return vlm.completions(completions)


def _nobody(places: Sequence[int], traces: Sequence[str]) -> np.ndarray:
    """Of completions that nobody wants: none of them is well formed."""
    return np.empty(0)


def _any_wanted(wanted: Wanted, n: int) -> bool:
    return any(map(wanted, range(n)))


def _wanted_row(wanted: Wanted, start: int, row: int) -> bool:
    """Whether the pair is wanted that is shown in a row of the batch that begins at `start`; each is shown twice."""
    return wanted((start + row) // 2)


def _uniforms(pair_id: str, order: Order, seed: int, samples: int, length: int) -> np.ndarray:
    """The random numbers of one pair in one order, (samples, length), a function of these arguments alone."""
    key = np.frombuffer(own_key(pair_id, order, seed), dtype=np.uint32)
    return np.random.default_rng(key).random((samples, length), dtype=np.float32)
