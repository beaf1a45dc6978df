"""A question about two pictures, and the answer that the reasoner's samples amount to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from earshot.errors import InputError
from earshot.judge.pictures import Picture
from earshot.types import Order, Pair, Sample, Side, Votes, other

_NO_VOTES = Votes(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Question:
    """Which of two pictures people prefer for a prompt, checked and decoded.

    The two pictures are kept in the order of their digests, so that asking about (a, b) and about (b, a) is one
    question: the answers are the same but for the sides' names, to the last bit.
    """

    pair: Pair
    """In the order of the digests. Its id is a hash of prompt, pixels and seed, from which the reasoner's random
    numbers follow: questions with different seeds may be judged together."""
    turned: bool
    """Whether the caller's first picture is the pair's second."""
    seed: int

    @classmethod
    def of(cls, prompt: str, first: Picture, second: Picture, seed: int) -> Question:
        """Raises:
        InputError: The prompt is no text, or blank, or the seed no number of at least 0.
        """
        check_seed(seed)
        turned = first.digest > second.digest
        one, two = (second, first) if turned else (first, second)
        key = "\0".join([check_prompt(prompt), one.digest, two.digest, str(seed)])
        pair = Pair(hashlib.sha256(key.encode()).hexdigest()[:32], prompt, one.image, two.image, _NO_VOTES)
        return cls(pair, turned, seed)


def check_prompt(prompt: object) -> str:
    """The prompt, if it is text that a file can hold.

    Raises:
        InputError: It is not.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        found = "blank" if isinstance(prompt, str) else f"of type {type(prompt).__name__}"
        raise InputError(f"prompt: is {found}, expected the text that the images were made from")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"prompt: holds half a character at {error.start}, expected text; encode it again") from error
    return prompt


def check_seed(seed: object) -> int:
    """The seed, if it is one.

    Raises:
        InputError: It is not.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a whole number of at least 0")
    return seed


@dataclass(frozen=True, slots=True)
class Trace:
    """One completion of the reasoner."""

    order: Order
    """`swapped`: the second image was shown first, and `text` speaks of the images as shown. All else is told in the
    caller's own sides."""
    text: str
    side: Side | None
    """The verdict; None where the completion is malformed."""
    malformed: str | None
    """Why it is no verdict; None where it is one."""
    p_first: float | None
    """The reasoner's probability that people prefer the first image, given this trace."""
    p_first_listener: float | None
    """The listener's, given the trace without its answer; None without a listener, or where malformed."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the reasoner makes of two images.

    Attributes:
        verdict: The side above one half; None where p_first is missing or exactly one half.
        p_first: Probability that people prefer the first image: the mean of the two orders, each the mean over its
            well-formed samples. None where an order has no such sample: nothing is guessed.
        p_first_forward: The same with the first image shown first alone.
        p_first_swapped: And with the second image shown first.
        orders_agree: Whether both orders are on the same side of one half; None where one is missing.
        p_first_listener: The listener's probability, averaged in the same way; None without a listener.
        malformed: How many of the samples are no verdicts.
        traces: All samples, those in forward order first.
        pair_id: Hash of prompt, pixels and seed, the same for either order of the images.
        seed: Of the sampling.
    """

    verdict: Side | None
    p_first: float | None
    p_first_forward: float | None
    p_first_swapped: float | None
    orders_agree: bool | None
    p_first_listener: float | None
    malformed: int
    traces: tuple[Trace, ...]
    pair_id: str
    seed: int

    @property
    def trace(self) -> str | None:
        """A trace to show: the first that was written for the verdict, images in their own order where there is one."""
        return next((t.text for t in self.traces if t.side is not None and t.side == self.verdict), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the fields of every front end."""
        return asdict(self) | {"traces": [asdict(trace) for trace in self.traces]}


def conclude(question: Question, samples: Sequence[Sample], heard: Sequence[float | None]) -> Comparison:
    """The answer in the caller's own sides.

    Args:
        question: What was asked.
        samples: Of the question's pair, in its own sides.
        heard: For each sample the listener's probability of the pair's first image; None where it was not asked.
    """
    told = [_told(sample, p, turned=question.turned) for sample, p in zip(samples, heard, strict=True)]
    traces = tuple(sorted(told, key=lambda trace: trace.order != "forward"))
    forward, swapped = (_mean(t.p_first for t in traces if t.order == order) for order in ("forward", "swapped"))
    p_first = _both(forward, swapped)
    sides = [_side(p) for p in (forward, swapped)]
    return Comparison(
        verdict=_side(p_first),
        p_first=p_first,
        p_first_forward=forward,
        p_first_swapped=swapped,
        orders_agree=None if p_first is None else sides[0] == sides[1],
        p_first_listener=_both(
            *(_mean(t.p_first_listener for t in traces if t.order == order) for order in ("forward", "swapped"))
        ),
        malformed=sum(trace.malformed is not None for trace in traces),
        traces=traces,
        pair_id=question.pair.id,
        seed=question.seed,
    )


def _told(sample: Sample, p_listener: float | None, *, turned: bool) -> Trace:
    if not turned:
        return Trace(sample.order, sample.trace, sample.side, sample.malformed, sample.p_first, p_listener)
    order: Order = "swapped" if sample.order == "forward" else "forward"
    side = None if sample.side is None else other(sample.side)
    return Trace(order, sample.trace, side, sample.malformed, _complement(sample.p_first), _complement(p_listener))


def _complement(p: float | None) -> float | None:
    return None if p is None else 1.0 - p


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _both(forward: float | None, swapped: float | None) -> float | None:
    return None if forward is None or swapped is None else (forward + swapped) / 2


def _side(p_first: float | None) -> Side | None:
    if p_first is None or p_first == 0.5:
        return None
    return "first" if p_first > 0.5 else "second"
