"""`earshot train grpo`: GRPO whose reward comes partly from a frozen listener, on TRL's trainer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from trl import GRPOConfig as TrlGrpoConfig

from earshot.config import ClaimsConfig, GrpoConfig, ListenerConfig
from earshot.errors import ConfigError, ModelError
from earshot.images import Tolerance
from earshot.listener import Listener
from earshot.listener.claims import ClaimListener, LocalChecker
from earshot.listener.controls import (
    BlindListener,
    BothOrdersListener,
    EnsembleListener,
    NoTraceListener,
    RandomListener,
    ShuffledListener,
    TemperedListener,
)
from earshot.listener.evidence import EvidenceListener
from earshot.listener.local import LocalListener
from earshot.listener.remote import remote_listener
from earshot.protocol import PromptSet, prompt_set
from earshot.remote import is_address
from earshot.rewards import RewardWeights
from earshot.rundir import RunDir, read_jsonl, whole
from earshot.train.callbacks import FiniteGuard, SampleTable, watch
from earshot.train.leak import LeakAlarm
from earshot.train.reward import ClaimsPart, CombinedReward, ListenerOptions, Rollout
from earshot.train.rows import PairRows, as_dataset, open_pairs
from earshot.train.run import (
    begin_run,
    check_out_is_new,
    load_model,
    lora_config,
    note_refused,
    train,
    trl_arguments,
    trl_decisions,
    trl_defaults,
    without_known_warnings,
)
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.train.validation import validation
from earshot.vlm import Vlm, load

SAMPLES_EVERY = 10  # steps between two tables of sample completions

# Where we differ from TRL's defaults, and why.
_DEFAULTS: dict[str, Any] = {
    "beta": 0.0,  # TRL's own default, stated: no reference model unless it is asked for
    "loss_type": "grpo",  # METHOD: GRPO; each completion counts the same, whatever its length
    "log_completions": False,  # our own table and rollouts say more
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


@without_known_warnings()
def train_grpo(config: GrpoConfig, *, resume: bool = False, console: Console | None = None) -> Path:
    """Trains a reasoner and returns its run directory; `model/` in it is the trained reasoner.

    Raises:
        InputError: Model, listener, data or configuration are wrong, or a run is already there.
        TrainingAborted: Three steps in a row were not finite.
    """
    check_out_is_new(config.out, resume=resume)
    defaults = {**trl_defaults(config.model), **_DEFAULTS}
    arguments = trl_arguments(TrlGrpoConfig, config.trl, trl_decisions(config), defaults)
    if config.rewards.reward_to_go and arguments.scale_rewards != "group":
        raise ConfigError(
            f"rewards.reward_to_go needs advantages that are scaled by group, and trl.scale_rewards is "
            f"{arguments.scale_rewards!r}; leave one of them out"
        )
    peft = lora_config(config.lora)
    pairs, refused = open_pairs(config.data)
    vlm = load_model(config.model, config.images, config.seed)
    arguments.generation_kwargs = never_sampling(vlm, arguments)
    listener, heard = build_listener(config.listener, config.seed) if config.listener else (None, {})
    claims, checkers = build_claims(config.claims, shared(config, heard)) if config.claims else (None, {})
    models = {"reasoner": vlm, **heard, **checkers}
    run, checkpoint = begin_run(config, arguments, resume=resume, models=models, command="train grpo")
    note = partial(note_refused, run)
    for error in refused:
        note(error)
    rows = PairRows(pairs, Tolerance(config.data.tolerate_bad - len(refused), note))
    log = RolloutLog(run, config.log_rollouts_every, arguments.process_index)
    options = config.listener or ListenerConfig(control="random")
    alarm = leak_alarm(options, heard)
    if alarm is not None and checkpoint is not None:
        alarm.recall(read_jsonl(run.metrics_log))
    reward = CombinedReward(
        RewardWeights(**config.rewards.model_dump(include={"format", "accuracy", "listener", "claims"})),
        listener,
        ListenerOptions(options.redaction, options.prior_corrected, options.soft_labels),
        soft_accuracy=config.rewards.soft_accuracy,
        on_rollouts=log,
        claims=claims,
        alarm=alarm,
    )
    trainer = ListenerGrpoTrainer(
        vlm=vlm,
        to_go=reward if config.rewards.reward_to_go else None,
        ahead=reward,
        reward_funcs=[reward],
        args=arguments,
        train_dataset=as_dataset(rows, vlm, limit=config.data.max_pairs),
        peft_config=peft,
    )
    guard = FiniteGuard(lambda: str(log.write(run.rollouts / f"bad-batch-rank{arguments.process_index}.parquet")))
    evaluate = validation(
        config,
        vlm,
        lambda: trainer.accelerator.unwrap_model(trainer.model),
        listener=listener,
        redaction=options.redaction,
        max_new_tokens=arguments.max_completion_length,
    )
    console = console or Console()
    watch(trainer, run, guard, evaluate, config.evaluation.every_steps, console)
    trainer.add_callback(SampleTable(lambda: log.latest, SAMPLES_EVERY, console))
    train(trainer, vlm, run, checkpoint)
    return run.path


def build_listener(config: ListenerConfig, seed: int) -> tuple[Listener, dict[str, Vlm]]:
    """The listener of a configuration, and the frozen models it reads with here, by name.

    Raises:
        ModelError: A model cannot be loaded, or its answer tokens are not single tokens.
        InputError: An address is none.
    """
    models = {
        f"listener:{path}": load(path, dtype=config.dtype, device=config.device).freeze()
        for path in config.paths
        if not is_address(path)
    }
    if config.control == "random":
        return RandomListener(seed), models
    listener = _plain_listener(config, models)
    if config.control == "shuffled":
        listener = ShuffledListener(listener, seed)
    elif config.control == "blind":
        listener = BlindListener(listener)
    elif config.control == "no_trace":
        listener = NoTraceListener(listener)
    if config.both_orders:
        listener = BothOrdersListener(listener, _only_language(_prompts_of(config, models), "listener.paths").swap)
    if config.temperature != 1.0:
        listener = TemperedListener(listener, config.temperature)
    return listener, models


def _plain_listener(config: ListenerConfig, models: Mapping[str, Vlm]) -> Listener:
    """The models as they read, before any control or option but that of claims; the mean of several."""
    bases: list[Listener] = []
    for path, prompts in zip(config.paths, _prompts_of(config, models), strict=True):
        base = _base_listener(config, path, models)
        bases.append(EvidenceListener(base, prompt_set(prompts).split) if config.needs_claims else base)
    return bases[0] if len(bases) == 1 else EnsembleListener(tuple(bases))


def _base_listener(config: ListenerConfig, path: str, models: Mapping[str, Vlm]) -> Listener:
    if not is_address(path):
        vlm = models[f"listener:{path}"]
        return LocalListener(vlm, name=vlm.name, batch_size=config.batch_size)
    options = config.remote.model_dump(exclude={"key_env"})
    return remote_listener(path, key=os.environ.get(config.remote.key_env), **options)


def _prompts_of(config: ListenerConfig, models: Mapping[str, Vlm]) -> list[str]:
    """The prompt set that each of `paths` is asked in."""
    return [
        config.remote.prompts if is_address(path) else models[f"listener:{path}"].prompts.name for path in config.paths
    ]


def shared(config: GrpoConfig, heard: Mapping[str, Vlm]) -> dict[str, Vlm]:
    """The listeners' models that may check claims as well, by path: those that would be loaded in the same way."""
    listener, claims = config.listener, config.claims
    if listener is None or claims is None or (listener.dtype, listener.device) != (claims.dtype, claims.device):
        return {}
    return {name.removeprefix("listener:"): vlm for name, vlm in heard.items()}


