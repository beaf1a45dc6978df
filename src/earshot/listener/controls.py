"""Listeners made of other listeners: the controls that a claim about listening must beat, and the options.

If random, shuffled, blind or no-trace scores train as good a reasoner as the listener does, then it was not the
listening (METHOD.md). Wrappers hand on the very same pair object for the same pair, so that a base which computes
images and prompt once for all completions of a pair can still do so.
"""

import hashlib
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from scipy.special import expit, logit

from earshot.errors import ConfigError, ListenerUnavailable
from earshot.images import load_image
from earshot.listener import Listener, ask
from earshot.protocol import swap_references
from earshot.types import ImageSource, Pair

GREY = (128, 128, 128)


@dataclass(frozen=True)
class RandomListener:
    """Scores that know nothing: uniform in [0, 1), the same for the same seed, pair id and trace."""

    seed: int = 0

    @property
    def name(self) -> str:
        return "random"

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`."""
        hashes = [_hash(self.seed, pair.id, trace) for pair, trace in zip(pairs, traces, strict=True)]
        return np.array([(h >> 11) * 2.0**-53 for h in hashes], dtype=np.float64)


@dataclass(frozen=True)
class ShuffledListener:
    """Scores of another pair's trace: is it this trace that persuades, or any?

    Traces change places within one call, the same way for the same seed and call. No pair keeps a trace of its own,
    so a call needs traces of two pairs at least.

    Raises:
        ListenerUnavailable: All the traces of a call belong to one pair: there is no other trace to score.
    """

    base: Listener
    seed: int = 0

    @property
    def name(self) -> str:
        return f"shuffled-{self.base.name}"

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`."""
        if not pairs:
            return ask(self.base, pairs, traces)
        ids = [pair.id for pair in pairs]
        if len(set(ids)) < 2:
            raise ListenerUnavailable(
                f"listener '{self.name}': all {len(ids)} traces of this call are of pair '{ids[0]}', expected at "
                "least two pairs; ask for more pairs at once"
            )
        rng = np.random.default_rng([self.seed % 2**64, *(_hash(one) for one in ids)])
        return ask(self.base, pairs, [traces[i] for i in _foreign_rows(ids, rng)])


@dataclass(frozen=True)
class BlindListener:
    """Sees grey images of the same sizes: what of the score comes from the words alone?"""

    base: Listener

    @property
    def name(self) -> str:
        return f"blind-{self.base.name}"

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`."""
        return ask(self.base, _each_once(pairs, _greyed), traces)


@dataclass(frozen=True)
class NoTraceListener:
    """Gets no trace: what it would have said anyway, which is also the prior of the prior-corrected reward."""

    base: Listener

    @property
    def name(self) -> str:
        return f"no_trace-{self.base.name}"

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`. Each pair is asked about once, however many traces it has."""
        unique = {id(pair): pair for pair in pairs}
        p = ask(self.base, list(unique.values()), [None] * len(unique))
        row = {key: i for i, key in enumerate(unique)}
        return p[[row[id(pair)] for pair in pairs]] if len(pairs) else p


@dataclass(frozen=True)
class BothOrdersListener:
    """The mean over both orders of the images; shown swapped, references in the trace swap too, and 1 - p counts.

    Attributes:
        base: Who listens.
        swap: How a trace is turned; `protocol.PromptSet.language` of the listener's language.
    """

    base: Listener
    swap: Callable[[str], str] = swap_references

    @property
    def name(self) -> str:
        return f"both_orders-{self.base.name}"

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`."""
        forward = ask(self.base, pairs, traces)
        turned = [None if trace is None else self.swap(trace) for trace in traces]
        swapped = ask(self.base, _each_once(pairs, Pair.swapped), turned)
        return (forward + (1.0 - swapped)) / 2.0


@dataclass(frozen=True)
class EnsembleListener:
    """The mean of several listeners, best of different families; when one breaks, the mean is missing too."""

    bases: tuple[Listener, ...]

    @property
    def name(self) -> str:
        return f"mean-{'-'.join(base.name for base in self.bases)}"

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`."""
        return np.stack([ask(base, pairs, traces) for base in self.bases]).mean(axis=0)


@dataclass(frozen=True)
class TemperedListener:
    """Logits divided by a temperature, fitted on validation pairs: above 1 less sure, below 1 surer, sides unchanged.

    Raises:
        ConfigError: The temperature is not a finite number above 0.
    """

    base: Listener
    temperature: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ConfigError(f"temperature is {self.temperature}, expected a finite number above 0")

    @property
    def name(self) -> str:
        return f"tempered-{self.base.name}"

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`. Source: temperature scaling, Guo et al. 2017 (arXiv 1706.04599)."""
        p = ask(self.base, pairs, traces).astype(np.float64)
        return np.asarray(expit(logit(p) / self.temperature), dtype=np.float64)


def _foreign_rows(ids: Sequence[Hashable], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """For each row, a row of another id: a permutation where no id has more than half the rows, else a draw.

    With the rows of an id side by side, a turn of the whole circle by the largest group's size leaves no row in its
    own group, as long as that group is at most half the circle.
    """
    order = list(rng.permutation(len(set(ids))))
    rank = dict(zip(dict.fromkeys(ids), order, strict=True))
    group = np.array([rank[one] for one in ids])
    circle = np.argsort(group, kind="stable")
    largest = int(np.bincount(group).max())
    source = np.empty(len(ids), dtype=np.int64)
    source[circle] = np.roll(circle, -largest)
    for i in np.flatnonzero(group[source] == group):
        source[i] = rng.choice(np.flatnonzero(group != group[i]))
    return source


def _each_once(pairs: Sequence[Pair], change: Callable[[Pair], Pair]) -> list[Pair]:
    """`change` applied once to each pair object; rows that shared a pair still share one."""
    changed: dict[int, Pair] = {}
    for pair in pairs:
        if id(pair) not in changed:
            changed[id(pair)] = change(pair)
    return [changed[id(pair)] for pair in pairs]


def _greyed(pair: Pair) -> Pair:
    original = None if pair.original is None else grey_like(pair.original)
    return replace(pair, first=grey_like(pair.first), second=grey_like(pair.second), original=original)


def grey_like(source: ImageSource) -> Image.Image:
    """A grey image of the same size; one object for each size, so that it is encoded once."""
    return _grey(load_image(source).size)


@lru_cache(maxsize=64)
def _grey(size: tuple[int, int]) -> Image.Image:
    return Image.new("RGB", size, GREY)


def _hash(*parts: object) -> int:
    """64 bits that depend on all the parts and on nothing else, such as the process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")
