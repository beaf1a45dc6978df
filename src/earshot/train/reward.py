"""The one reward function that GRPO is given: it asks the listener, does the arithmetic, and logs the parts.

One function, because TRL adds several with `nansum`: a listener that fails would silently lower exactly the
completions it touched. Here the sum is None when any part of it is missing, and the completion leaves its group.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from earshot.config import GrpoConfig
from earshot.errors import ListenerUnavailable
from earshot.listener import Listener, ask, checked, speaks
from earshot.listener.claims import ClaimListener, Heard, pay_claims
from earshot.listener.controls import NoTraceListener
from earshot.predictions.rollout import PART_NAMES, Rollout
from earshot.predictions.sides import side_of
from earshot.protocol import PromptSet, parse_completion, redact_trace
from earshot.protocol.parse import trace_span
from earshot.protocol.places import Span
from earshot.protocol.redact import redacted
from earshot.rewards import (
    FOR_ANSWER,
    FOR_TRACE,
    RewardParts,
    accuracy_reward,
    combine,
    listener_reward,
    paid_for,
    read_agreement_reward,
    speaker_reward,
)
from earshot.train.callbacks import LOST_STEPS
from earshot.train.credit import Paid, PaidClaim
from earshot.train.leak import LeakAlarm
from earshot.types import Malformed, Pair, RedactionLevel, Verdict


@dataclass(slots=True)
class Scored:
    """A completion, and what listener and checker make of it.

    Attributes:
        pair: What it is about.
        text: Its words.
        parsed: What they say.
        redacted: The trace as the listener reads it; None of a malformed completion, about which nobody is asked.
        p_first: The listener's probability of the first image; None where it was not asked or failed.
        p_prior: The same without a trace, where what the trace adds is paid.
        likelihood: How likely the listener finds the trace's words, where that is paid.
        heard: The trace's claims, and how far they are believed; None where the checker was not asked or failed.
    """

    pair: Pair
    text: str
    parsed: Verdict | Malformed
    redacted: str | None
    p_first: float | None = None
    p_prior: float | None = None
    likelihood: float | None = None
    heard: list[Heard] | None = None


class CombinedReward:
    """Called by TRL with the completions of a step; returns their rewards, None where one is missing."""

    __name__ = "earshot"

    def __init__(
        self,
        config: GrpoConfig,
        listener: Listener | None,
        checker: ClaimListener | None = None,
        *,
        texts: Callable[[Sequence[Sequence[int]]], list[str]],
        prompts: PromptSet,
        on_rollouts: Callable[[list[Rollout]], None],
        alarm: LeakAlarm | None = None,
    ) -> None:
        self._config = config
        self._listener = listener
        self._checker = checker
        self._texts = texts
        self._prompts = prompts
        self._on_rollouts = on_rollouts
        self._alarm = alarm
        self._weights = {name: getattr(config.rewards, name) for name in PART_NAMES}
        self._with_prior = config.listener is not None and config.listener.prior_corrected
        self.redaction: RedactionLevel = "verdict" if config.listener is None else config.listener.redaction
        """What of a trace the listener does not get to read."""
        self.failure: ListenerUnavailable | None = None
        """The latest failure of listener or checker."""
        self.in_a_row = 0
        """How many of the latest steps got no answer at all, of those in which somebody was asked."""
        self.paid: list[Paid] = []
        """What the completions of the latest call were paid, and for what of them."""

    def __call__(
        self,
        *,
        completion_ids: Sequence[Sequence[int]],
        pair: Sequence[Pair],
        files: Sequence[tuple[str, str]],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> list[float | None]:
        # Not the texts that TRL hands over: it leaves out tags that are special tokens, and what templates have opened.
        scored = [self._read(*one) for one in zip(pair, self._texts(completion_ids), strict=True)]
        formed = [one for one in scored if one.redacted is not None]
        heard = [self._each(put, formed) for put in (self._listen, self._check)]
        self.in_a_row = 0 if all(heard) else self.in_a_row + 1
        parts = [self._reward(one) for one in scored]
        self.paid = [self._paid(*one) for one in zip(scored, parts, strict=True)]
        step = trainer_state.global_step
        who = None if self._listener is None else self._listener.name
        rollouts = [_rollout(step, self._weights, who, *one) for one in zip(files, scored, parts, strict=True)]
        self._on_rollouts(rollouts)
        logged = summarise(rollouts)
        if self._alarm is not None:
            logged |= self._alarm.watch(step, pair, [one.redacted for one in scored])
        for name, value in logged.items():
            log_metric(name, value)
        return [rollout.reward for rollout in rollouts]

    def _read(self, pair: Pair, text: str) -> Scored:
        parsed = parse_completion(text, self._prompts)
        redacted = redact_trace(parsed.trace, self.redaction) if isinstance(parsed, Verdict) else None
        return Scored(pair, text, parsed, redacted)

    @property
    def stopped(self) -> bool:
        """Whether nobody is left to pay for traces: the listener is gone, or refused all of three steps."""
        return self.failure is not None and (self.failure.gone or self.in_a_row >= LOST_STEPS)

    def _each(self, put: Callable[[Sequence[Scored]], None], formed: Sequence[Scored]) -> bool:
        """Asks about all together, and after a refusal about each pair by itself: what is refused then is missing.

        Returns:
            Whether there was any answer, if there was anything to ask.
        """
        if not formed:
            return True
        try:
            put(formed)
            return True
        except ListenerUnavailable as error:
            self.failure = error
            if error.gone:
                return False
        answered = False
        for _, group in groupby(formed, key=lambda one: id(one.pair)):
            try:
                put([*group])
                answered = True
            except ListenerUnavailable as error:
                self.failure = error
        return answered

    def _listen(self, formed: Sequence[Scored]) -> None:
        """Asks the listener about well-formed completions, and where the reward needs it, without a trace."""
        if self._listener is None:
            return
        pairs, traces = [one.pair for one in formed], [one.redacted for one in formed]
        if self._weights["speaker"]:
            assert speaks(self._listener)  # as `GrpoConfig` sees to
            p_first, likelihood = self._listener.read(pairs, traces)
            for one, p, said in zip(formed, checked(p_first, n=len(pairs)), likelihood, strict=True):
                one.p_first, one.likelihood = float(p), None if np.isnan(said) else float(said)
        else:
            for one, p in zip(formed, ask(self._listener, pairs, traces), strict=True):
                one.p_first = float(p)
        if self._with_prior:
            for one, p in zip(formed, ask(NoTraceListener(self._listener), pairs, traces), strict=True):
                one.p_prior = float(p)

    def _check(self, formed: Sequence[Scored]) -> None:
        """Asks the checker about the claims of well-formed completions."""
        if self._checker is None:
            return
        # A conclusion is no claim about an image, whatever the listener gets to read.
        traces = [redact_trace(one.parsed.trace, "verdict") for one in formed if isinstance(one.parsed, Verdict)]
        found = self._checker.hear([one.pair for one in formed], traces)
        for one, heard in zip(formed, found, strict=True):
            one.heard = heard

    def _reward(self, one: Scored) -> RewardParts:
        listener, claims = self._config.listener, self._config.claims
        votes = one.pair.votes
        side = one.parsed.side if isinstance(one.parsed, Verdict) else None
        return combine(
            one.parsed,
            accuracy_reward(side, votes),
            listener_reward(
                one.p_first,
                votes,
                soft_labels=listener is not None and listener.soft_labels,
                prior_p_first=one.p_prior,
            ),
            self._weights,
            None if one.heard is None or claims is None else pay_claims(one.heard, claims.at_least),
            self._speaker(one),
            None if self._listener is None else read_agreement_reward(side, one.p_first, votes),
        )

    def _paid(self, one: Scored, earned: RewardParts) -> Paid:
        apart = self._config.rewards.claim_credit
        names = [name for name in FOR_TRACE if not (apart and name == "claims")]
        trace, answer = (paid_for(earned, self._weights, which) for which in (names, FOR_ANSWER))
        claims = self._paid_claims(one) if apart and earned.total is not None else []
        return Paid(trace, answer, claims)

    def _paid_claims(self, one: Scored) -> list[PaidClaim]:
        """What each claim of a completion was paid, and where in its text it stands."""
        if not isinstance(one.parsed, Verdict):
            return []
        start = trace_span(one.text, self._prompts).start
        left, found = redacted(one.parsed.trace, "verdict"), []
        for heard in one.heard or ():
            spans = [Span(start + a, start + b) for a, b in left.spans(heard.claim.span)]
            found.append(PaidClaim(spans, self._weights["claims"] * heard.worth))
        return found

    def _speaker(self, one: Scored) -> float | None:
        if not self._weights["speaker"] or not isinstance(one.parsed, Verdict):
            return None
        claims = {*self._prompts.language.split(redact_trace(one.parsed.trace, "verdict"))}  # twice said is once
        return speaker_reward(one.likelihood, len(claims), at_least=self._config.rewards.speaker_at_least)


def summarise(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """What is logged of a step's rollouts; a quantity without observations is left out."""
    formed = [r for r in rollouts if r.malformed is None]
    heard = [r for r in formed if r.listener_p_first is not None]
    labelled = [r for r in heard if r.votes_first != r.votes_second]
    values = {
        **{f"reward/{n}": [p for r in rollouts if (p := getattr(r, f"reward_{n}")) is not None] for n in PART_NAMES},
        "malformed": [float(r.malformed is not None) for r in rollouts],
        "groups_without_variance": [float(not teaches(group)) for group in groups_of(rollouts)],
        "rewards_missing": [float(r.reward is None) for r in rollouts],
        "verdict_first": [float(r.side == "first") for r in formed],
        "label_first": [float(r.votes_first > r.votes_second) for r in rollouts if r.votes_first != r.votes_second],
        "trace_words": [float(len((r.trace or "").split())) for r in formed],
        "listener/p_label": [_p_label(r) for r in labelled],
        "listener/disagreement": [float(side_of(r.listener_p_first) != r.side) for r in heard],
        "listener/likelihood": [r.listener_likelihood for r in formed if r.listener_likelihood is not None],
        "claims/number": [float(r.claims) for r in formed if r.claims is not None],
        "claims/believed": [r.claims_believed for r in formed if r.claims_believed is not None],
    }
    if all(r.claims is None for r in rollouts):
        values["reward/claims"] = []  # likewise: nobody was asked about a claim
    if all(r.listener_likelihood is None for r in rollouts):
        values["reward/speaker"] = []
    if not heard and all(r.reward_listener == 0.0 or r.reward_listener is None for r in rollouts):
        # Nobody was asked: the zeros of malformed completions are no measurement.
        values["reward/listener"] = values["reward/read_agreement"] = []
    return {name: math.fsum(column) / len(column) for name, column in values.items() if column}


