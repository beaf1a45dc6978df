"""A listener that reads a trace only where the trace says something of the images.

A listener of which only the answer is asked moves with whatever stands before it: an opener, whitespace, a word it does
not know (docs/attacks.md). None of it is a reason. What claims nothing of either image is heard as no trace at all, and
so earns exactly what no trace does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from jaxtyping import Float

from earshot.errors import InputError
from earshot.listener import Listener, Reading, speaks
from earshot.listener.claims import SplitClaims
from earshot.protocol import redact_trace, split_claims
from earshot.types import WITHOUT_VERDICT, Pair, RedactionLevel


@dataclass(frozen=True)
class EvidenceListener:
    """Another listener, asked without the trace where the trace claims nothing.

    Attributes:
        base: Who listens.
        split: How a trace is cut into claims. Conclusions and what is addressed to the reader are no claims: they are
            taken out before, whatever the base gets to read of a trace that claims something. None does not ask for
            claims.
        redaction: What the base does not get to read of a trace.
    """

    base: Listener
    split: SplitClaims | None = split_claims
    redaction: RedactionLevel = "none"

    @property
    def name(self) -> str:
        return self.base.name

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`."""
        return self.base.p_first(pairs, self._heard(traces))

    def read(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Reading:
        """See `Speaker.read`.

        Raises:
            InputError: The base is no speaker.
        """
        if not speaks(self.base):
            raise InputError(f"listener '{self.name}': {type(self.base).__name__} says no likelihood of what it reads")
        return self.base.read(pairs, self._heard(traces))

    def _heard(self, traces: Sequence[str | None]) -> list[str | None]:
        return [redact_trace(trace, self.redaction) if self._claims(trace) else None for trace in traces]

    def _claims(self, trace: str | None) -> TypeGuard[str]:
        return trace is not None and (self.split is None or bool(self.split(redact_trace(trace, self._claimed))))

    @property
    def _claimed(self) -> RedactionLevel:
        return self.redaction if self.redaction in WITHOUT_VERDICT else "verdict"
