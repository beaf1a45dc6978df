"""A judgement: what came of one question, in Python, on the command line, over HTTP and as a row of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from PIL.Image import Image

from earshot.errors import DataError, InputError
from earshot.predictions.sides import is_flip, side_of
from earshot.types import WITHOUT_VERDICT, Order, Side, other

AUTHOR: Final = "author"
"""Who decides by default: the reasoner that wrote the traces."""
SAME_PICTURE: Final = "the two images are the same picture"
NO_ANSWER: Final = "no well-formed answer in one of the orders"
NOT_READ: Final = "the reader gave no probability in one of the orders"
UNDECIDED: Final = "exactly one half"


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """One completion of the reasoner, and what others made of its trace.

    Attributes:
        order: `swapped`: the second image was shown first, and `trace` speaks of the images as shown. All else is told
            in the pair's own sides.
        trace: The text between the think tags; the whole completion where it is malformed.
        side: The verdict; None where the completion is malformed.
        malformed: Why it is no verdict; None where it is one.
        p_first: The reasoner's probability of the first image, given this trace; None where malformed.
        listener: Each listener's probability of the first image, given the trace without its answer. A listener that
            broke has none.
        believed: How far each claim checker believes the trace's claims, their mean in [0, 1]; none without a claim.
        claims: How many claims are `true`, `false` and `unchecked`, where the truth of the pair is known, and how many
            false ones favour either side (`favours_first`, `favours_second`).
    """

    order: Order
    trace: str
    side: Side | None
    malformed: str | None
    p_first: float | None
    listener: Mapping[str, float] = field(default_factory=dict)
    believed: Mapping[str, float] = field(default_factory=dict)
    claims: Mapping[str, int] | None = None

    @property
    def verdict(self) -> int | None:
        """The answer as it was written: in a swapped sample 1 means the pair's second image."""
        if self.side is None:
            return None
        return 1 if (self.side == "first") == (self.order == "forward") else 2

    def turned(self) -> JudgedSample:
        """The same told of the pair with its images exchanged."""
        return replace(
            self,
            order="swapped" if self.order == "forward" else "forward",
            side=None if self.side is None else other(self.side),
            p_first=None if self.p_first is None else 1.0 - self.p_first,
            listener={name: 1.0 - p for name, p in self.listener.items()},
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "order": self.order,
            "trace": self.trace,
            "side": self.side,
            "malformed": self.malformed,
            "verdict": self.verdict,
            "p_first": self.p_first,
            "listener": dict(self.listener),
            "believed": dict(self.believed),
            "claims": None if self.claims is None else dict(self.claims),
        }


def is_malformed(sample: Mapping[str, Any]) -> bool:
    """Whether the row of a completion is no verdict.

    Raises:
        KeyError: A field is missing.
        DataError: It has neither a side nor a reason, or both.
    """
    side, malformed = sample["side"], sample["malformed"]
    if (malformed is not None) != (side is None):
        raise DataError(f"a sample has side {side!r} and malformed {malformed!r}, expected just one")
    return malformed is not None


