"""What SFT and GRPO runs have in common: the run directory, the model, checkpoints, and the plain model at the end."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType
from rich.console import Console
from transformers import PrinterCallback, ProgressCallback, set_seed
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from earshot.config import ModelConfig, TrainingConfig, nearest
from earshot.errors import ConfigError, InputError, one_line
from earshot.images import Sight
from earshot.rundir import RunDir, append_jsonl, describe_environment, read_jsonl, whole, write_json
from earshot.train.callbacks import FiniteGuard, MetricsLog, PeriodicEvaluation, ProgressBar, SignedCheckpoints
from earshot.vlm import Vlm, load
from earshot.vlm.mechanisms import check_trainable
from earshot.vlm.model import resolve_device
from earshot.vlm.weights import merged


def trl_defaults(model: ModelConfig) -> dict[str, Any]:
    """Where both trainers differ from TRL's defaults, and why."""
    return {
        "logging_steps": 1,  # one row of metrics.jsonl a step
        "report_to": [],  # metrics.jsonl is the log
        "save_strategy": "steps",
        "save_steps": 100,
        "save_total_limit": 2,  # one to resume from, one while the next is written
        "gradient_checkpointing": False,  # it trades time for memory, which small models have
        "bf16": resolve_device(model.device).type == "cuda",  # on a CPU, the dtype that the model was loaded in
    }


def trl_decisions(config: TrainingConfig) -> dict[str, Any]:
    """What Earshot decides of TRL's configuration, from its own keys."""
    return {
        "output_dir": str(RunDir(Path(config.out)).checkpoints),
        "seed": config.seed,
        "remove_unused_columns": False,
        "use_cpu": resolve_device(config.model.device).type == "cpu",
    }


def load_model(config: TrainingConfig) -> Vlm:
    """The model of a configuration, with its limits on image size set.

    Raises:
        ModelError: It cannot be loaded, or not be trained.
    """
    model, images = config.model, config.images
    set_seed(config.seed)
    sight = Sight(images.min_pixels, images.max_pixels, images.backend)
    vlm = load(model.path, dtype=model.dtype, device=model.device, sight=sight).asked(model.prompts)
    check_trainable(vlm.model, with_adapter=config.lora is not None)
    return vlm


def trl_arguments(cls: type, table: Mapping[str, Any], ours: Mapping[str, Any], defaults: Mapping[str, Any]) -> Any:
    """TRL's configuration from the `trl:` table, verbatim.

    Args:
        cls: `trl.SFTConfig` or `trl.GRPOConfig`.
        table: What the user wrote; wins over `defaults`.
        ours: What Earshot itself decides (where files go, the seed); naming one of these is an error.
        defaults: What differs from TRL's own defaults, each for a reason given where it is passed.

    Raises:
        ConfigError: An unknown key, one that Earshot decides, or a value that TRL refuses.
    """
    for key in table:
        if key in ours:
            raise ConfigError(
                f"trl.{key}: set by Earshot itself; use the key outside 'trl' (out, seed, model, data) instead"
            )
    return _of_a_library(cls, "trl", table, {**defaults, **table, **ours})


def lora_config(table: Mapping[str, Any] | None) -> Any:
    """`peft.LoraConfig` from the `lora:` table, or None for training all weights.

    Raises:
        ConfigError: An unknown key, or a value that peft refuses.
    """
    if table is None:
        return None
    from peft import LoraConfig

    return _of_a_library(LoraConfig, "lora", table, {"task_type": "CAUSAL_LM", **table})


def _of_a_library(cls: type, name: str, table: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """A library's configuration, with its refusals told as ours: `table` is what stands under `name`."""
    known = {field.name for field in dataclasses.fields(cls)}
    for key in table:
        if key not in known:
            close = nearest(key, known)
            hint = f"; the nearest known key is '{name}.{close}'" if close else ""
            raise ConfigError(f"{name}.{key}: unknown key of {cls.__name__}{hint}")
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name}: {cls.__name__} refuses these values ({one_line(error)})") from error


