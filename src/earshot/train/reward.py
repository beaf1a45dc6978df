"""The one reward function that GRPO is given: it asks the listener, does the arithmetic, and logs the parts.

One function, because TRL adds several with `nansum`: a listener that fails would silently lower exactly the
completions it touched. Here the sum is None when any part of it is missing, and the completion leaves its group.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from earshot.errors import ListenerUnavailable
from earshot.listener import Begin, Listener, ahead, ask
from earshot.listener.claims import ClaimListener, Heard
from earshot.protocol import RedactionLevel, parse_completion, redact_trace
from earshot.rewards import (
    RewardParts,
    RewardWeights,
    accuracy_reward,
    claims_reward,
    combine,
    listener_reward,
    paid_for_trace,
)
from earshot.train.leak import LeakAlarm
from earshot.types import Malformed, Pair, Verdict


@dataclass(frozen=True, slots=True)
class ListenerOptions:
    """How the listener's probability becomes a reward.

    Attributes:
        redaction: What the listener does not get to read.
        prior_corrected: Pay only what the trace adds to the listener's confidence without it.
        soft_labels: Pay by the share of votes, not by the majority.
    """

    redaction: RedactionLevel = "answer"
    prior_corrected: bool = False
    soft_labels: bool = False

    def heard(self, parsed: Verdict | Malformed) -> str | None:
        """What the listener reads of a completion; None of a malformed one, about which it is not asked."""
        return redact_trace(parsed.trace, self.redaction) if isinstance(parsed, Verdict) else None


@dataclass(frozen=True, slots=True)
class ClaimsPart:
    """Who checks the claims of a trace, and what they earn (`rewards.claims_reward`).

    Attributes:
        listener: Who is asked; with a prior where `prior_corrected`.
        penalty: What a claim that is not believed costs.
        at_least: The number of claims for full pay.
    """

    listener: ClaimListener
    penalty: float = 0.0
    at_least: int = 1

    def pay(self, heard: Sequence[Heard] | None) -> float | None:
        """What the claims of a trace earn; None where the checker failed or was not asked."""
        if heard is None:
            return None
        priors = [one.prior for one in heard if one.prior is not None] if self.listener.with_prior else None
        believed = [one.believed for one in heard]
        return claims_reward(believed, priors=priors, penalty=self.penalty, at_least=self.at_least)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion and what became of it; a row of `rollouts/*.parquet`."""

    step: int
    pair_id: str
    prompt: str
    first_file: str
    second_file: str
    votes_first: float
    votes_second: float
    completion: str
    trace: str | None
    trace_redacted: str | None
    side: str | None
    malformed: str | None
    reward: float | None
    reward_format: float
    reward_accuracy: float | None
    reward_listener: float | None
    listener_p_first: float | None
    listener_p_first_no_trace: float | None
    reward_claims: float | None = None
    claims: int | None = None
    """How many distinct claims the trace makes; None where nobody was asked about them."""
    claims_believed: float | None = None
    """Mean probability that they are true; None without a claim."""
    claims_heard: str | None = None
    """JSON: `[image, text, denied, believed]` of each claim."""


