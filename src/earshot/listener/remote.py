"""A listener on another machine, behind `earshot serve`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from earshot.errors import RemoteError
from earshot.images import DEFAULT_LIMITS, ImageLimits, read_file
from earshot.listener import checked, runs_of_pairs
from earshot.listener.engine import heard
from earshot.remote import Endpoint, png
from earshot.types import ImageSource, Pair

TRACES_AT_ONCE: Final = 64
"""Of one pair in one request to `earshot serve`, which takes up to 256."""


@dataclass
class ServedListener:
    """The listener of an `earshot serve` in another process or on another machine.

    Attributes:
        endpoint: The server.
        name: What logs call it.
    """

    endpoint: Endpoint
    name: str = "served"
    limits: ImageLimits = DEFAULT_LIMITS

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`.

        Raises:
            ListenerUnavailable: The server gave no answer, or not a probability for each trace.
            ImageError: An image cannot be read here.
        """
        asked = [
            rows[start : start + TRACES_AT_ONCE]
            for rows in runs_of_pairs(pairs)
            for start in range(0, len(rows), TRACES_AT_ONCE)
        ]
        answers = heard(
            lambda: self.endpoint.map(lambda rows: self._ask(pairs[rows[0]], [traces[row] for row in rows]), asked)
        )
        p = np.empty(len(pairs))
        for rows, found in zip(asked, answers, strict=True):
            p[rows] = found
        return checked(p, name=self.name)

    def _ask(self, pair: Pair, traces: Sequence[str | None]) -> list[float]:
        images = {"first": self._sent(pair.first), "second": self._sent(pair.second)}
        if pair.original is not None:
            images["original"] = self._sent(pair.original)
        told = self.endpoint.post("/v1/listen", {"prompt": pair.prompt, **images, "traces": [*traces]})
        found = told.get("p_first") if isinstance(told, dict) else None
        if not isinstance(found, list) or len(found) != len(traces):
            raise RemoteError(f"{self.endpoint.url}: no probability for each of {len(traces)} traces")
        if not all(isinstance(value, float | int) and not isinstance(value, bool) for value in found):
            raise RemoteError(f"{self.endpoint.url}: its probabilities are no numbers")
        return found

    def _sent(self, source: ImageSource) -> str:
        """Files as they are, for they are small and the server decodes them as we do; the rest without loss."""
        if isinstance(source, Path):
            source = read_file(source, limits=self.limits)
        data = source if isinstance(source, bytes) else png(source, self.limits)
        return base64.b64encode(data).decode()
