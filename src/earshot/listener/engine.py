"""A listener whose model is in an engine that is asked in text: behind the OpenAI-compatible chat API, or vLLM here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from earshot.errors import ListenerUnavailable, RemoteError
from earshot.listener import checked, runs_of_pairs
from earshot.protocol import PromptSet
from earshot.types import Pair

T = TypeVar("T")

PAIRS_AT_ONCE: Final = 64
"""Whose images are held encoded."""
LEAST_MASS: Final = 0.1
"""A model that continues the turn it was given puts nearly all of its probability on the two answers."""


@runtime_checkable
class TextEngine(Protocol):
    """A model that is asked about pairs and gives texts and log-probabilities, and no tensors.

    Attributes:
        prompts: How it is asked about a pair.
    """

    prompts: PromptSet

    @property
    def name(self) -> str:
        """What the engine calls the model."""
        ...

    @property
    def where(self) -> str:
        """Who is asked, for messages."""
        ...

    def record(self) -> dict[str, Any]:
        """What its numbers depend on, as far as it can be told."""
        ...

    def complete(
        self, pairs: Sequence[Pair], seeds: Sequence[int], *, n: int, temperature: float, max_new_tokens: int
    ) -> list[list[str]]:
        """`n` completions about each pair as it is shown.

        Raises:
            RemoteError: The engine gave none.
            ImageError: An image is refused.
            PromptTooLong: Prompts do not fit into the model's context.
        """
        ...

    def log_probabilities(
        self, pairs: Sequence[Pair], owners: Sequence[int], traces: Sequence[str | None]
    ) -> Float[np.ndarray, " n 2"]:
        """How probable either answer is after each trace, in nats.

        Args:
            pairs: Distinct pairs, as they are shown.
            owners: Which of them each trace is about.
            traces: What to read, already redacted; None for no trace.

        Raises:
            RemoteError: The engine gives no log-probabilities of the answers.
            ImageError: An image is refused.
        """
        ...


@dataclass
class EngineListener:
    """p(first) from the log-probabilities of the two answers, as `listener.local` takes it from the logits.

    Attributes:
        model: Who is asked.
        called: What logs call it; None takes the model's own name.
    """

    model: TextEngine
    called: str | None = None
    _continues: bool = field(default=False, init=False, repr=False)

    @property
    def name(self) -> str:
        return self.called or heard(lambda: self.model.name)

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`.

        Raises:
            ListenerUnavailable: The engine gave no answer, or its log-probabilities are not those of the answers.
            ImageError: An image is refused, here and not by a server.
        """
        runs = [*runs_of_pairs(pairs)]
        p = np.empty(len(pairs))
        for start in range(0, len(runs), PAIRS_AT_ONCE):
            batch = runs[start : start + PAIRS_AT_ONCE]
            rows = [row for run in batch for row in run]
            owners = [index for index, run in enumerate(batch) for _ in run]
            asked, told = [pairs[run[0]] for run in batch], [traces[row] for row in rows]
            p[rows] = heard(partial(self._read, asked, owners, told))
        return checked(p, name=self.name)

    def _read(self, pairs: Sequence[Pair], owners: Sequence[int], traces: Sequence[str | None]) -> np.ndarray:
        logps = self.model.log_probabilities(pairs, owners, traces)
        self._check_continues(logps)
        return np.asarray(expit(logps[:, 0] - logps[:, 1]))

    def _check_continues(self, logps: Float[np.ndarray, " n 2"]) -> None:
        """Of the first answers: whether the engine continues a turn that was begun for it, or would be misread.

        Raises:
            RemoteError: After none of the traces is an answer likely.
        """
        if self._continues or not logps.size:
            return
        mass = float(np.exp(logps).sum(1).max())
        if mass < LEAST_MASS:
            raise RemoteError(
                f"{self.model.where}: at most {mass:.1%} of the probability is on the two answers, expected "
                "most of it; the server does not continue the turn (continue_final_message), or the model cannot answer"
            )
        self._continues = True


def heard(ask: Callable[[], T]) -> T:
    """The same, with what went wrong told as a listener's failure."""
    try:
        return ask()
    except RemoteError as error:
        raise ListenerUnavailable(f"listener: {error}", gone=error.gone) from error
