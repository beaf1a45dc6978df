"""Validation during training: the first pairs of a set, judged with the model as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earshot.config import GrpoConfig, SftConfig
from earshot.data.pairset import PairSet
from earshot.errors import ListenerUnavailable
from earshot.listener import Listener
from earshot.protocol import RedactionLevel, redact_trace
from earshot.reasoner import Reasoner
from earshot.types import Pair, Sample
from earshot.vlm import Vlm


def validation(
    config: SftConfig | GrpoConfig,
    vlm: Vlm,
    model: Callable[[], Any],
    *,
    listener: Listener | None = None,
    redaction: RedactionLevel = "answer",
    max_new_tokens: int,
) -> Callable[[], Mapping[str, float | None]] | None:
    """A function that judges the first validation pairs and returns `eval/sample_accuracy` and the like.

    Args:
        config: Says which pairs and how many; None is returned where it asks for no evaluation.
        vlm: Whose processor and prompts are used.
        model: Gives the model under training, without the wrappers of several processes.
        listener: With it, `eval/disagreement` too.
        redaction: What the listener does not get to read.
        max_new_tokens: Longer completions are cut.
    """
    if not config.evaluation.every_steps or config.data.validation is None:
        return None
    pairs = PairSet(Path(config.data.validation))
    held = [pairs[k] for k in range(min(config.evaluation.pairs, len(pairs)))]

    def judge() -> Mapping[str, float | None]:
        reasoner = Reasoner(Vlm(model(), vlm.processor, vlm.prompts, vlm.name), max_new_tokens)
        judged = reasoner.judge(held, samples=config.evaluation.samples, seed=config.seed)
        values = summarise_samples(held, judged, listener, redaction)
        return {f"eval/{name}": value for name, value in values.items()}

    return judge


def summarise_samples(
    pairs: Sequence[Pair], judged: Sequence[Sequence[Sample]], listener: Listener | None, redaction: RedactionLevel
) -> dict[str, float | None]:
    """Share of samples on the majority's side (malformed ones are wrong), malformed share, and disagreement.

    A share without observations is None, and so is the disagreement with a listener that failed.
    """
    told = [(pair, sample) for pair, row in zip(pairs, judged, strict=True) for sample in row]
    strict = [(pair, sample) for pair, sample in told if pair.votes.majority is not None]
    values: dict[str, float | None] = {
        "sample_accuracy": float(np.mean([s.side == p.votes.majority for p, s in strict])) if strict else None,
        "malformed": float(np.mean([s.side is None for _, s in told])) if told else None,
    }
    if listener is not None:
        values["disagreement"] = _disagreement(told, listener, redaction)
    return values


def _disagreement(told: Sequence[tuple[Pair, Sample]], listener: Listener, redaction: RedactionLevel) -> float | None:
    """Share of well-formed samples whose side is not the listener's; one that cannot tell agrees with neither."""
    formed = [(p if s.order == "forward" else p.swapped(), s) for p, s in told if s.side is not None]
    if not formed:
        return None
    try:
        p_shown = listener.p_first([p for p, _ in formed], [redact_trace(s.trace, redaction) for _, s in formed])
    except ListenerUnavailable:
        return None
    shown_first = np.array([(s.side == "first") == (s.order == "forward") for _, s in formed])
    return float(np.mean((p_shown == 0.5) | ((p_shown > 0.5) != shown_first)))