def build_claims(config: ClaimsConfig, there: Mapping[str, Vlm] | None = None) -> tuple[ClaimsPart, dict[str, Vlm]]:
    """Who checks the traces' claims, and the frozen models that are asked, by name.

    Args:
        config: Who is asked.
        there: Models that are loaded already, by path.

    Raises:
        ModelError: A model cannot be loaded, its answers are not single tokens, or two models read other languages.
    """
    found = dict(there or {})
    for path in config.paths:
        if path not in found:
            found[path] = load(path, dtype=config.dtype, device=config.device).freeze()
    models = {f"claims:{path}": found[path] for path in config.paths}
    checkers = tuple(LocalChecker(vlm, name=vlm.name, batch_size=config.batch_size) for vlm in models.values())
    split = _only_language([vlm.prompts.name for vlm in models.values()], "claims.paths").split
    listener = ClaimListener(checkers, split, with_prior=config.prior_corrected)
    return ClaimsPart(listener, config.penalty, config.at_least), models


def _only_language(prompts: Iterable[str], key: str) -> PromptSet:
    """The one prompt set that models are asked in.

    Raises:
        ModelError: They read several.
    """
    if len(languages := {*prompts}) > 1:
        raise ModelError(
            f"{key}: the models are asked in {' and '.join(sorted(languages))}, expected one prompt set: they must "
            "understand the same traces"
        )
    return prompt_set(languages.pop())


def leak_alarm(config: ListenerConfig, models: Mapping[str, Vlm]) -> LeakAlarm | None:
    """The alarm that the listener's configuration asks for, on its models without any control or option."""
    alarm = config.leak_alarm
    if alarm.every_steps is None:
        return None
    return LeakAlarm(BlindListener(_plain_listener(config, models)), alarm.every_steps, alarm.rollouts, alarm.expected)


def never_sampling(vlm: Vlm, arguments: TrlGrpoConfig) -> dict[str, Any]:
    """The generation settings with every id banned that must not be sampled, beside those that the user bans.

    A sampled vision placeholder would no longer agree with the images, and crashes the next forward pass.
    """
    given = dict(arguments.generation_kwargs or {})
    if arguments.use_vllm:  # vLLM has no suppress_tokens; this is its largest penalty
        return {**given, "logit_bias": {**(given.get("logit_bias") or {}), **dict.fromkeys(vlm.forbidden_ids, -100.0)}}
    return {**given, "suppress_tokens": sorted({*vlm.forbidden_ids, *(given.get("suppress_tokens") or ())})}
