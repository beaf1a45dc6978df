"""`earshot train grpo`: GRPO whose reward comes partly from a frozen listener, on TRL's trainer."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from rich.console import Console
from trl import GRPOConfig as TrlGrpoConfig

from earshot.config import SELF, ClaimsConfig, GrpoConfig, ListenerConfig
from earshot.data.pairset import PairSet
from earshot.errors import ConfigError, InputError
from earshot.files import read_jsonl
from earshot.images import AS_IT_IS, Sight
from earshot.listener.build import Loaded, build_checker, build_listener, look, models_of, with_base, with_policy
from earshot.listener.spec import ListenerSpec
from earshot.remote import is_address
from earshot.rundir import RunDir
from earshot.train.callbacks import FiniteGuard
from earshot.train.credit import Credit
from earshot.train.footprint import announce
from earshot.train.leak import LeakAlarm
from earshot.train.reward import CombinedReward
from earshot.train.rollouts import RolloutLog, check_taught
from earshot.train.rows import PairRows, as_dataset, open_pairs, tolerance_of
from earshot.train.run import (
    begin_run,
    carry_out,
    has_frozen_base,
    load_model,
    lora_config,
    told_as_ours,
    train,
    trl_arguments,
    trl_decisions,
    trl_defaults,
    without_known_warnings,
)
from earshot.train.sharding import shards_are_asked
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.train.validation import held_pairs, validation
from earshot.vlm import Vlm
from earshot.vlm.on_vllm import need_vllm

# Where we differ from TRL's defaults, and why.
_DEFAULTS: dict[str, Any] = {
    "beta": 0.0,  # TRL's own default, stated: no reference model unless it is asked for
    "loss_type": "grpo",  # METHOD: GRPO; each completion counts the same, whatever its length
}


@without_known_warnings()
def train_grpo(
    config: GrpoConfig, *, resume: bool = False, console: Console | None = None, aloud: bool = False
) -> Path:
    """Trains a reasoner and returns its run directory; `model/` in it is the trained reasoner.

    `aloud` says before a model is loaded what the run will do, and an estimate of the memory.

    Raises:
        InputError: Model, listener, data or configuration are wrong, or a run is already there.
        ListenerUnavailable: The listener stopped in the first step.
        TrainingAborted: Three steps in a row were not finite, or none taught anything.
        TrainingInterrupted: SIGTERM or SIGHUP came, or the listener stopped; the steps until then are saved.
    """
    return carry_out(config, partial(_train, aloud=aloud), resume=resume, console=console)


def _train(config: GrpoConfig, run: RunDir, console: Console, *, aloud: bool = False) -> None:
    defaults = {**trl_defaults(config.model), **_DEFAULTS}
    arguments = trl_arguments(TrlGrpoConfig, config.trl, trl_decisions(config), defaults)
    apart: Credit | None = None
    if config.rewards.decoupled or config.rewards.reward_to_go:
        apart = "decoupled" if config.rewards.decoupled else "reward_to_go"
    if apart and arguments.scale_rewards != "group":
        raise ConfigError(
            f"rewards.{apart} needs advantages that are scaled by group, and trl.scale_rewards is "
            f"{arguments.scale_rewards!r}; leave one of them out"
        )
    if config.rewards.claim_credit:
        apart = "claims"
    if config.rewards.speaker and config.listener and any(map(is_address, config.listener.paths)):
        raise ConfigError(
            "rewards.speaker: a listener on a server does not say how likely it finds what it reads; name a model "
            "folder or a hub id under listener.paths"
        )
    if config.listener and SELF in config.listener.paths and shards_are_asked(arguments):
        raise ConfigError(
            "listener.paths: 'self' listens with whole weights, and FSDP or DeepSpeed keeps a share of them on each "
            "process; train without these (an adapter: lora), or name a frozen copy's folder"
        )
    if arguments.use_vllm:
        raise ConfigError(
            "trl.use_vllm: TRL hands over prompts whose images' places are written out already, and vLLM writes them "
            "out again, so that it would draw completions of other prompts than are trained on; expected "
            "sampling.engine: vllm"
        )
    if config.sampling.engine == "vllm":
        need_vllm()
        if shards_are_asked(arguments):
            raise ConfigError(
                "sampling.engine: vllm has not been shown to be given the weights of FSDP's or DeepSpeed's shards; "
                "leave it out, or train copies (an adapter: lora)"
            )
        arguments.use_vllm = True
    peft = lora_config(config.lora)
    pairs, refused = open_pairs(config.data)
    check_pairs(pairs, config, arguments)
    held = held_pairs(config)
    for told in (config.listener and listener_spec(config.listener), config.claims and checker_spec(config.claims)):
        if told:
            look(told, training=True)
    if aloud:
        announce(config, arguments, console)
    vlm = load_model(config)
    arguments.generation_kwargs = never_sampling(vlm, arguments)
    loaded: Loaded = {}
    if has_frozen_base(config, sharded=shards_are_asked(arguments)):
        loaded |= with_base(config.model.path, vlm, config.model.device, config.model.dtype)
    listener = checker = alarm = None
    models: dict[str, Vlm | dict[str, str]] = {"reasoner": vlm}
    if config.listener:
        spec = listener_spec(config.listener, config.seed, sight=vlm.sight)
        if SELF in spec.sources:
            loaded |= with_policy(spec, vlm)
            asked = vlm.asked(spec.prompts).prompts.fingerprint
            models[f"listener:{SELF}"] = {"name": SELF, "weights": "the policy's own, not frozen", "prompts": asked}
        listener, alarm = build_listener(spec, loaded), leak_alarm(config.listener, spec, loaded)
        models |= {f"listener:{source}": model for source, model in models_of(spec, loaded).items()}
    if config.claims:
        spec = replace(checker_spec(config.claims), **asdict(vlm.sight))
        checker = build_checker(spec, loaded, with_prior=config.claims.prior_corrected)
        models |= {f"claims:{source}": model for source, model in models_of(spec, loaded).items()}
    checkpoint = begin_run(run, config, arguments, models=models, command="train grpo", console=console)
    rows = PairRows(pairs, tolerance_of(config.data, refused, run))
    log = RolloutLog(run, config.log_rollouts_every, arguments.process_index, console, lambda: reward.failure)
    if alarm is not None and checkpoint is not None:
        alarm.recall(read_jsonl(run.metrics_log))
    reward = CombinedReward(
        config,
        listener,
        checker,
        texts=vlm.completions,
        prompts=vlm.prompts,
        on_rollouts=log,
        alarm=alarm,
    )
    dataset = as_dataset(rows, vlm, limit=config.data.max_pairs)
    with told_as_ours("trl and lora", "TRL's trainer"):
        trainer = ListenerGrpoTrainer(
            vlm=vlm,
            reward=reward,
            credit=apart,
            args=arguments,
            train_dataset=dataset,
            peft_config=peft,
        )
    guard = FiniteGuard(
        lambda: str(log.write(run.rollouts / f"bad-batch-rank{arguments.process_index}.parquet")), console.print
    )
    evaluation = validation(
        config,
        held,
        vlm,
        trainer,
        run,
        listener=listener,
        redaction=reward.redaction,
        max_new_tokens=arguments.max_completion_length,
    )
    train(
        trainer,
        vlm,
        run,
        checkpoint,
        guard=guard,
        evaluation=evaluation,
        console=console,
        check=partial(check_taught, run),
    )


def check_pairs(pairs: PairSet, config: GrpoConfig, arguments: TrlGrpoConfig) -> None:
    """Sees that there is something to train on.

    Raises:
        InputError: There are fewer pairs than are asked about at a time, or nobody prefers either image of any.
    """
    many = min(len(pairs), config.data.max_pairs or len(pairs))
    together = arguments.generation_batch_size // arguments.num_generations
    if many < together:
        raise InputError(
            f"{config.data.train}: {many} pairs to train on, and completions of {together} are drawn at a time; lower "
            "trl.per_device_train_batch_size, or raise trl.num_generations"
        )
    soft = config.rewards.listener > 0 and config.listener is not None and config.listener.soft_labels
    ties = pc.all(pc.equal(pairs.column("votes_first"), pairs.column("votes_second"))).as_py()
    if ties and not soft and not config.rewards.claims > 0:
        raise InputError(
            f"{config.data.train}: all {len(pairs)} pairs are ties, so that no verdict is right or wrong; expected "
            "pairs of which people prefer one image"
        )


def listener_spec(config: ListenerConfig, seed: int = 0, *, sight: Sight = AS_IT_IS) -> ListenerSpec:
    """The description of a configuration's listener; the reward redacts, for it logs what is read.

    Args:
        config: The configuration.
        seed: Of its controls.
        sight: What the reasoner sees of an image, where the configuration says nothing of its own.
    """
    return ListenerSpec(
        config.paths,
        control=config.control,
        orders="both" if config.both_orders else "shown",
        temperature=config.temperature,
        needs_claims=config.needs_claims,
        seed=seed,
        batch_size=config.batch_size,
        device=config.device,
        dtype=config.dtype,
        prompts=config.prompts,
        **asdict(Sight(config.min_pixels, config.max_pixels).filled(sight)),
        **config.remote.model_dump(),
    )


def checker_spec(config: ClaimsConfig) -> ListenerSpec:
    """The description of who checks a configuration's claims."""
    return ListenerSpec(
        config.paths,
        batch_size=config.batch_size,
        device=config.device,
        dtype=config.dtype,
        prompts=config.prompts,
    )


def leak_alarm(config: ListenerConfig, spec: ListenerSpec, loaded: Loaded) -> LeakAlarm | None:
    """The alarm that the listener's configuration asks for, on its models without any control or option."""
    if (every_steps := config.leak_alarm.every_steps) is None:
        return None
    blind = replace(spec, control="blind", orders="shown", temperature=1.0)
    return LeakAlarm(build_listener(blind, loaded), every_steps)


def never_sampling(vlm: Vlm, arguments: TrlGrpoConfig) -> dict[str, Any]:
    """The generation settings with every id banned that must not be sampled, beside those that the user bans.

    A sampled vision placeholder would no longer agree with the images, and crashes the next forward pass.
    """
    given = dict(arguments.generation_kwargs or {})
    if arguments.use_vllm:  # vLLM has no suppress_tokens: see `vlm.on_vllm.sampling`
        return given
    return {**given, "suppress_tokens": sorted({*vlm.forbidden_ids, *(given.get("suppress_tokens") or ())})}
