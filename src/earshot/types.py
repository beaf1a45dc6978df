"""The nouns: pair, votes, side, verdict, malformed, estimate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from earshot.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

Side: TypeAlias = Literal["first", "second"]
Order: TypeAlias = Literal["forward", "swapped"]
Label: TypeAlias = Literal["first", "second", "tie", "both_bad"]
RedactionLevel: TypeAlias = Literal["none", "answer", "verdict", "evidence"]
"""What a trace loses before a listener reads it (`protocol.redact_trace`)."""
WITHOUT_VERDICT: Final[tuple[RedactionLevel, ...]] = ("verdict", "evidence")
"""What reads a trace at these levels comes to a side of its own."""
Wanted: TypeAlias = Callable[[int], bool]
"""Whether the answer about the k-th of several pairs is still wanted; asked again and again while it is written."""

ImageSource: TypeAlias = "Path | bytes | Image"


def other(side: Side) -> Side:
    """The side that `side` is not."""
    return "second" if side == "first" else "first"


def hash_of(text: str) -> int:
    """64 bits of a text, signed: what stands for an id, so that a million pairs need no million strings."""
    # Half an emoji is text too.
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)


@dataclass(frozen=True, slots=True)
class Votes:
    """How many people preferred each side; 1 and 0 where only a choice is known.

    Raises:
        DataError: A count is negative or not finite.
    """

    first: float
    second: float

    def __post_init__(self) -> None:
        for name, count in (("first", self.first), ("second", self.second)):
            if not math.isfinite(count) or count < 0:
                raise DataError(f"votes_{name} is {count}, expected a finite count of at least 0")

    @property
    def total(self) -> float:
        return self.first + self.second

    @property
    def share_first(self) -> float:
        """Share of the votes for the first image, in [0, 1]; NaN without votes."""
        return self.first / self.total if self.total > 0 else math.nan

    @property
    def majority(self) -> Side | None:
        """The preferred side; ties have none."""
        if self.first == self.second:
            return None
        return "first" if self.first > self.second else "second"

    def swapped(self) -> Votes:
        return Votes(self.second, self.first)


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and two images, and what people said of them.

    `first` and `second` say where an image is shown, not which one people prefer. Each is a path, the bytes of an
    image file, or a decoded Pillow image; `images.load_image` takes all three.

    `original` is the picture that was to be edited: the prompt is then an instruction, and `first` and `second` are two
    results. It is None where the images were made from the prompt alone.

    `label` is the publisher's own verdict where votes do not say it: the order of mean ranks, "both are bad".
    `category` is the publisher's kind of prompt.
    """

    id: str
    prompt: str
    first: ImageSource
    second: ImageSource
    votes: Votes
    prompt_id: str | None = None
    axis: str | None = None
    split: str | None = None
    model_first: str | None = None
    model_second: str | None = None
    source: str | None = None
    label: Label | None = None
    category: str | None = None
    original: ImageSource | None = None

    @property
    def images(self) -> tuple[ImageSource, ...]:
        """All its images, in the order in which they are shown: the original where there is one, first, second."""
        results = (self.first, self.second)
        return results if self.original is None else (self.original, *results)

    @property
    def cluster(self) -> str:
        """What the bootstrap resamples: the prompt's id, or the prompt itself where it has none."""
        return self.prompt_id if self.prompt_id is not None else self.prompt

    def swapped(self) -> Pair:
        """The same pair with the images shown in the other order; an original stays where it is."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            votes=self.votes.swapped(),
            model_first=self.model_second,
            model_second=self.model_first,
            label=other(self.label) if self.label in ("first", "second") else self.label,
        )


class Verdict(NamedTuple):
    """A well-formed completion: the side it names and the text between its think tags."""

    side: Side
    trace: str


class Malformed(NamedTuple):
    """A completion that is no verdict, and why: `two answers`, `no think block`. It is data, not an exception."""

    reason: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity with its 95 % interval and the number of observations behind it.

    A quantity that cannot be computed is `Estimate(None, None, None, 0)`, never 0.0.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def missing(cls) -> Estimate:
        return cls(None, None, None, 0)

    @classmethod
    def from_record(cls, record: object) -> Estimate:
        """What `as_record` gave; missing where a file has none, or one without a value."""
        if not isinstance(record, Mapping) or record.get("value") is None:
            return cls.missing()
        return cls(record["value"], record.get("low"), record.get("high"), int(record.get("n", 0)))

    def as_record(self) -> dict[str, float | int | None]:
        """As it stands in a JSON file."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}

    def numbers(self, *, percent: bool = False, signed: bool = False, digits: int | None = None) -> list[str]:
        """The value and, where there is an interval, its ends, each as text; a dash where there is no value.

        Args:
            percent: A hundred times as much.
            signed: As a difference, with a + where it is above 0.
            digits: Behind the point; left out, one in percent, else three for a value below 10 and one above.
        """
        if self.value is None:
            return ["–"]
        if digits is None:
            digits = 1 if percent or abs(self.value) >= 10 else 3
        told = (self.value,) if self.low is None or self.high is None else (self.value, self.low, self.high)
        texts = [f"{number * (100 if percent else 1):{'+' if signed else ''}.{digits}f}" for number in told]
        return [text.lstrip("+-") if float(text) == 0 else text.replace("-", "−") for text in texts]

    def text(self, *, percent: bool = False, signed: bool = False, digits: int | None = None) -> str:
        """`71.3 [68.0, 74.5]`, as `numbers` says."""
        value, *ends = self.numbers(percent=percent, signed=signed, digits=digits)
        return f"{value} [{', '.join(ends)}]" if ends else value
