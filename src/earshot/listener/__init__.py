"""The frozen reader of traces: anything with `p_first(pairs, traces) -> array`."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np
from jaxtyping import Float

from earshot.errors import InputError, ListenerUnavailable
from earshot.types import Pair

__all__ = ["Listener", "Reading", "Speaker", "ask", "checked", "runs_of_pairs", "speaks"]


@runtime_checkable
class Listener(Protocol):
    """A judge that reads traces. Families, controls, ensembles and remote servers are implementations."""

    @property
    def name(self) -> str:
        """What logs and reports call it."""
        ...

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """Probability that people prefer the first image, given the pair and a redacted trace.

        Args:
            pairs: The pairs; a pair may stand here several times, once for each of its traces.
            traces: One for each pair, already redacted; None asks without a trace.

        Raises:
            ListenerUnavailable: It broke. A failure is never a number.
        """
        ...


class Reading(NamedTuple):
    """What a listener makes of traces, one row each.

    Attributes:
        p_first: As of `Listener.p_first`.
        likelihood: The geometric mean of the probabilities that it gives the trace's own tokens, after the images and
            the prompt; NaN where there is no trace.
    """

    p_first: Float[np.ndarray, " n"]
    likelihood: Float[np.ndarray, " n"]


@runtime_checkable
class Speaker(Listener, Protocol):
    """A listener that also says how likely it would have said what it reads."""

    def read(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Reading:
        """`p_first`, and from the same pass the likelihood of the words.

        Raises:
            ListenerUnavailable: As of `p_first`.
        """
        ...


def speaks(listener: Listener) -> TypeGuard[Speaker]:
    """Whether it says how likely it finds what it reads; one that hands its question on does where its base does."""
    base = getattr(listener, "base", None)
    return isinstance(listener, Speaker) and (base is None or speaks(base))


def ask(listener: Listener, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
    """Ask a listener and refuse an answer that is no probability for each pair.

    Raises:
        InputError: There are not as many traces as pairs.
        ListenerUnavailable: The listener broke, or its answer is not one probability for each pair.
    """
    if len(pairs) != len(traces):
        raise InputError(f"listener '{listener.name}': {len(traces)} traces for {len(pairs)} pairs, expected as many")
    return checked(listener.p_first(pairs, traces), name=listener.name, n=len(pairs))


def checked(p: Float[np.ndarray, " n"], *, name: str = "listener", n: int | None = None) -> Float[np.ndarray, " n"]:
    """The same probabilities, if that is what they are.

    Args:
        p: What a listener answered.
        name: Whose answer it is, for the message.
        n: How many there should be; None takes any number.

    Raises:
        ListenerUnavailable: There are not `n`, or one is not finite or outside [0, 1].
    """
    if n is not None and p.size != n:
        raise ListenerUnavailable(f"listener '{name}': {p.size} probabilities for {n} pairs, expected as many")
    bad = ~(np.isfinite(p) & (p >= 0) & (p <= 1))
    if bad.any():
        at = int(np.argmax(bad))
        raise ListenerUnavailable(
            f"listener '{name}': p_first is {p[at]} at position {at} ({int(bad.sum())} of {p.size} are not "
            "probabilities), expected values in [0, 1]; check its logits"
        )
    return p


def runs_of_pairs(pairs: Sequence[Pair]) -> Iterator[list[int]]:
    """The rows that ask about one pair, where they stand together: their images and prompt are needed once."""
    for _, rows in groupby(range(len(pairs)), key=lambda row: _identity(pairs[row])):
        yield list(rows)


def _identity(pair: Pair) -> tuple[object, ...]:
    """What makes two rows the same question; decoded images are told apart by identity, never compared."""
    sources = (source if isinstance(source, Path | bytes) else id(source) for source in pair.images)
    return (pair.id, pair.prompt, *sources)
