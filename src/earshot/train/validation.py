"""Validation during training: the first pairs of a set, judged with the model as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from earshot.config import TrainingConfig
from earshot.data.pairset import PairSet
from earshot.judging.model import RewardModel
from earshot.listener import Listener
from earshot.predictions.judgement import Judgement
from earshot.predictions.sides import differs
from earshot.reasoner import Reasoner
from earshot.rundir import RunDir
from earshot.train.callbacks import PeriodicEvaluation
from earshot.train.sharding import gathered
from earshot.types import Pair, RedactionLevel
from earshot.vlm import Vlm

LISTENER: Final = "listener"
MAX_NEW_TOKENS: Final = 256
"""What SFT's may write: a reference trace is rarely longer [C]."""


def held_pairs(config: TrainingConfig) -> list[Pair]:
    """The pairs that are judged between the steps; none where the configuration asks for no evaluation.

    Raises:
        InputError: There is no such pair set.
    """
    if not config.evaluation.every_steps or config.data.validation is None:
        return []
    pairs = PairSet(Path(config.data.validation), roots=config.data.roots)
    return [pairs[k] for k in range(min(config.evaluation.pairs, len(pairs)))]


def validation(
    config: TrainingConfig,
    held: Sequence[Pair],
    vlm: Vlm,
    trainer: Any,
    run: RunDir,
    *,
    listener: Listener | None = None,
    redaction: RedactionLevel = "answer",
    max_new_tokens: int,
) -> PeriodicEvaluation | None:
    """Judges the first validation pairs every so many steps and logs `eval/sample_accuracy` and the like.

    Args:
        config: Says how often and how.
        held: The pairs; None is returned where there are none.
        vlm: Whose processor and prompts are used.
        trainer: Of TRL; its model is judged as it is.
        run: Whose log takes the numbers.
        listener: With it, `eval/disagreement` too.
        redaction: What the listener does not get to read.
        max_new_tokens: Longer completions are cut.
    """
    if not held or config.evaluation.every_steps is None:
        return None

    def judge() -> Mapping[str, float | None]:
        model = trainer.accelerator.unwrap_model(trainer.model)
        reasoner = Reasoner(replace(vlm, model=model), max_new_tokens)
        judge = RewardModel(
            reasoner,
            {} if listener is None else {LISTENER: listener},
            samples=config.evaluation.samples,
            redaction=redaction,
            lenient=True,
        )
        questions = [
            judge.question(
                prompt=pair.prompt, first=pair.first, second=pair.second, original=pair.original, seed=config.seed
            )
            for pair in held
        ]
        with gathered(model, trainer.accelerator):
            judged = judge.answer(questions)
        values = summarise_samples(held, judged, with_listener=listener is not None)
        return {f"eval/{name}": value for name, value in values.items()}

    return PeriodicEvaluation(judge, config.evaluation.every_steps, run)


def summarise_samples(
    pairs: Sequence[Pair], judged: Sequence[Judgement], *, with_listener: bool
) -> dict[str, float | None]:
    """Share of samples on the majority's side (malformed ones are wrong), malformed share, and disagreement.

    A share without observations is None, and so is the disagreement with a listener that failed.
    """
    told = [(pair, sample) for pair, judgement in zip(pairs, judged, strict=True) for sample in judgement.samples]
    strict = [(pair, sample) for pair, sample in told if pair.votes.majority is not None]
    values: dict[str, float | None] = {
        "sample_accuracy": _share([sample.side == pair.votes.majority for pair, sample in strict]),
        "malformed": _share([sample.side is None for _, sample in told]),
    }
    if with_listener:
        found = [differs(sample.listener.get(LISTENER), sample.side) for _, sample in told]
        values["disagreement"] = _share([one for one in found if one is not None])
    return values


def _share(observed: Sequence[bool]) -> float | None:
    return float(np.mean(observed)) if observed else None
