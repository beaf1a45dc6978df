"""What SFT and GRPO runs have in common: the run directory, the model, checkpoints, and the plain model at the end."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console
from transformers import PrinterCallback, ProgressCallback, set_seed
from transformers.integrations import get_reporting_integration_callbacks

from earshot.config import ModelConfig, TrainingConfig, nearest
from earshot.config.loading import ALSO_CALLED
from earshot.errors import (
    ConfigError,
    InputError,
    ListenerUnavailable,
    TrainingInterrupted,
    first_line,
    one_line,
    short,
)
from earshot.files import fsync, read_jsonl, remove_left
from earshot.images import Sight
from earshot.locks import sole_writer
from earshot.rundir import RunDir
from earshot.train.callbacks import EpochOrder, FiniteGuard, Interruption, MetricsLog, PeriodicEvaluation, ProgressBar
from earshot.train.checkpoints import Checkpoint, Checkpoints, latest_checkpoint, rewind
from earshot.train.resuming import check_same, contents_of, record
from earshot.train.sharding import check_strategy, plain_model, whole_weights
from earshot.vlm import Vlm, load
from earshot.vlm.alone import leaves_base
from earshot.vlm.mechanisms import check_trainable
from earshot.vlm.model import resolve_device

C = TypeVar("C", bound=TrainingConfig)


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
    arguments = _of_a_library(cls, "trl", table, {**defaults, **table, **ours})
    if arguments.max_steps == 0 or (arguments.max_steps < 0 and arguments.num_train_epochs <= 0):
        raise ConfigError(
            "trl.max_steps is 0, and nothing would be trained; expected 1 or more, or trl.num_train_epochs"
        )
    _check_loggers(arguments.report_to)
    return arguments


def _check_loggers(names: list[str]) -> None:
    """Sees that the loggers of `trl.report_to` are known and installed.

    Raises:
        ConfigError: One is not.
    """
    for name in names:
        try:
            for logger in get_reporting_integration_callbacks([name]):
                logger()
        except ValueError as error:
            raise ConfigError(f"trl.report_to: {first_line(error)}") from error
        except (RuntimeError, ImportError) as error:
            raise ConfigError(f"trl.report_to: '{name}' needs a package that is missing; pip install {name}") from error


def lora_config(table: Mapping[str, Any] | None) -> Any:
    """`peft.LoraConfig` from the `lora:` table, or None for training all weights.

    Raises:
        ConfigError: An unknown key, or a value that peft refuses.
    """
    if table is None:
        return None
    from peft import LoraConfig

    return _of_a_library(LoraConfig, "lora", table, {"task_type": "CAUSAL_LM", **table})


def has_frozen_base(config: TrainingConfig, *, sharded: bool) -> bool:
    """Whether the model below the adapter that is trained can be had back, as a listener that is the same model.

    That is where the adapter leaves its weights alone, where all of them are on each process, and where nothing but the
    model's folder says in which words it is asked.
    """
    return config.lora is not None and (
        leaves_base(lora_config(config.lora)) and not sharded and config.model.prompts is None
    )


def _of_a_library(cls: type, name: str, table: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """A library's configuration, with its refusals told as ours: `table` is what stands under `name`."""
    known = {field.name for field in dataclasses.fields(cls)}
    for key in table:
        if key not in known:
            close = ALSO_CALLED[key] if ALSO_CALLED.get(key) in known else nearest(key, known)
            hint = f"; the nearest known key is '{name}.{close}'" if close else ""
            raise ConfigError(f"{name}.{key}: unknown key of {cls.__name__}{hint}")
    for key, hint in typing.get_type_hints(cls).items():
        if key in table and (expected := _misfit(key, table[key], hint)):
            raise ConfigError(f"{name}.{key} is {short(table[key])}, expected {expected}")
    with told_as_ours(name, cls.__name__):
        return cls(**values)


