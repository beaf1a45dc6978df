"""What SFT and GRPO runs have in common: the run directory, the model, checkpoints, and the plain model at the end."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import set_seed
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from earshot.config import Config, ImageConfig, ModelConfig, dump_config, nearest
from earshot.errors import ConfigError, InputError
from earshot.rundir import RunDir, append_jsonl, describe_environment, read_jsonl, write_text
from earshot.vlm import Vlm, load
from earshot.vlm.model import set_pixel_limits


def load_model(model: ModelConfig, images: ImageConfig, seed: int) -> Vlm:
    """The model of a configuration, with its limits on image size set."""
    set_seed(seed)
    vlm = load(model.path, dtype=model.dtype, device=model.device, attn_implementation=model.attn_implementation)
    set_pixel_limits(vlm, images.min_pixels, images.max_pixels)
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
    known = {field.name for field in dataclasses.fields(cls)}
    for key in table:
        if key in ours:
            raise ConfigError(f"trl.{key}: set by Earshot itself; use the key outside 'trl' (out, seed, model) instead")
        if key not in known:
            close = nearest(key, known)
            hint = f"; the nearest known key is 'trl.{close}'" if close else ""
            raise ConfigError(f"trl.{key}: unknown key of {cls.__name__}{hint}")
    try:
        return cls(**{**defaults, **table, **ours})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"trl: {cls.__name__} refuses these values ({_one_line(error)})") from error


def lora_config(table: Mapping[str, Any] | None) -> Any:
    """`peft.LoraConfig` from the `lora:` table, or None for training all weights.

    Raises:
        ConfigError: An unknown key, or a value that peft refuses.
    """
    if table is None:
        return None
    from peft import LoraConfig

    for key in table:
        if key not in LoraConfig.__dataclass_fields__:
            close = nearest(key, LoraConfig.__dataclass_fields__)
            hint = f"; the nearest known key is 'lora.{close}'" if close else ""
            raise ConfigError(f"lora.{key}: unknown key of LoraConfig{hint}")
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **table})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"lora: LoraConfig refuses these values ({_one_line(error)})") from error


def open_run(config: Config, out: str, *, resume: bool, models: Mapping[str, Vlm], command: str) -> RunDir:
    """Makes or takes up the run directory and records what is run.

    Raises:
        InputError: A run is there and `resume` is off.
    """
    run = RunDir.create(Path(out), resume=resume)
    run.write_config(dump_config(config))
    hashes = {role: {"name": vlm.name, "sha256": vlm.fingerprint()} for role, vlm in models.items()}
    run.write_environment(describe_environment(command=command, models=hashes, seed=getattr(config, "seed", None)))
    return run


def latest_checkpoint(run: RunDir) -> Path | None:
    """The newest complete checkpoint; one without its trainer state was cut off while it was written."""
    folders = [
        folder
        for folder in run.checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (folder / "trainer_state.json").is_file() and folder.name.rsplit("-", 1)[-1].isdigit()
    ]
    return max(folders, key=_step, default=None)


def rewind(run: RunDir, checkpoint: Path | None) -> None:
    """Takes back what was logged after the checkpoint (everything, without one): those steps are done again."""
    step = 0 if checkpoint is None else _step(checkpoint)
    if run.metrics_log.exists():
        kept = [row for row in read_jsonl(run.metrics_log) if step and row.get("step", 0) <= step]
        write_text(run.metrics_log, "")
        append_jsonl(run.metrics_log, kept)
    for part in run.rollouts.glob("step-*.parquet"):
        if int(part.stem.split("-")[1]) >= step:
            part.unlink()
    for folder in run.checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if folder != checkpoint and (not folder.name.rsplit("-", 1)[-1].isdigit() or _step(folder) > step):
            shutil.rmtree(folder)


def save_model(vlm: Vlm, trained: Any, run: RunDir) -> None:
    """Writes `model/`, a plain `save_pretrained` folder; adapters are merged into the weights they adapt."""
    plain = trained.merge_and_unload() if hasattr(trained, "merge_and_unload") else trained
    Vlm(plain, vlm.processor, vlm.prompts, vlm.name).save(run.model)


def check_out_is_new(out: str, *, resume: bool) -> None:
    """Refuses an output folder that is in use before any model is loaded."""
    if not resume and RunDir(Path(out)).exists():
        raise InputError(f"{out}: a run is already there; resume it with --resume or choose another 'out'")


def _step(folder: Path) -> int:
    return int(folder.name.rsplit("-", 1)[-1])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