class CombinedReward:
    """Called by TRL with the completions of a step; returns their rewards, None where one is missing."""

    __name__ = "earshot"

    def __init__(
        self,
        weights: RewardWeights,
        listener: Listener | None,
        options: ListenerOptions,
        *,
        soft_accuracy: bool,
        on_rollouts: Callable[[list[Rollout]], None],
        claims: ClaimsPart | None = None,
        alarm: LeakAlarm | None = None,
    ) -> None:
        self._weights = weights
        self._listener = listener
        self._options = options
        self._soft_accuracy = soft_accuracy
        self._on_rollouts = on_rollouts
        self._claims = claims
        self._alarm = alarm
        self.outages = 0
        """How many calls to the listener or the checker failed."""
        self.not_for_trace: list[float] = []
        """Of each reward of the latest call, what was not paid for the trace alone; NaN where it is missing."""

    def __call__(
        self,
        *,
        completions: Sequence[Any],
        pair: Sequence[Pair],
        files: Sequence[tuple[str, str]],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        texts = [c if isinstance(c, str) else c[0]["content"] for c in completions]
        parsed = [parse_completion(_plain_text(text)) for text in texts]
        redacted = [self._options.heard(verdict) for verdict in parsed]
        p_first, p_prior = self._listen(pair, redacted)
        heard = self._check(pair, parsed)
        rollouts = []
        self.not_for_trace = []
        for row, verdict in enumerate(parsed):
            parts = self._reward(verdict, pair[row], p_first[row], p_prior[row], heard[row])
            total = math.nan if parts.total is None else parts.total
            self.not_for_trace.append(total - paid_for_trace(parts, self._weights))
            rollouts.append(
                _rollout(trainer_state.global_step, pair[row], files[row], _plain_text(texts[row]), verdict,
                         redacted[row], parts, p_first[row], p_prior[row], heard[row])
            )  # fmt: skip
        self._on_rollouts(rollouts)
        logged = summarise(rollouts)
        if self._alarm is not None:
            logged |= self._alarm.watch(trainer_state.global_step, pair, redacted)
        for name, value in logged.items():
            log_metric(name, value)
        return [rollout.reward for rollout in rollouts]

    @contextmanager
    def ahead(self, pairs: Sequence[Pair]) -> Iterator[Callable[[int, str], None] | None]:
        """What to tell the row and the text of each completion as it ends, for the listener to be asked already.

        While this lasts, the call about all of them takes what was asked; its rewards are the same. None where nothing
        is gained by it: the listener runs here, or needs all traces at once.

        Args:
            pairs: One for each completion, as the call will get them.
        """
        with nullcontext() if self._listener is None else ahead(self._listener) as begin:
            yield None if begin is None else _AsTheyEnd(pairs, begin, self._options)

    def _listen(
        self, pairs: Sequence[Pair], traces: Sequence[str | None]
    ) -> tuple[list[float | None], list[float | None]]:
        """p(first) with and without the trace, None where it was not asked or the listener failed."""
        p_first: list[float | None] = [None] * len(pairs)
        p_prior: list[float | None] = [None] * len(pairs)
        asked = [row for row, trace in enumerate(traces) if trace is not None]
        if self._listener is None or not asked:
            return p_first, p_prior
        try:
            given = ask(self._listener, [pairs[row] for row in asked], [traces[row] for row in asked])
            prior = self._ask_without_trace([pairs[row] for row in asked])
        except ListenerUnavailable:
            self.outages += 1
            return p_first, p_prior
        for position, row in enumerate(asked):
            p_first[row] = float(given[position])
            p_prior[row] = None if prior is None else float(prior[position])
        return p_first, p_prior

    def _check(self, pairs: Sequence[Pair], parsed: Sequence[Verdict | Malformed]) -> list[list[Heard] | None]:
        """The claims of every trace and how far they are believed; None where not asked or the checker failed."""
        heard: list[list[Heard] | None] = [None] * len(pairs)
        formed = [(row, verdict) for row, verdict in enumerate(parsed) if isinstance(verdict, Verdict)]
        if self._claims is None or not formed:
            return heard
        # A conclusion is no claim about an image, whatever the listener gets to read.
        traces = [redact_trace(verdict.trace, "verdict") for _, verdict in formed]
        try:
            found = self._claims.listener.hear([pairs[row] for row, _ in formed], traces)
        except ListenerUnavailable:
            self.outages += 1
            return heard
        for (row, _), claims in zip(formed, found, strict=True):
            heard[row] = claims
        return heard

    def _ask_without_trace(self, pairs: Sequence[Pair]) -> np.ndarray | None:
        """The listener's prior, asked once for each distinct pair; None where the reward does not need it."""
        if not self._options.prior_corrected or self._listener is None:
            return None
        distinct = list({id(pair): pair for pair in pairs}.values())
        prior = ask(self._listener, distinct, [None] * len(distinct))
        by_pair = {id(pair): p for pair, p in zip(distinct, prior.tolist(), strict=True)}
        return np.array([by_pair[id(pair)] for pair in pairs])

    def _reward(
        self,
        verdict: Verdict | Malformed,
        pair: Pair,
        p_first: float | None,
        p_prior: float | None,
        heard: list[Heard] | None,
    ) -> RewardParts:
        side = verdict.side if isinstance(verdict, Verdict) else None
        accuracy = accuracy_reward(side, pair.votes, soft=self._soft_accuracy)
        listener = listener_reward(p_first, pair.votes, soft_labels=self._options.soft_labels, prior_p_first=p_prior)
        claims = self._claims.pay(heard) if self._claims is not None else None
        return combine(verdict, accuracy, listener, self._weights, claims)


class _AsTheyEnd:
    """Asks a listener about completions, in the order in which they end, what `CombinedReward` will ask about all."""

    def __init__(self, pairs: Sequence[Pair], begin: Begin, options: ListenerOptions) -> None:
        self._pairs = pairs
        self._begin = begin
        self._options = options
        self._heard: dict[int, str | None] = {}
        self._rows: dict[int, list[int]] = {}
        for row, pair in enumerate(pairs):
            self._rows.setdefault(id(pair), []).append(row)

    def __call__(self, row: int, text: str) -> None:
        pair, trace = self._pairs[row], self._options.heard(parse_completion(text))
        self._heard[row] = trace
        if trace is not None:
            self._begin(pair, [trace], whole=False)
        rows = self._rows[id(pair)]
        if any(row not in self._heard for row in rows):
            return
        traces = [trace for row in rows if (trace := self._heard[row]) is not None]
        with_prior = bool(traces) and self._options.prior_corrected
        if with_prior:
            self._begin(pair, [None], whole=False)
        self._begin(pair, traces, whole=True)
        if with_prior:
            self._begin(pair, [None], whole=True)


def summarise(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What is logged of a step's rollouts; a quantity without observations is left out."""
    formed = [r for r in rollouts if r.malformed is None]
    heard = [r for r in formed if r.listener_p_first is not None]
    labelled = [r for r in heard if r.votes_first != r.votes_second]
    values = {
        "reward/format": [r.reward_format for r in rollouts],
        "reward/accuracy": [r.reward_accuracy for r in rollouts if r.reward_accuracy is not None],
        "reward/listener": [r.reward_listener for r in rollouts if r.reward_listener is not None],
        "reward/claims": [r.reward_claims for r in rollouts if r.reward_claims is not None],
        "malformed": [float(r.malformed is not None) for r in rollouts],
        "rewards_missing": [float(r.reward is None) for r in rollouts],
        "verdict_first": [float(r.side == "first") for r in formed],
        "label_first": [float(r.votes_first > r.votes_second) for r in rollouts if r.votes_first != r.votes_second],
        "trace_words": [float(len((r.trace or "").split())) for r in formed],
        "listener/p_label": [_p_label(r) for r in labelled],
        "listener/disagreement": [float(_disagrees(r)) for r in heard],
        "claims/number": [float(r.claims) for r in formed if r.claims is not None],
        "claims/believed": [r.claims_believed for r in formed if r.claims_believed is not None],
    }
    if all(r.claims is None for r in rollouts):
        values["reward/claims"] = []  # likewise: nobody was asked about a claim
    if not heard and all(r.reward_listener == 0.0 or r.reward_listener is None for r in rollouts):
        values["reward/listener"] = []  # nobody was asked: the zeros of malformed completions are no measurement
    return {name: math.fsum(column) / len(column) for name, column in values.items() if column}


def _p_label(rollout: Rollout) -> float:
    assert rollout.listener_p_first is not None
    first = rollout.votes_first > rollout.votes_second
    return rollout.listener_p_first if first else 1.0 - rollout.listener_p_first


def _disagrees(rollout: Rollout) -> bool:
    """Whether the verdict is not the listener's side; a listener that cannot tell agrees with neither."""
    p = rollout.listener_p_first
    assert p is not None
    return p == 0.5 or (p > 0.5) != (rollout.side == "first")


def _rollout(
    step: int,
    pair: Pair,
    files: tuple[str, str],
    text: str,
    verdict: Verdict | Malformed,
    redacted: str | None,
    parts: RewardParts,
    p_first: float | None,
    p_prior: float | None,
    heard: list[Heard] | None,
) -> Rollout:
    formed = verdict if isinstance(verdict, Verdict) else None
    return Rollout(
        step=step,
        pair_id=pair.id,
        prompt=pair.prompt,
        first_file=files[0],
        second_file=files[1],
        votes_first=pair.votes.first,
        votes_second=pair.votes.second,
        completion=text,
        trace=formed.trace if formed else None,
        trace_redacted=redacted,
        side=formed.side if formed else None,
        malformed=verdict.reason if isinstance(verdict, Malformed) else None,
        reward=parts.total,
        reward_format=parts.format,
        reward_accuracy=parts.accuracy,
        reward_listener=parts.listener,
        listener_p_first=p_first,
        listener_p_first_no_trace=p_prior,
        reward_claims=parts.claims,
        claims=None if heard is None else len(heard),
        claims_believed=math.fsum(one.believed for one in heard) / len(heard) if heard else None,
        claims_heard=None if heard is None else _claims_as_json(heard),
    )


def _claims_as_json(heard: Sequence[Heard]) -> str:
    rows = [[*one.claim, round(one.believed, 4)] for one in heard]
    return json.dumps(rows, ensure_ascii=False)


def _plain_text(content: Any) -> str:
    """A completion's text: a string, or the text parts of structured content."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
