"""The policy that is being trained as its own listener, with the weights of the moment (`listener.paths: self`).

With it r_list is VeriFree's reward, the policy's own p(y | trace) [Zhou et al. 2025, arXiv 2505.21493]: what a frozen
other model adds is measured against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from earshot.listener import Reading
from earshot.listener.local import LocalListener
from earshot.types import Pair

NAME: Final = "self (weights not frozen)"


@dataclass(frozen=True)
class PolicyListener:
    """A model in training, asked as a copy would be that is loaded from its weights: without gradients, dropout and
    the mixed precision that it is trained in.

    Attributes:
        base: Reads with the model itself; trainers train, wrap and adapt that in place.
    """

    base: LocalListener

    @property
    def name(self) -> str:
        return NAME

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`."""
        with _as_loaded(self.base.vlm.model):
            return self.base.p_first(pairs, traces)

    def read(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Reading:
        """See `Speaker.read`."""
        with _as_loaded(self.base.vlm.model):
            return self.base.read(pairs, traces)


@contextmanager
def _as_loaded(model: Any) -> Iterator[None]:
    """Without what accelerate puts in the place of a model's `forward`: its autocast, whose numbers are others."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped
