"""`earshot train grpo`: GRPO whose reward comes partly from a frozen listener, on TRL's trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from trl import GRPOConfig as TrlGrpoConfig
from trl import GRPOTrainer

from earshot.config import GrpoConfig, ListenerConfig
from earshot.data.pairset import PairSet
from earshot.images import Tolerance
from earshot.listener import Listener
from earshot.listener.controls import (
    BlindListener,
    BothOrdersListener,
    EnsembleListener,
    NoTraceListener,
    RandomListener,
    ShuffledListener,
    TemperedListener,
)
from earshot.listener.local import LocalListener
from earshot.protocol import redact_trace
from earshot.reasoner import Reasoner
from earshot.rewards import RewardWeights
from earshot.rundir import RunDir, append_jsonl, whole
from earshot.train.callbacks import FiniteGuard, MetricsLog, PeriodicEvaluation, SampleTable
from earshot.train.reward import CombinedReward, ListenerOptions, Rollout
from earshot.train.rows import PairRows, as_dataset
from earshot.train.run import (
    check_out_is_new,
    latest_checkpoint,
    load_model,
    lora_config,
    open_run,
    rewind,
    save_model,
    trl_arguments,
)
from earshot.types import Pair
from earshot.vlm import Vlm, load

SAMPLES_EVERY = 10  # steps between two tables of sample completions

# Where we differ from TRL's defaults, and why.
_DEFAULTS: dict[str, Any] = {
    "beta": 0.0,  # TRL's own default, stated: no reference model unless it is asked for
    "loss_type": "grpo",  # METHOD: GRPO; each completion counts the same, whatever its length
    "logging_steps": 1,
    "report_to": [],
    "log_completions": False,  # our own table and rollouts say more
    "save_strategy": "steps",
    "save_steps": 100,
    "save_total_limit": 2,
    "gradient_checkpointing": False,
}


class RolloutLog:
    """Keeps the latest step's rollouts and writes each step's to `rollouts/step-NNNNNN-rankR.parquet`."""

    def __init__(self, run: RunDir, every_steps: int, rank: int) -> None:
        self._run = run
        self._every_steps = every_steps
        self._rank = rank
        self._step = -1
        self.latest: list[Rollout] = []

    def __call__(self, rollouts: list[Rollout]) -> None:
        step = rollouts[0].step
        self.latest = [*self.latest, *rollouts] if step == self._step else rollouts
        self._step = step
        if step % self._every_steps == 0:
            self.write(self._run.rollouts / f"step-{step:06d}-rank{self._rank}.parquet")

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            pq.write_table(pa.Table.from_pylist([asdict(r) for r in self.latest], _ROLLOUT_SCHEMA), temporary)
        return path


_PYTHON_TO_ARROW = {"int": pa.int64(), "str": pa.string(), "float": pa.float64()}
_ROLLOUT_SCHEMA = pa.schema(
    [(name, _PYTHON_TO_ARROW[str(kind).split(" ")[0]]) for name, kind in Rollout.__annotations__.items()]
)


def train_grpo(config: GrpoConfig, *, resume: bool = False, console: Console | None = None) -> Path:
    """Trains a reasoner and returns its run directory; `model/` in it is the trained reasoner.

    Raises:
        InputError: Model, listener, data or configuration are wrong, or a run is already there.
        TrainingAborted: Three steps in a row were not finite.
    """
    check_out_is_new(config.out, resume=resume)
    pairs = PairSet(Path(config.data.train))
    vlm = load_model(config.model, config.images, config.seed)
    listener, heard = build_listener(config.listener, config.seed) if config.listener else (None, {})
    run = RunDir(Path(config.out))
    arguments = trl_arguments(TrlGrpoConfig, config.trl, _decided(config, run), _generation_defaults(vlm))
    peft = lora_config(config.lora)
    run = open_run(config, config.out, resume=resume, models={"reasoner": vlm, **heard}, command="train grpo")
    checkpoint = latest_checkpoint(run) if resume else None
    if resume:
        rewind(run, checkpoint)

    def note(error: Exception) -> None:
        append_jsonl(run.errors_log, [{"stage": "train", "error": str(error)}])

    rows = PairRows(pairs, Tolerance(config.data.tolerate_bad, note))
    log = RolloutLog(run, config.log_rollouts_every, arguments.process_index)
    options = config.listener or ListenerConfig(control="random")
    reward = CombinedReward(
        RewardWeights(config.rewards.format, config.rewards.accuracy, config.rewards.listener),
        listener,
        ListenerOptions(options.redaction, options.prior_corrected, options.soft_labels),
        soft_accuracy=config.rewards.soft_accuracy,
        on_rollouts=log,
    )
    trainer = ListenerGrpoTrainer(
        model=vlm.model,
        reward_funcs=[reward],
        args=arguments,
        train_dataset=as_dataset(rows, vlm, limit=config.data.max_pairs),
        processing_class=vlm.processor,
        peft_config=peft,
    )
    guard = FiniteGuard(lambda: str(log.write(run.rollouts / "bad-batch.parquet")))
    trainer.guard = guard
    trainer.add_callback(guard)
    trainer.add_callback(MetricsLog(run, guard))
    trainer.add_callback(SampleTable(lambda: log.latest, SAMPLES_EVERY, console or Console()))
    if config.evaluation.every_steps and config.data.validation:
        watched = _validation(config, vlm, trainer, listener)
        trainer.add_callback(PeriodicEvaluation(watched, config.evaluation.every_steps, run))
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.accelerator.is_main_process:
        save_model(vlm, trainer.accelerator.unwrap_model(trainer.model), run)
    return run.path


class ListenerGrpoTrainer(GRPOTrainer):
    """TRL's trainer, shallow: what is ours is the reward, the guard, and a resume that is exact."""

    guard: FiniteGuard | None = None

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.guard is not None and bool(rewards.isinf().any()):  # NaN is a missing reward, and none of our parts
            self.guard.suspect("a reward is infinite")
        return rewards

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            # TRL counts micro-steps from 0 again after a resume, and would train on no fresh completions at first.
            self._step = self.state.global_step * self.args.gradient_accumulation_steps


def build_listener(config: ListenerConfig, seed: int) -> tuple[Listener, dict[str, Vlm]]:
    """The listener of a configuration, and the frozen models it reads with, by name.

    Raises:
        ModelError: A model cannot be loaded, or its answer tokens are not single tokens.
    """
    models = {
        f"listener:{path}": load(path, dtype=config.dtype, device=config.device).freeze() for path in config.paths
    }
    bases: list[Listener] = [LocalListener(vlm, name=vlm.name, batch_size=config.batch_size) for vlm in models.values()]
    if config.control == "random":
        return RandomListener(seed), models
    listener = bases[0] if len(bases) == 1 else EnsembleListener(tuple(bases))
    if config.control == "shuffled":
        listener = ShuffledListener(listener, seed)
    elif config.control == "blind":
        listener = BlindListener(listener)
    elif config.control == "no_trace":
        listener = NoTraceListener(listener)
    if config.both_orders:
        listener = BothOrdersListener(listener)
    if config.temperature != 1.0:
        listener = TemperedListener(listener, config.temperature)
    return listener, models


def _decided(config: GrpoConfig, run: RunDir) -> dict[str, Any]:
    return {"output_dir": str(run.checkpoints), "seed": config.seed, "remove_unused_columns": False}


def _generation_defaults(vlm: Vlm) -> dict[str, Any]:
    # A sampled vision placeholder would no longer agree with the images, and crashes the next forward pass.
    generation = {"suppress_tokens": vlm.forbidden_ids}
    return {**_DEFAULTS, "generation_kwargs": generation, "use_cpu": vlm.device.type == "cpu"}


def _validation(config: GrpoConfig, vlm: Vlm, trainer: GRPOTrainer, listener: Listener | None) -> Any:
    """A function that judges the first validation pairs with the model as it is."""
    assert config.data.validation is not None
    pairs = PairSet(Path(config.data.validation))
    held = [pairs[k] for k in range(min(config.evaluation.pairs, len(pairs)))]
    redaction = config.listener.redaction if config.listener else "answer"

    def judge() -> Mapping[str, float | None]:
        model = trainer.accelerator.unwrap_model(trainer.model)
        reasoner = Reasoner(Vlm(model, vlm.processor, vlm.prompts, vlm.name), trainer.args.max_completion_length)
        judged = reasoner.judge(held, samples=config.evaluation.samples, seed=config.seed)
        return {f"eval/{name}": value for name, value in _summary(held, judged, listener, redaction).items()}

    return judge


def _summary(
    pairs: Sequence[Pair], judged: Sequence[Sequence[Any]], listener: Listener | None, redaction: Any
) -> dict[str, float | None]:
    """Share of samples on the majority's side (malformed ones are wrong), malformed share, disagreement."""
    labelled = [(pair, sample) for pair, row in zip(pairs, judged, strict=True) for sample in row]
    strict = [(p, s) for p, s in labelled if p.votes.majority is not None]
    formed = [(p if s.order == "forward" else p.swapped(), s) for p, s in labelled if s.side is not None]
    values: dict[str, float | None] = {
        "accuracy": float(np.mean([s.side == p.votes.majority for p, s in strict])) if strict else None,
        "malformed": float(np.mean([s.side is None for _, s in labelled])) if labelled else None,
    }
    if listener is not None and formed:
        p_shown = listener.p_first([p for p, _ in formed], [redact_trace(s.trace, redaction) for _, s in formed])
        shown_first = np.array([(s.side == "first") == (s.order == "forward") for _, s in formed])
        values["disagreement"] = float(np.mean((p_shown > 0.5) != shown_first))
    return values
