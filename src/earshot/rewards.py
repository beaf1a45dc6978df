"""What a completion earns: arithmetic on verdicts, votes and probabilities. No model is called here.

    r = w_format * r_format + w_accuracy * r_accuracy + w_listener * r_listener + w_claims * r_claims
        + w_speaker * r_speaker + w_read_agreement * r_read_agreement

A part that cannot be known (no label on a tie, a listener that failed) is None, and so is every sum that needs it:
never 0, never a guess.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float

from earshot.errors import DataError, ListenerUnavailable
from earshot.types import Malformed, Side, Verdict, Votes

ADVANTAGE_EPSILON: Final = 1e-4
"""Added to a group's standard deviation, as TRL 1.16 does."""


class RewardParts(NamedTuple):
    """The sum and its parts, unweighted; None where a part is missing or was not asked for."""

    total: float | None
    format: float
    accuracy: float | None
    listener: float | None
    claims: float | None = None
    speaker: float | None = None
    read_agreement: float | None = None


MALFORMED_REWARD: Final = RewardParts(*(0.0,) * len(RewardParts._fields))
"""What a malformed completion earns, by rule, in every part: it has no trace to show a listener, so none is asked."""


def accuracy_reward(side: Side | None, votes: Votes) -> float | None:
    """Whether the verdict names the side that people prefer.

    Args:
        side: The verdict's side; None where the completion is malformed, which earns 0.
        votes: What people said of the pair.

    Returns:
        1 or 0, or None where there is no label: a tie, or no votes at all.
    """
    if side is None:
        return 0.0
    return None if votes.majority is None else float(side == votes.majority)


def listener_reward(
    p_first: float | None, votes: Votes, *, soft_labels: bool = False, prior_p_first: float | None = None
) -> float | None:
    """The listener's confidence in the label, given the trace.

    Args:
        p_first: The listener's probability of the first image given the redacted trace; None or NaN where it failed.
        votes: What people said of the pair.
        soft_labels: Weigh both sides by their share of the votes, s * p + (1 - s) * (1 - p), instead of the majority.
        prior_p_first: The same probability without a trace. If given, what it would have earned is subtracted, so
            that an empty trace earns nothing; NaN where the listener failed on it.

    Returns:
        A value in [0, 1], in [-1, 1] with a prior, or None where the listener failed or there is no label.

    Raises:
        ListenerUnavailable: A probability lies outside [0, 1].
    """
    label: float | None
    if soft_labels:
        label = votes.share_first if votes.total > 0 else None
    else:
        label = None if votes.majority is None else float(votes.majority == "first")
    p = _probability(p_first)
    if label is None or p is None:
        return None
    if prior_p_first is None:
        return label * p + (1.0 - label) * (1.0 - p)
    prior = _probability(prior_p_first)
    # label * (p - prior) + (1 - label) * (prior - p): written so that p == prior gives 0 exactly.
    return None if prior is None else (2.0 * label - 1.0) * (p - prior)


def claims_reward(
    believed: Sequence[float], *, priors: Sequence[float] | None = None, at_least: int = 1
) -> float | None:
    """How much of what a trace claims is believed: the mean of p over its claims.

    Args:
        believed: For each distinct claim, the probability that it is true of its image.
        priors: The same of a grey image. If given, what it would have earned is subtracted, claim by claim, so that a
            claim which is believed of any image earns nothing.
        at_least: The mean is over so many claims where there are fewer; the missing ones earn 0.

    Returns:
        A value in [0, 1], with priors in [−1, 1]; 0 without a claim; None where a probability is not finite.

    Raises:
        ListenerUnavailable: A probability lies outside [0, 1].
        DataError: There are not as many priors as claims.
    """
    if priors is not None and len(priors) != len(believed):
        raise DataError(f"claims_reward: {len(priors)} priors for {len(believed)} claims, expected as many")
    if any(_probability(p) is None for p in (*believed, *(priors or ()))):
        return None
    return (math.fsum(believed) - math.fsum(priors or ())) / max(len(believed), at_least)


