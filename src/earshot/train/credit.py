"""Which tokens of a completion are told what of its reward: credit by token, where it is not one number for all.

Shapes: r rows of a step, c tokens of the longest completion.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from os.path import commonprefix
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float

from earshot.protocol.places import Span
from earshot.rewards import claim_advantages, group_advantages
from earshot.vlm import Vlm

Credit: TypeAlias = Literal["reward_to_go", "decoupled", "claims"]
"""Which tokens get no share of what: `reward_to_go`, those after the trace of what was paid for the trace; `decoupled`,
also those of the trace of what was paid for the answer; `claims`, also those of a claim of what others were paid."""


class PaidClaim(NamedTuple):
    """A claim of a completion.

    Attributes:
        spans: Where its own words stand in the completion.
        paid: How far it is believed, times what claims weigh.
    """

    spans: list[Span]
    paid: float


class Paid(NamedTuple):
    """What one completion was paid.

    Attributes:
        trace: For its trace, without its claims where these are paid one by one; NaN where the reward is missing.
        answer: For what stands after it; likewise.
        claims: Where they are paid one by one; none where the reward is missing.
    """

    trace: float
    answer: float
    claims: list[PaidClaim]


class Written:
    """A completion as it was sampled, and which of its tokens hold which of its characters.

    A tokenizer may cut a text anywhere, also within a character, and a sampled cut need not be the one that it would
    make itself. So beginnings are decoded, and their texts compared with the whole.

    Attributes:
        text: As `Vlm.completions` has it.
    """

    def __init__(self, vlm: Vlm, ids: Sequence[int]) -> None:
        (self.text,) = vlm.completions([ids])
        self._all = len(ids)
        self._places = vlm.spoken(ids)
        self._ids = [ids[place] for place in self._places]
        self._decode = vlm.tokenizer.decode
        self._opened = len(vlm.opened)
        self._said = self.text[self._opened :]
        self._reached: dict[int, tuple[int, bool]] = {}

    def end_of(self, tag: str) -> int:
        """The tokens up to the one that completes the first such tag; all where there is none."""
        place = self.text.find(tag)
        return self._until(place + len(tag)) if place >= 0 else self._all

    def holding(self, span: Span) -> range:
        """The tokens that hold any character of a part of the text, one that it shares with what is beside it too."""
        start = max(0, span.start - self._opened)
        first = self._count(span.start)
        characters, begun = self._reach(first)
        if characters > start or begun:
            first -= 1
        return range(self._places[first] if first < len(self._places) else self._all, self._until(span.end))

    def _until(self, place: int) -> int:
        last = self._count(place) - 1
        return self._places[last] + 1 if last >= 0 else 0

    def _count(self, place: int) -> int:
        """The least number of tokens whose text reaches a place."""
        wanted = min(max(0, place - self._opened), len(self._said))
        return bisect_left(range(len(self._ids)), wanted, key=lambda tokens: self._reach(tokens)[0])

    def _reach(self, tokens: int) -> tuple[int, bool]:
        """How many characters of the text so many tokens hold whole, and whether they have begun another."""
        if tokens not in self._reached:
            told = self._decode(self._ids[:tokens])
            same = told if self._said.startswith(told) else commonprefix([told, self._said])  # noqa: RUF071
            self._reached[tokens] = len(same), len(same) < len(told)
        return self._reached[tokens]


def advantages_by_token(
    credit: Credit,
    whole: Float[np.ndarray, " r"],
    paid: Sequence[Paid],
    written: Sequence[Written],
    *,
    group: int,
    trace_end: str,
    width: int,
) -> Float[np.ndarray, "r c"]:
    """The advantage of every token.

    Args:
        credit: Of which kind.
        whole: Advantages by completion, of all that was paid.
        paid: What that was.
        written: The completions.
        group: How many there are of a pair.
        trace_end: What completes a trace.
        width: Tokens of the longest completion.
    """
    answer = group_advantages(np.array([one.answer for one in paid]).reshape(-1, group)).reshape(-1)
    trace, claims = whole, [[0.0] * len(one.claims) for one in paid]
    if credit != "reward_to_go":
        for_trace = np.array([one.trace for one in paid]).reshape(-1, group)
        told = claim_advantages(for_trace, [[claim.paid for claim in one.claims] for one in paid])
        trace, claims = told.trace.reshape(-1), told.claims
    found = np.empty((len(paid), width))
    for row, (one, words) in enumerate(zip(paid, written, strict=True)):
        end = words.end_of(trace_end)
        found[row, :end], found[row, end:] = trace[row], answer[row]
        holders = [{k for span in claim.spans for k in words.holding(span)} for claim in one.claims]
        for token in sorted(set().union(*holders)):
            # A token that holds characters of several claims is told their mean.
            found[row, token] += np.mean([a for a, held in zip(claims[row], holders, strict=True) if token in held])
    return found