@contextmanager
def told_as_ours(name: str, who: str) -> Iterator[None]:
    """Tells what a library refuses of its table as a fault of the configuration."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name}: {who} refuses these values ({one_line(error)})") from error


# What the libraries themselves find out too late, or never: the least that a number may be, or what it must be above.
_LEAST: Final = {"max_steps": -1, "learning_rate": 0, "max_grad_norm": 0, "beta": 0, "warmup_steps": 0}
_ABOVE_0: Final = (
    *("temperature", "save_steps", "logging_steps", "num_iterations", "max_completion_length", "r"),
    *("per_device_train_batch_size", "gradient_accumulation_steps"),
)


def _misfit(key: str, value: Any, hint: Any) -> str:
    """What a library's number should be, where it is none or cannot be that one; empty where it can."""
    kinds = set(typing.get_args(hint)) or {hint}
    if not kinds <= {int, float, bool, type(None)} or value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if type(value) in kinds else "true or false" if bool in kinds else "a number"
    if isinstance(value, float) and float not in kinds:
        return "a whole number"
    if key in _ABOVE_0:
        return "" if 0 < value < math.inf else "a finite number above 0"
    least = _LEAST.get(key, -math.inf)
    return "" if least <= value < math.inf else "a finite number" + f" of at least {least}" * (key in _LEAST)


def carry_out(config: C, train: Callable[[C, RunDir, Console], None], *, resume: bool, console: Console | None) -> Path:
    """Trains in a configuration's folder unless all its steps are done, and returns the folder.

    Args:
        config: What is run.
        train: Trains in the folder of a run, which no other process may write meanwhile.
        resume: Go on with the run that is there.
        console: Where progress is shown; None is the terminal.

    Raises:
        InputError: A run is there and `resume` is off, it was begun as another one, or another process writes it.
    """
    console = console or Console()
    with _taken_up(config, resume=resume, console=console) as run:
        if run is not None:
            train(config, run, console)
    return Path(config.out)


@contextmanager
def _taken_up(config: TrainingConfig, *, resume: bool, console: Console) -> Iterator[RunDir | None]:
    """The folder of a run, which no other process may write meanwhile; None where all its steps are done, as is told.

    Of several processes of one training the first holds it for all.
    """
    run, first_process = RunDir(Path(config.out)), os.environ.get("RANK", "0") == "0"
    run.check_free()
    if run.model.exists():
        if not resume:
            raise InputError(f"{run.path}: a run is already there, and it is finished; choose another 'out'")
        check_same(run, config, None)
        if first_process:
            console.print(f"{run.path}: all its steps are done; nothing was changed", highlight=False, soft_wrap=True)
        yield None
        return
    if run.exists() and not resume:
        raise InputError(f"{run.path}: a run is already there; resume it with --resume or choose another 'out'")
    if not first_process:
        yield run
        return
    made = [folder for folder in (run.path, *run.path.parents) if not folder.exists()]
    run.path.mkdir(parents=True, exist_ok=True)
    for folder in made:
        fsync(folder.parent)
    try:
        with sole_writer(run.path):
            yield run
    finally:
        if made and not has_begun(run):  # nothing was trained: the same call can simply be made again
            shutil.rmtree(run.path, ignore_errors=True)
            for folder in made[1:]:
                with suppress(OSError):  # something else has come into it
                    folder.rmdir()