def speaker_reward(likelihood: float | None, n_claims: int, *, at_least: int = 1) -> float | None:
    """How likely the listener itself finds the words of a trace, given the images that it is about.

    Args:
        likelihood: The geometric mean of the probabilities of the trace's tokens, as the listener reads them; None or
            NaN where it failed.
        n_claims: How many claims the trace makes of the images.
        at_least: A trace that makes fewer is paid in proportion, so that one safe claim does not earn what many do.

    Returns:
        A value in [0, 1], 0 without a claim; None where the listener failed.

    Raises:
        ListenerUnavailable: It lies outside [0, 1].
    """
    if n_claims == 0:
        return 0.0
    p = _probability(likelihood)
    return None if p is None else p * min(1.0, n_claims / at_least)


def read_agreement_reward(side: Side | None, p_first: float | None, votes: Votes) -> float | None:
    """Whether a verdict is right and a listener that reads its trace comes to the same side.

    Args:
        side: The verdict's side; None where the completion is malformed, which earns 0.
        p_first: The listener's probability of the first image given the redacted trace; None or NaN where it failed.
        votes: What people said of the pair.

    Returns:
        1 where verdict and listener are both on the label's side, else 0: a listener at exactly one half is on no side.
        None where there is no label, or the listener failed, of a wrong verdict too: were that 0, as it is sure to be,
        an outage would leave a group's wrong completions in its baseline and take the right ones out.

    Raises:
        ListenerUnavailable: The probability lies outside [0, 1].
    """
    if side is None:
        return 0.0
    p = _probability(p_first)
    if votes.majority is None or p is None:
        return None
    return float(side == votes.majority and (p > 0.5 if side == "first" else p < 0.5))


def combine(
    parsed: Verdict | Malformed,
    accuracy: float | None,
    listener: float | None,
    weights: Mapping[str, float],
    claims: float | None = None,
    speaker: float | None = None,
    read_agreement: float | None = None,
) -> RewardParts:
    """The weighted sum of the parts of one completion.

    A part of weight 0 is not needed: it is carried along for the logs, and the sum stands without it. Where a needed
    part is missing the sum is None, and the completion leaves its group's baseline. A malformed completion earns
    `MALFORMED_REWARD`, whatever else is given.

    Args:
        parsed: The completion.
        accuracy: From `accuracy_reward`.
        listener: From `listener_reward`; None where it failed or was not asked.
        weights: What each part counts for, a number of at least 0 by its name.
        claims: From `claims_reward`; None where the checker failed or was not asked.
        speaker: From `speaker_reward`; likewise of the listener.
        read_agreement: From `read_agreement_reward`; likewise.
    """
    if isinstance(parsed, Malformed):
        return MALFORMED_REWARD
    parts = RewardParts(None, 1.0, accuracy, listener, claims, speaker, read_agreement)
    total = 0.0
    for name, part in list(parts._asdict().items())[1:]:
        weight = weights.get(name, 0.0)
        if weight == 0:
            continue
        if part is None or not math.isfinite(part):
            return parts
        total += weight * part
    return parts._replace(total=total)


def group_advantages(rewards: Float[np.ndarray, "groups g"]) -> Float[np.ndarray, "groups g"]:
    """How much better than its group each completion did, in the group's standard deviations.

    For reports, tests and reward-to-go; for the rest the trainer computes its own, to the same numbers.

    Args:
        rewards: One row for each pair, one column for each completion; NaN is a missing reward, and takes no part in
            the mean and the standard deviation of its group.

    Returns:
        (r - mean) / (std + `ADVANTAGE_EPSILON`), with the standard deviation of a sample (n - 1). A missing reward,
        and a completion alone in its group, has an advantage of 0: it does not move the policy.

    Source: GRPO, Shao et al. 2024 (arXiv 2402.03300), as in TRL 1.16.
    """
    known = np.isfinite(rewards)
    n = known.sum(axis=1, keepdims=True)
    mean = np.where(known, rewards, 0.0).sum(axis=1, keepdims=True) / np.maximum(n, 1)
    gap = np.where(known, rewards - mean, 0.0)
    std = np.sqrt((gap**2).sum(axis=1, keepdims=True) / np.maximum(n - 1, 1))
    return gap / (std + ADVANTAGE_EPSILON)


