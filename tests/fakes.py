"""Listeners and reasoners with known opinions, for tests: they count their calls and fail when told to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from PIL import Image

from earshot.errors import ListenerUnavailable
from earshot.predictions.judgement import JudgedSample
from earshot.protocol import parse_completion, prompt_set, write_completion
from earshot.types import Malformed, Order, Pair, Side, Verdict, Votes

Opinion = Callable[[Pair, str | None], float]


def fake_pair(id: str = "p", *, first: str = "red", second: str = "blue", votes: Sequence[float] = (3.0, 1.0)) -> Pair:
    """A pair of plainly coloured 12 by 10 pixel images."""
    images = (Image.new("RGB", (12, 10), colour) for colour in (first, second))
    return Pair(id, f"a {first} square", *images, Votes(*votes))


def colour_of(image: Image.Image) -> tuple[int, int, int]:
    """The colour of a plain image, or of the corner of any other."""
    return image.convert("RGB").getpixel((0, 0))


def prefers_red(pair: Pair, trace: str | None) -> float:
    """0.9 for the redder image, 0.5 for equals, whatever the trace says: it is symmetric under swapping."""
    gap = colour_of(pair.first)[0] - colour_of(pair.second)[0]
    return 0.5 + 0.4 * (gap > 0) - 0.4 * (gap < 0)


def believes_words(pair: Pair, trace: str | None) -> float:
    """0.8 for the side whose name stands first in the trace, 0.5 where neither does: it never looks."""
    places = {side: (trace or "").find(side) for side in ("first", "second")}
    found = {side: place for side, place in places.items() if place >= 0}
    if not found:
        return 0.5
    return 0.8 if min(found, key=found.__getitem__) == "first" else 0.2


@dataclass
class FakeListener:
    """A listener with one opinion.

    Attributes:
        opinion: The probability of the first image for a pair and a trace, or the same number for all.
        name: What it is called.
        fails: Raise `ListenerUnavailable` when asked.
        calls: What it was asked, call by call.
    """

    opinion: Opinion | float = 0.5
    name: str = "fake"
    fails: bool = False
    calls: list[tuple[list[Pair], list[str | None]]] = field(default_factory=list)

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `earshot.listener.Listener.p_first`."""
        self.calls.append((list(pairs), list(traces)))
        if self.fails:
            raise ListenerUnavailable(f"listener '{self.name}': told to fail")
        opinion = self.opinion
        return np.array(
            [opinion(p, t) if callable(opinion) else opinion for p, t in zip(pairs, traces, strict=True)], dtype=float
        )


@dataclass
class FakeReasoner:
    """A reasoner that always answers from one opinion, sure of its side with the opinion's probability.

    Attributes:
        opinion: The probability of the first image as shown.
        trace: The trace it writes, for any pair.
        malformed_ids: Pairs whose completions are no verdicts.
        calls: The pairs it was asked about.
    """

    opinion: Opinion | float = 0.5
    trace: str = "the images differ ."
    malformed_ids: frozenset[str] = frozenset()
    name: str = "fake"
    calls: list[Pair] = field(default_factory=list)

    def sample(self, pair: Pair, order: Order = "forward") -> JudgedSample:
        """One completion for one order, told in the pair's own sides."""
        self.calls.append(pair)
        shown = pair if order == "forward" else pair.swapped()
        p_shown = self.opinion(shown, self.trace) if callable(self.opinion) else self.opinion
        side: Side = "first" if p_shown >= 0.5 else "second"
        completion = (
            "no idea"
            if pair.id in self.malformed_ids
            else write_completion(Verdict(side, self.trace), prompt_set("brief"))
        )
        parsed = parse_completion(completion, prompt_set("brief"))
        if isinstance(parsed, Malformed):
            return JudgedSample(order, completion, None, parsed.reason, None)
        if order == "swapped":
            side, p_shown = ("second" if side == "first" else "first"), 1.0 - p_shown
        return JudgedSample(order, parsed.trace, side, None, p_shown)