def begin_run(
    run: RunDir,
    config: TrainingConfig,
    arguments: Any,
    *,
    models: Mapping[str, Vlm | Mapping[str, str]],
    command: str,
    console: Console,
) -> Checkpoint | None:
    """Records what is run, or takes a run up at its last whole checkpoint.

    One process does this, and the others wait for it.

    Args:
        run: Where.
        config: What is run.
        arguments: TRL's configuration, which knows the processes.
        models: The models by their role, which are recorded, or what is recorded of one that has no weights of its own.
        command: As typed, without paths.
        console: Where a checkpoint is told of that is damaged.

    Returns:
        The checkpoint to go on from, None to begin at the first step.

    Raises:
        InputError: The run that is there was begun as another one.
    """
    checkpoint = None
    if arguments.process_index == 0:
        weights = {id(one.model): one for one in models.values() if isinstance(one, Vlm)}
        hashes = {key: one.fingerprint() for key, one in weights.items()}
        records = {
            role: one.record(hashes[id(one.model)]) if isinstance(one, Vlm) else one for role, one in models.items()
        }
        contents = contents_of(config, records, arguments)
        changed = check_same(run, config, contents) if has_begun(run) else None
        RunDir.create(run.path, resume=True)  # repairs what a crash has left half-written
        for folder in (run.path, run.rollouts):
            remove_left(folder)
        checkpoint = latest_checkpoint(run, tell=lambda line: console.print(line, highlight=False))
        rewind(run, checkpoint)
        resumed = None if changed is None else {"step": 0 if checkpoint is None else checkpoint.step, "was": changed}
        record(run, config, contents, command=command, resumed=resumed)
    arguments.distributed_state.wait_for_everyone()
    return checkpoint if arguments.process_index == 0 else latest_checkpoint(run)


def has_begun(run: RunDir) -> bool:
    """Whether a step was trained or a checkpoint written: before that, a run can simply be begun again."""
    rows = read_jsonl(run.metrics_log) if run.metrics_log.exists() else ()
    # The batch of a run that stopped itself is to be looked at, whatever else there is of it.
    kept = (*run.checkpoints.glob("checkpoint-*"), *run.path.rglob("bad-batch-*"))
    return any(row.get("step") for row in rows) or bool(kept) or run.model.exists()


def train(
    trainer: Any,
    vlm: Vlm,
    run: RunDir,
    checkpoint: Checkpoint | None,
    *,
    guard: FiniteGuard,
    evaluation: PeriodicEvaluation | None,
    console: Console,
    check: Callable[[], None] = lambda: None,
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
        check: Looks at the run before the model is written, and may raise.

    Raises:
        ListenerUnavailable: The listener stopped in the first step.
        TrainingAborted: Several steps in a row were not finite.
        TrainingInterrupted: A signal came, or the listener stopped.
    """
    check_strategy(trainer.args, trainer.accelerator, trainer.model)
    bar = ProgressBar(console)
    trainer.guard = guard
    for theirs in (ProgressCallback, PrinterCallback):  # they print every row of the log
        trainer.remove_callback(theirs)
    keep, trainer.args.save_total_limit = trainer.args.save_total_limit, None  # none goes before the next is whole
    interruption = Interruption()
    saved = Checkpoints(vlm.sign, trainer, trainer.is_place, keep)
    for ours in (EpochOrder(), guard, MetricsLog(run, guard), interruption, bar, evaluation, saved):
        if ours is not None:
            trainer.add_callback(ours)
    if checkpoint is not None and checkpoint.is_the_last:  # all that is missing is the model
        trainer._load_from_checkpoint(str(checkpoint.path))
    else:
        with interruption:
            try:
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint.path))
            except ListenerUnavailable as error:
                if not trainer.state.global_step:
                    raise
                kept = "which is saved" if saved.save_place() else "and goes on from the checkpoint before"
                raise TrainingInterrupted(
                    f"{run.path}: {error}; stopped after step {trainer.state.global_step}, {kept}; go on with the same "
                    "command and --resume",
                    exit_code=error.exit_code,
                ) from error
            finally:
                bar.stop()
        if interruption.came:
            raise TrainingInterrupted(
                f"{run.path}: stopped by {interruption.came} after step {trainer.state.global_step}, which is saved; "
                "go on with the same command and --resume"
            )
    accelerator = trainer.accelerator
    accelerator.wait_for_everyone()
    check()
    trained, weights = accelerator.unwrap_model(trainer.model), whole_weights(trainer)
    if accelerator.is_main_process:  # a plain `save_pretrained` folder
        dataclasses.replace(vlm, model=plain_model(trained, weights)).save(run.model)
    accelerator.wait_for_everyone()


@contextmanager
def without_known_warnings() -> Iterator[None]:
    """TRL 1.16 itself still uses names that transformers 5.2x deprecates; nobody here can act on that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
        yield