class ClaimAdvantages(NamedTuple):
    """What the tokens of traces are told where every claim is paid for itself.

    Attributes:
        trace: All tokens of a completion's trace.
        claims: For each completion, what the tokens of each of its claims are told besides.
    """

    trace: Float[np.ndarray, "groups g"]
    claims: list[list[float]]


def claim_advantages(paid: Float[np.ndarray, "groups g"], claims: Sequence[Sequence[float]]) -> ClaimAdvantages:
    """How much better than its group each trace did, and each claim than the group's claims.

    With s what a trace was paid as a whole and u what one claim was paid, both weighted, the tokens of the trace are
    told (s - mean s) / σ and those of a claim (u - mean u) / σ besides. σ = sqrt(var s + var u) + `ADVANTAGE_EPSILON`:
    one scale for both, so that they count beside each other as they do in the reward. Without claims this is
    `group_advantages`, and where nothing else is paid a claim's distance from the mean in standard deviations.

    Args:
        paid: For each pair and completion, what its trace was paid as a whole; NaN where the reward is missing.
        claims: For each completion in turn, what each of its claims was paid.

    Returns:
        Means and variances are those of a pair's completions and of all their claims, variances with n - 1. A
        completion whose reward is missing takes no part in them, and it and its claims have advantages of 0.

    Source: credit by token as in docs/method.md; the scale by group is that of `group_advantages`.
    """
    size = paid.shape[1]
    trace, told = np.zeros_like(paid), [[0.0] * len(one) for one in claims]
    for group, whole in enumerate(paid):
        known = np.flatnonzero(np.isfinite(whole))
        ours = [group * size + k for k in known]
        each = np.array([u for row in ours for u in claims[row]])
        scale = math.sqrt(_variance(whole[known]) + _variance(each)) + ADVANTAGE_EPSILON
        for k, row in zip(known, ours, strict=True):
            trace[group, k] = (whole[k] - whole[known].mean()) / scale
            told[row] = [float(u - each.mean()) / scale for u in claims[row]]
    return ClaimAdvantages(trace, told)


def _variance(values: Float[np.ndarray, " n"]) -> float:
    return float(values.var(ddof=1)) if values.size > 1 else 0.0


def _probability(p_first: float | None) -> float | None:
    """The probability, or None where the listener gave none."""
    if p_first is None or not math.isfinite(p_first):
        return None
    if not 0.0 <= p_first <= 1.0:
        raise ListenerUnavailable(f"listener: p_first is {p_first}, expected a probability in [0, 1]; check its output")
    return float(p_first)


FOR_TRACE: Final = ("listener", "claims", "speaker", "read_agreement")
"""What is paid for a trace."""
FOR_ANSWER: Final = ("format", "accuracy", "read_agreement")
"""What is paid for what stands after it. Given its trace, a completion's verdict changes nothing of the rest: leaving
that out of the return of the tokens after the trace takes noise from their gradient, and does not change its direction
(reward-to-go: Sutton et al. 2000). Agreement takes both, and is paid for both."""


def paid_for(parts: RewardParts, weights: Mapping[str, float], names: Sequence[str]) -> float:
    """What of a reward was paid by these parts; NaN where the reward is missing."""
    if parts.total is None:
        return math.nan
    return math.fsum(weights.get(name, 0.0) * (getattr(parts, name) or 0.0) for name in names)
