"""A reasoner on another machine, behind the OpenAI-compatible chat API."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from earshot.listener.remote import ChatListener
from earshot.predictions.judgement import JudgedSample
from earshot.protocol import reopened
from earshot.reasoner.orders import as_samples, in_both_orders
from earshot.types import Order, Pair, Wanted


@dataclass
class ChatReasoner:
    """Judges pairs in both orders of their images, as `reasoner.Reasoner` does.

    Attributes:
        own: The model, which also says how probable either answer is after its own trace.
        max_new_tokens: Completions that are longer are cut, and then malformed.
        temperature: Of sampling; 0 is greedy.
        batch_size: Pairs (in one order) whose images are held encoded.
    """

    own: ChatListener
    max_new_tokens: int = 512
    temperature: float = 1.0
    batch_size: int = 16

    @property
    def name(self) -> str:
        return self.own.name

    def judge(
        self, pairs: Sequence[Pair], *, samples: int = 1, seed: int = 0, wanted: Wanted | None = None
    ) -> list[list[JudgedSample]]:
        """`samples` completions for every pair in either order; a list of 2 * samples for each pair.

        The server is given a seed for each pair, a function of `seed` and the pair's id; whether the same seed gives
        the same completion beside other requests is up to the server, and vLLM does not promise it. Of a pair that is
        not `wanted` when its turn comes, nothing is asked.

        Raises:
            RemoteError: The server gave no completions.
            ListenerUnavailable: It gave no probabilities of the answers.
            ImageError: An image is refused.
        """
        shown = in_both_orders(pairs)
        judged: list[list[JudgedSample]] = []
        for start in range(0, len(shown), self.batch_size):
            batch = shown[start : start + self.batch_size]
            still = [wanted is None or wanted((start + k) // 2) for k in range(len(batch))]
            texts = self.own.model.endpoint.map(
                lambda one: self._complete(*one[0], samples, seed) if one[1] else [""] * samples,
                zip(batch, still, strict=True),
            )
            own = partial(self._own, [pair for pair, _ in batch])
            judged += as_samples(batch, [text for several in texts for text in several], own, self.own.model.prompts)
        return [judged[k] + judged[k + 1] for k in range(0, len(judged), 2)]

    def _own(self, pairs: Sequence[Pair], places: Sequence[int], traces: Sequence[str]) -> np.ndarray:
        return self.own.p_first([pairs[place] for place in places], traces)

    def _complete(self, pair: Pair, order: Order, samples: int, seed: int) -> list[str]:
        key = hashlib.sha256(f"{seed}\0{order}\0{pair.id}".encode()).digest()
        texts = self.own.model.complete(
            self.own.model.messages(pair),
            n=samples,
            seed=int.from_bytes(key[:4], "big") >> 1,
            temperature=self.temperature,
            max_new_tokens=self.max_new_tokens,
        )
        return [reopened(text, self.own.model.prompts) for text in texts]
