"""The policy that is being trained as its own listener, with the weights of the moment (`listener.paths: self`).

With it r_list is VeriFree's reward, the policy's own p(y | trace) [Zhou et al. 2025, arXiv 2505.21493]: what a frozen
other model adds is measured against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from earshot.listener import Reading
from earshot.listener.local import LocalListener
from earshot.types import Pair
from earshot.vlm.alone import as_loaded

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
        with as_loaded(self.base.vlm.model):
            return self.base.p_first(pairs, traces)

    def read(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Reading:
        """See `Speaker.read`."""
        with as_loaded(self.base.vlm.model):
            return self.base.read(pairs, traces)
