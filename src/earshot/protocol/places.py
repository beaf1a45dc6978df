"""A text that remembers where its characters stood before anything was cut out of it.

What a trace claims is found in what is left of it (`redact`, `claims`); where a claim stands among the tokens that were
sampled is asked of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

NOWHERE: Final = -1


class Span(NamedTuple):
    """Characters of a text from `start` up to `end`, that one left out."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A text cut out of another one.

    Attributes:
        text: What is left.
        places: Where each of its characters stood in the other; `NOWHERE` of one that was put in.
    """

    text: str
    places: Sequence[int]

    @classmethod
    def of(cls, text: str) -> Placed:
        """A text of which nothing is cut."""
        return cls(text, range(len(text)))

    def __getitem__(self, part: slice) -> Placed:
        return Placed(self.text[part], self.places[part])

    def stripped(self, characters: str | None = None) -> Placed:
        """Without white space, or these characters, at its ends."""
        start = len(self.text) - len(self.text.lstrip(characters))
        return self[start : start + len(self.text.strip(characters))]

    def split(self, pattern: re.Pattern[str]) -> list[Placed]:
        """The parts between what a pattern without groups matches, as `re.split` has them."""
        matches = [match.span() for match in pattern.finditer(self.text)]
        starts = [0, *(end for _, end in matches)]
        ends = [*(start for start, _ in matches), len(self.text)]
        return [self[start:end] for start, end in zip(starts, ends, strict=True)]

    def sub(self, pattern: re.Pattern[str], by: str) -> Placed:
        """With what the pattern matches replaced by a text, as it is."""
        first, *others = self.split(pattern)
        put_in = Placed(by, [NOWHERE] * len(by))
        return joined([first, *chain.from_iterable((put_in, part) for part in others)]) if others else self

    def spans(self, within: Span) -> list[Span]:
        """Where a part of it stood: in one piece, or in several where something was cut out of its middle."""
        found: list[Span] = []
        for place in self.places[within.start : within.end]:
            if found and place == found[-1].end:
                found[-1] = Span(found[-1].start, place + 1)
            elif place != NOWHERE:
                found.append(Span(place, place + 1))
        return found


def joined(parts: Iterable[Placed]) -> Placed:
    """Texts, one after the other."""
    parts = list(parts)
    return Placed("".join(one.text for one in parts), [*chain.from_iterable(one.places for one in parts)])
