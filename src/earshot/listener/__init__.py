"""The frozen reader of traces: anything with `p_first(pairs, traces) -> array`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from earshot.errors import InputError, ListenerUnavailable
from earshot.types import Pair

__all__ = ["Ahead", "Begin", "Listener", "ahead", "ahead_through", "ask", "checked", "identity", "runs_of_pairs"]


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


@runtime_checkable
class Begin(Protocol):
    """Asks about traces of a pair before all the traces are there that a listener will be asked about.

    Every trace is told once as soon as it is there, and once with all that there will be of its pair: a listener for
    which each trace is a question begins with the first, one that takes a pair's together with the second.
    """

    def __call__(self, pair: Pair, traces: Sequence[str | None], *, whole: bool) -> None:
        """Asks, and waits for nothing.

        Args:
            pair: The pair.
            traces: As `Listener.p_first` will be asked about them.
            whole: Whether these are all of the pair, in the order in which they will stand.
        """
        ...


@runtime_checkable
class Ahead(Protocol):
    """A listener, of another machine or around one, that can be asked before all traces are there."""

    def ahead(self) -> AbstractContextManager[Begin | None]:
        """While this lasts, `p_first` takes the answers to what was begun, and asks for the rest.

        What it answers and how it fails is what it would be without. At the end what nobody took is dropped. None where
        nothing would be gained, as with a wrapper of listeners that run here.
        """
        ...


def ahead(listener: object) -> AbstractContextManager[Begin | None]:
    """How to ask a listener ahead of its `p_first`; None of one that cannot be, or gains nothing from it."""
    return listener.ahead() if isinstance(listener, Ahead) else nullcontext()


@contextmanager
def ahead_through(
    base: Listener, questions: Callable[[Pair, Sequence[str | None]], Iterable[tuple[Pair, Sequence[str | None]]]]
) -> Iterator[Begin | None]:
    """How to ask a wrapper ahead, by what it asks its base about a pair and some of the pair's traces."""
    with ahead(base) as begin_base:
        if begin_base is None:
            yield None
            return

        def begin(pair: Pair, traces: Sequence[str | None], *, whole: bool) -> None:
            for asked, about in questions(pair, traces):
                begin_base(asked, about, whole=whole)

        yield begin


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
    for _, rows in groupby(range(len(pairs)), key=lambda row: identity(pairs[row])):
        yield list(rows)


def identity(pair: Pair) -> tuple[object, ...]:
    """What makes two rows the same question; decoded images are told apart by identity, never compared."""
    sources = (source if isinstance(source, Path | bytes) else id(source) for source in (pair.first, pair.second))
    return (pair.id, pair.prompt, *sources)