def groups_of(rollouts: Sequence[Rollout]) -> list[list[Rollout]]:
    """The completions of each pair, which stand together."""
    return [[*group] for _, group in groupby(rollouts, key=lambda one: one.pair_id)]


def teaches(group: Sequence[Rollout]) -> bool:
    """Whether a group's rewards differ, those that are missing aside: GRPO learns from nothing else."""
    return len({one.reward for one in group if one.reward is not None}) > 1


def _p_label(rollout: Rollout) -> float:
    assert rollout.listener_p_first is not None
    first = rollout.votes_first > rollout.votes_second
    return rollout.listener_p_first if first else 1.0 - rollout.listener_p_first


def _rollout(
    step: int, weights: Mapping[str, float], who: str | None, files: tuple[str, str], one: Scored, parts: RewardParts
) -> Rollout:
    formed = one.parsed if isinstance(one.parsed, Verdict) else None
    heard = one.heard
    return Rollout(
        step=step,
        pair_id=one.pair.id,
        prompt=one.pair.prompt,
        first_file=files[0],
        second_file=files[1],
        votes_first=one.pair.votes.first,
        votes_second=one.pair.votes.second,
        completion=one.text,
        trace=formed.trace if formed else None,
        trace_redacted=one.redacted,
        side=formed.side if formed else None,
        malformed=one.parsed.reason if isinstance(one.parsed, Malformed) else None,
        reward=parts.total,
        reward_format=parts.format,
        reward_accuracy=parts.accuracy,
        reward_listener=parts.listener,
        listener=who,
        listener_p_first=one.p_first,
        listener_p_first_no_trace=one.p_prior,
        reward_claims=parts.claims,
        claims=None if heard is None else len(heard),
        claims_believed=math.fsum(claim.believed for claim in heard) / len(heard) if heard else None,
        reward_speaker=parts.speaker,
        reward_read_agreement=parts.read_agreement,
        listener_likelihood=one.likelihood,
        claims_heard=None if heard is None else _claims_as_json(heard),
        **{f"weight_{name}": weight for name, weight in weights.items()},
    )


def _claims_as_json(heard: Sequence[Heard]) -> str:
    rows = [[one.claim.image, one.claim.text, one.claim.denied, round(one.believed, 4)] for one in heard]
    return json.dumps(rows, ensure_ascii=False)