@dataclass(frozen=True, slots=True, repr=False)
class Judgement:
    """What came of one question: which of two images people prefer for a prompt, and who says so.

    Attributes:
        id: Of the pair in its set; the fingerprint of the question where it is in none.
        p_first: The answer, the probability that people prefer the first image: the mean of the two orders, each the
            mean over its well-formed samples. None where an order has none: nothing is guessed.
        p_first_forward: The same with the first image shown first alone.
        p_first_swapped: And with the second image shown first.
        p_author: The reasoner's own, whoever decides.
        p_read: Each listener's, averaged over traces and orders in the same way.
        decided_by: Whose p is the answer: `author`, or a listener's name.
        samples: All completions, those in forward order first.
        reason: Why the answer has no side; None where it has one.
        question: Fingerprint of the question: a hash of prompt, pixels and seed, the same for either order.
        seed: Of the sampling.
        broken: Why a listener or a checker is missing, by its name.
        pictures: The two that `RewardModel.compare` was asked about, for a notebook to show; None elsewhere, for a job
            would keep all of its own. No part of the judgement: neither of its equality nor of `as_dict`.
    """

    id: str
    p_first: float | None
    p_first_forward: float | None
    p_first_swapped: float | None
    p_author: float | None
    p_read: Mapping[str, float | None]
    decided_by: str
    samples: tuple[JudgedSample, ...]
    reason: str | None
    question: str
    seed: int
    broken: Mapping[str, str] = field(default_factory=dict)
    pictures: tuple[Image, Image] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        if self.verdict is None:
            p = "" if self.p_first is None else f", p_first={self.p_first:.4f}"
            return f"Judgement(no verdict{p}: {self.reason})"
        agree = "both orders agree" if self.orders_agree else "the two orders disagree"
        return f"Judgement({self.verdict}, p_first={self.p_first:.4f}, {agree})"

    def _repr_html_(self) -> str:
        from earshot.predictions.notebook import judgement_html

        return judgement_html(self)

    @property
    def verdict(self) -> Side | None:
        """The side of the answer; None where it has none, and `reason` says why."""
        return side_of(self.p_first)

    @property
    def orders_agree(self) -> bool | None:
        """Whether both orders are on one side; None where one is missing."""
        flip = is_flip(self.p_first_forward, self.p_first_swapped)
        return None if flip is None else not flip

    @property
    def malformed(self) -> int:
        """How many of the samples are no verdicts."""
        return sum(sample.malformed is not None for sample in self.samples)

    @property
    def trace(self) -> str | None:
        """A trace to show: the first that was written for the verdict, images in their own order where there is one."""
        return next((s.trace for s in self.samples if s.side is not None and s.side == self.verdict), None)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: a row of predictions.jsonl, and what every front end gives."""
        row: dict[str, Any] = {
            "id": self.id,
            "verdict": self.verdict,
            "p_first": self.p_first,
            "p_first_forward": self.p_first_forward,
            "p_first_swapped": self.p_first_swapped,
            "orders_agree": self.orders_agree,
            "p_author": self.p_author,
            "p_read": dict(self.p_read),
            "decided_by": self.decided_by,
            "reason": self.reason,
            "malformed": self.malformed,
            "question": self.question,
            "seed": self.seed,
            "samples": [sample.as_dict() for sample in self.samples],
        }
        if self.broken:
            row["broken"] = dict(self.broken)
        return row


def conclude(
    samples: Iterable[JudgedSample],
    *,
    id: str,
    question: str,
    seed: int,
    decide: str = AUTHOR,
    readers: Sequence[str] = (),
    same_picture: bool = False,
    broken: Mapping[str, str] = MappingProxyType({}),
) -> Judgement:
    """What the samples of a question amount to.

    Args:
        samples: All of them, in the pair's own sides.
        id: Of the pair.
        question: The question's fingerprint.
        seed: Of the sampling.
        decide: Whose p is the answer: `author`, or one of `readers`.
        readers: The listeners that were asked about traces without their conclusions.
        same_picture: Whether both images are one picture, of which nobody is asked: one half, and no side.
        broken: Who is missing, and why.
    """
    ordered = tuple(sorted(samples, key=lambda sample: sample.order != "forward"))
    if same_picture:
        halves = dict.fromkeys(readers, 0.5)
        return Judgement(id, 0.5, 0.5, 0.5, 0.5, halves, decide, ordered, SAME_PICTURE, question, seed)
    author = _means(ordered, lambda sample: sample.p_first)
    read = {name: _means(ordered, partial(_heard, name)) for name in readers}
    answer = author if decide == AUTHOR else read[decide]
    reason = None
    if answer.both is None:
        reason = NO_ANSWER if author.both is None else NOT_READ
    elif side_of(answer.both) is None:
        reason = UNDECIDED
    return Judgement(
        id=id,
        p_first=answer.both,
        p_first_forward=answer.forward,
        p_first_swapped=answer.swapped,
        p_author=author.both,
        p_read={name: means.both for name, means in read.items()},
        decided_by=decide,
        samples=ordered,
        reason=reason,
        question=question,
        seed=seed,
        broken=dict(broken),
    )


def check_decide(decide: str, listeners: Sequence[str], redaction: str) -> None:
    """Refuses a decider that nobody is, or who would read the answer back.

    Raises:
        InputError: It is refused.
    """
    if decide == AUTHOR:
        return
    if decide not in listeners:
        known = ", ".join([AUTHOR, *listeners])
        raise InputError(f"decide is {decide!r}, expected one of {known}; a reader that decides must be a listener")
    if redaction not in WITHOUT_VERDICT:
        raise InputError(
            f"decide is {decide!r} and redaction {redaction!r}: a reader of conclusions reads the answer back; use "
            "redaction 'verdict' or 'evidence'"
        )


class _Means(NamedTuple):
    both: float | None
    forward: float | None
    swapped: float | None


def _heard(name: str, sample: JudgedSample) -> float | None:
    return sample.listener.get(name)


def _means(samples: Sequence[JudgedSample], p_of: Callable[[JudgedSample], float | None]) -> _Means:
    """Of both orders together, and of each: the mean over its well-formed samples; None where there is none."""

    def mean(order: Order) -> float | None:
        known = [p for s in samples if s.order == order and s.malformed is None and (p := p_of(s)) is not None]
        return sum(known) / len(known) if known else None

    forward, swapped = mean("forward"), mean("swapped")
    return _Means(None if forward is None or swapped is None else (forward + swapped) / 2, forward, swapped)
