"""A reasoner whose model is in an engine that is asked in text: behind the OpenAI-compatible chat API, or vLLM here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from earshot.errors import PromptTooLong
from earshot.listener.engine import EngineListener
from earshot.predictions.judgement import JudgedSample
from earshot.protocol import PromptSet
from earshot.reasoner.orders import as_samples, in_both_orders, own_seed
from earshot.types import Pair, Wanted


@dataclass
class EngineReasoner:
    """Judges pairs in both orders of their images, as `reasoner.Reasoner` does.

    Attributes:
        own: The model, which also says how probable either answer is after its own trace.
        max_new_tokens: Completions that are longer are cut, and then malformed.
        temperature: Of sampling; 0 is greedy.
        batch_size: Pairs (in one order) that are asked about at a time.
    """

    own: EngineListener
    max_new_tokens: int = 512
    temperature: float = 1.0
    batch_size: int = 16

    @property
    def prompts(self) -> PromptSet:
        """How it is asked."""
        return self.own.model.prompts

    def judge(
        self, pairs: Sequence[Pair], *, samples: int = 1, seed: int = 0, wanted: Wanted | None = None
    ) -> list[list[JudgedSample]]:
        """`samples` completions for every pair in either order; a list of 2 * samples for each pair.

        The engine is given a seed for each pair and order, a function of `seed` and the pair's id. Of a pair that is
        not `wanted` when its turn comes, nothing is asked.

        Raises:
            InputError: The model is asked about edits, and a pair has no original, or the other way round.
            RemoteError: The engine gave no completions.
            ListenerUnavailable: It gave no probabilities of the answers.
            ImageError: An image is refused.
            PromptTooLong: Prompts do not fit into the model's context.
        """
        shown = in_both_orders(pairs)
        judged: list[list[JudgedSample]] = []
        for start in range(0, len(shown), self.batch_size):
            batch = shown[start : start + self.batch_size]
            asked = [k for k in range(len(batch)) if wanted is None or wanted((start + k) // 2)]
            try:
                told = self.own.model.complete(
                    [batch[k][0] for k in asked],
                    [own_seed(batch[k][0].id, batch[k][1], seed) for k in asked],
                    n=samples,
                    temperature=self.temperature,
                    max_new_tokens=self.max_new_tokens,
                )
            except PromptTooLong as error:
                where = {(start + asked[row]) // 2: why for row, why in error.too_long.items()}
                raise PromptTooLong(where) from error
            texts = dict(zip(asked, told, strict=True))
            own = partial(self._own, [pair for pair, _ in batch])
            every = [text for k in range(len(batch)) for text in texts.get(k, [""] * samples)]
            judged += as_samples(batch, every, own, self.prompts)
        return [judged[k] + judged[k + 1] for k in range(0, len(judged), 2)]

    def _own(self, pairs: Sequence[Pair], places: Sequence[int], traces: Sequence[str]) -> np.ndarray:
        return self.own.p_first([pairs[place] for place in places], traces)
