"""Reasoners and listeners with known opinions, for the tests of all that asks them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from earshot.predictions.judgement import JudgedSample
from earshot.types import Order, Pair, Wanted, other

Opinion = Callable[[Pair], float]
"""Probability of the first image as shown."""


def shade(brightness: int, side_px: int = 16) -> Image.Image:
    """A grey picture."""
    return Image.new("RGB", (side_px, side_px), (brightness,) * 3)


def brightness(image: object) -> float:
    assert isinstance(image, Image.Image)
    return float(np.asarray(image)[0, 0, 0])


def prefers_bright(pair: Pair) -> float:
    """Every 20 steps of brightness are worth one unit of log-odds."""
    return float(1 / (1 + np.exp((brightness(pair.second) - brightness(pair.first)) / 20)))


@dataclass
class Opinionated:
    """A reasoner that is sure of its side with the opinion's probability, give or take some noise of the pair's own.

    Attributes:
        opinion: The probability of the first image as shown.
        bias: Added for whatever is shown first.
        noise: Half the width of what the pair's id, order and seed add.
        malformed: Orders in which it writes nonsense.
        batches: The sizes of the batches it was asked.
    """

    opinion: Opinion = prefers_bright
    bias: float = 0.0
    noise: float = 0.0
    malformed: tuple[Order, ...] = ()
    batches: list[int] = field(default_factory=list)

    def judge(
        self, pairs: Sequence[Pair], *, samples: int, seed: int, wanted: Wanted | None = None
    ) -> list[list[JudgedSample]]:
        self.batches.append(len(pairs))
        orders: list[Order] = ["forward"] * samples + ["swapped"] * samples
        return [[self._sample(pair, order, k, seed) for k, order in enumerate(orders)] for pair in pairs]

    def _sample(self, pair: Pair, order: Order, k: int, seed: int) -> JudgedSample:
        if order in self.malformed:
            return JudgedSample(order, "no idea", None, "no think block", None)
        shown = pair if order == "forward" else pair.swapped()
        key = hashlib.sha256(f"{pair.id} {order} {k} {seed}".encode()).digest()
        p = self.opinion(shown) + self.bias + self.noise * (2 * key[0] / 255 - 1)
        p = min(max(p, 0.0), 1.0)
        side = "first" if p > 0.5 else "second"
        trace = f"the {'first' if side == 'first' else 'second'} is brighter ."
        return JudgedSample(
            order=order,
            trace=trace,
            side=side if order == "forward" else other(side),
            malformed=None,
            p_first=p if order == "forward" else 1 - p,
        )


@dataclass
class Hears:
    """A listener that goes by brightness, and keeps what it was read."""

    name: str = "hears"
    traces: list[str | None] = field(default_factory=list)

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> np.ndarray:
        self.traces.extend(traces)
        return np.array([prefers_bright(pair) for pair in pairs])
