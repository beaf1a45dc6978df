"""Listeners on other machines: behind the OpenAI-compatible chat API, and behind `earshot serve`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from jaxtyping import Float

from earshot.errors import ListenerUnavailable, RemoteError
from earshot.images import DEFAULT_LIMITS, ImageLimits, read_file
from earshot.listener import checked, runs_of_pairs
from earshot.protocol import listener_prefill
from earshot.remote import CONTROL_TOKENS, LEAST_MASS, Answer, ChatModel, Endpoint, png
from earshot.types import ImageSource, Pair

T = TypeVar("T")

PAIRS_AT_ONCE: Final = 64
"""Whose images are held encoded."""
TRACES_AT_ONCE: Final = 64
"""Of one pair in one request to `earshot serve`, which takes up to 256."""


@dataclass
class ChatListener:
    """p(first) from the log-probabilities of the two answers, as `listener.local` takes it from the logits.

    Every trace is a request of its own; a server that keeps the prefixes it has seen, as vLLM does, computes the
    images and the prompt of a pair once.

    Attributes:
        model: Who is asked.
    """

    model: ChatModel
    _continues: bool = field(default=False, init=False, repr=False)

    @property
    def name(self) -> str:
        return _heard(lambda: self.model.name)

    def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> Float[np.ndarray, " n"]:
        """See `Listener.p_first`.

        Raises:
            ListenerUnavailable: The server gave no answer, or its log-probabilities are not those of the answers.
            ImageError: An image is refused, here and not by the server.
        """
        runs = [*runs_of_pairs(pairs)]
        batches = [runs[start : start + PAIRS_AT_ONCE] for start in range(0, len(runs), PAIRS_AT_ONCE)]
        p = _heard(lambda: [p for batch in batches for p in self._read(pairs, traces, batch)])
        return checked(np.array(p), name=self.name)

    def _read(self, pairs: Sequence[Pair], traces: Sequence[str | None], runs: Sequence[list[int]]) -> list[float]:
        """The answers about these runs of rows, which follow one another."""
        model = self.model
        prefills = [
            listener_prefill(traces[row], model.prompts, control_tokens=CONTROL_TOKENS) for rows in runs for row in rows
        ]
        messages = model.endpoint.map(lambda rows: model.messages(pairs[rows[0]]), runs)
        about = [message for rows, message in zip(runs, messages, strict=True) for _ in rows]
        answers = model.endpoint.map(lambda one: model.answer(*one), zip(about, prefills, strict=True))
        self._check_continues(answers)
        return [answer.p_first for answer in answers]

    def _check_continues(self, answers: Sequence[Answer]) -> None:
        """Of the first answers: whether the server continues a turn that was begun for it, or would be misread.

        Raises:
            RemoteError: After none of the traces is an answer likely.
        """
        if self._continues or not answers:
            return
        mass = max(answer.mass for answer in answers)
        if mass < LEAST_MASS:
            raise RemoteError(
                f"{self.model.endpoint.url}: at most {mass:.1%} of the probability is on the two answers, expected "
                "most of it; the server does not continue the turn (continue_final_message), or the model cannot answer"
            )
        self._continues = True


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
        answers = _heard(
            lambda: self.endpoint.map(lambda rows: self._ask(pairs[rows[0]], [traces[row] for row in rows]), asked)
        )
        p = np.empty(len(pairs))
        for rows, found in zip(asked, answers, strict=True):
            p[rows] = found
        return checked(p, name=self.name)

    def _ask(self, pair: Pair, traces: Sequence[str | None]) -> list[float]:
        images = {"first": self._sent(pair.first), "second": self._sent(pair.second)}
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


def _heard(ask: Callable[[], T]) -> T:
    """The same, with what went wrong told as a listener's failure."""
    try:
        return ask()
    except RemoteError as error:
        raise ListenerUnavailable(f"listener: {error}", gone=error.gone) from error