def begin_run(
    config: TrainingConfig, arguments: Any, *, resume: bool, models: Mapping[str, Vlm], command: str
) -> tuple[RunDir, Path | None]:
    """Makes the run directory and records what is run, or takes a run up at its last complete checkpoint.

    One process does this, and the others wait for it.

    Args:
        config: What is run.
        arguments: TRL's configuration, which knows the processes.
        resume: Go on with the run that is there; without one, begin.
        models: The models by their role, which are recorded.
        command: As typed, without paths.

    Returns:
        The run, and the checkpoint to go on from, None to begin at the first step.

    Raises:
        InputError: A run is there and `resume` is off.
    """
    run = RunDir(Path(config.out))
    if arguments.process_index == 0:
        run = RunDir.create(run.path, resume=resume)
        run.write_config(config.model_dump())
        distinct = {id(vlm): vlm for vlm in models.values()}
        records = {key: vlm.record() for key, vlm in distinct.items()}
        told = {role: records[id(vlm)] for role, vlm in models.items()}
        write_json(run.environment, describe_environment(command=command, models=told, seed=config.seed))
        rewind(run, latest_checkpoint(run))
    arguments.distributed_state.wait_for_everyone()
    return run, latest_checkpoint(run)


def latest_checkpoint(run: RunDir) -> Path | None:
    """The newest complete checkpoint; one without a whole trainer state, which comes last, was cut off."""
    folders = [f for f in run.checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if _step(f) >= 0 and _is_complete(f)]
    return max(folders, key=_step, default=None)


def _is_complete(checkpoint: Path) -> bool:
    try:
        state = json.loads((checkpoint / TRAINER_STATE_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return bool(state.get("global_step") == _step(checkpoint))


def rewind(run: RunDir, checkpoint: Path | None) -> None:
    """Takes back what was logged after the checkpoint (everything, without one): those steps are done again."""
    step = 0 if checkpoint is None else _step(checkpoint)
    if run.metrics_log.exists():
        kept = [row for row in read_jsonl(run.metrics_log) if step and row.get("step", 0) <= step]
        with whole(run.metrics_log) as temporary:
            temporary.touch()
            append_jsonl(temporary, kept)
    for part in run.rollouts.glob("step-*.parquet"):
        if int(part.stem.split("-")[1]) >= step:
            part.unlink()
    for folder in run.checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if folder != checkpoint and not 0 <= _step(folder) < step:
            shutil.rmtree(folder)


def train(
    trainer: Any,
    vlm: Vlm,
    run: RunDir,
    checkpoint: Path | None,
    *,
    guard: FiniteGuard,
    evaluation: PeriodicEvaluation | None,
    console: Console,
) -> None:
    """Runs a TRL trainer to its end, with guard, metrics log and progress bar around its steps, and writes `model/`.

    Args:
        trainer: What trains.
        vlm: The model that is trained, whose processor and prompts go with it.
        run: Where metrics and model go.
        checkpoint: Where to go on from; None begins.
        guard: Drops bad steps.
        evaluation: Judges pairs between the steps, if any.
        console: Where the progress is shown.

    Raises:
        TrainingAborted: Several steps in a row were not finite.
    """
    bar = ProgressBar(console)
    trainer.guard = guard
    for theirs in (ProgressCallback, PrinterCallback):  # they print every row of the log
        trainer.remove_callback(theirs)
    for ours in (guard, MetricsLog(run, guard), SignedCheckpoints(vlm), bar, evaluation):
        if ours is not None:
            trainer.add_callback(ours)
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        bar.stop()
    accelerator = trainer.accelerator
    trained = accelerator.unwrap_model(trainer.model)
    # Shards are put together by all processes; one of them writes.
    sharded = accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)
    weights = accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    if accelerator.is_main_process:
        # A plain `save_pretrained` folder: adapters are merged into the weights that they adapt.
        plain = merged(trained) if hasattr(trained, "merge_and_unload") else trained
        dataclasses.replace(vlm, model=plain).save(run.model, weights)
    accelerator.wait_for_everyone()


def check_out_is_new(out: str, *, resume: bool) -> None:
    """Refuses an output folder that is in use before any model is loaded."""
    if not resume and RunDir(Path(out)).exists():
        raise InputError(f"{out}: a run is already there; resume it with --resume or choose another 'out'")


@contextmanager
def without_known_warnings() -> Iterator[None]:
    """TRL 1.16 itself still uses names that transformers 5.2x deprecates; nobody here can act on that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
        yield


def _step(checkpoint: Path) -> int:
    """The step of a checkpoint's folder; -1 where its name has none."""
    number = checkpoint.name.rsplit("-", 1)[-1]
    return int(number) if number.isdigit() else -1
