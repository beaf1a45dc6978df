"""`--dry-run`: one step of any configuration, on a tiny model of the same family and a few pairs of the world.

It shows that a configuration is understood down to the last key of TRL and peft before a large machine is paid for. It
cannot show that the real model fits into memory, or that what this machine lacks (GPUs, vLLM, DeepSpeed) works there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console

from earshot.config import GrpoConfig, TrainingConfig
from earshot.data.pairset import PairSet
from earshot.listener import ask
from earshot.rundir import RunDir, read_jsonl
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.corpus import corpus
from earshot.world.make import Recipe, make_set

C = TypeVar("C", bound=TrainingConfig)

_SIZE = TinySize(hidden=64, layers=2, vision_hidden=32, vision_layers=1, image_px=56)
_PAIRS = 8
# Of `trl:`, what needs another machine, other files or other programs: left out.
_LEFT_OUT = frozenset(
    {
        *("bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval", "torch_compile", "use_liger_kernel"),
        *("fsdp", "fsdp_config", "deepspeed", "parallelism_config", "accelerator_config", "ddp_backend"),
        *("use_vllm", "use_transformers_continuous_batching", "push_to_hub", "hub_model_id"),
        *("report_to", "num_train_epochs", "generation_batch_size", "steps_per_generation", "optim"),
        *("resume_from_checkpoint", "load_best_model_at_end", "dataloader_num_workers"),
        *("dataloader_prefetch_factor", "dataloader_persistent_workers"),
    }
)
_ONE_STEP = {"max_steps": 1, "gradient_accumulation_steps": 1, "save_strategy": "no", "eval_strategy": "no"}


class Rehearsal(NamedTuple):
    """What a dry run did.

    Attributes:
        changed: The keys it changed and what they became, `trl.max_steps: 1`.
        metrics: What the one step logged.
    """

    changed: list[str]
    metrics: dict[str, Any]


def dry_run(config: C, train: Callable[..., Path]) -> Rehearsal:
    """One step of a configuration in a temporary folder; nothing is written to `config.out`.

    Args:
        config: Any configuration that `train` takes.
        train: `train_sft` or `train_grpo`.

    Raises:
        InputError: What the configuration asks for cannot be done; as in the real run.
    """
    with tempfile.TemporaryDirectory(prefix="earshot-dry-run-") as folder:
        small = shrink(config, Path(folder))
        make_set(Path(small.data.train), Recipe("train"), _PAIRS, workers=1)
        _build_models(small)
        _ask_listener(small)
        run = RunDir(train(small, console=Console(quiet=True)))
        rows = [row for row in read_jsonl(run.metrics_log) if "loss" in row]
    return Rehearsal(_changes(config.model_dump(), small.model_dump(), folder), rows[-1])


def shrink(config: C, folder: Path) -> C:
    """The configuration with everything that needs its models, its data or its machine made small."""
    small = config.model_dump()
    grpo = isinstance(config, GrpoConfig)
    small["out"] = str(folder / "run")
    small["model"] |= {"path": str(folder / "model"), "dtype": "float32", "device": "cpu"}
    small["data"] |= {"train": str(folder / "data"), "max_pairs": None, "tolerate_bad": 0}
    if small["data"]["validation"]:
        small["data"]["validation"] = small["data"]["train"]
    if small["evaluation"]["every_steps"]:
        small["evaluation"] = {"every_steps": 1, "pairs": 2, "samples": 1}
    small["images"] = {k: _SIZE.image_px**2 if isinstance(v, int) else v for k, v in small["images"].items()}
    for name in ("listener", "claims") if grpo else ():
        if small[name]:
            paths = tuple(str(folder / f"{name}-{k}") for k in range(len(small[name]["paths"])))
            small[name] |= {"paths": paths, "dtype": "float32", "device": "cpu"}
    small["trl"] = _one_step(small["trl"], grpo=grpo)
    return type(config).model_validate(small)


def _one_step(table: dict[str, Any], *, grpo: bool) -> dict[str, Any]:
    kept = {k: v for k, v in table.items() if k not in _LEFT_OUT and not k.startswith(("vllm_", "hub_", "fsdp_"))}
    kept |= {**_ONE_STEP, "per_device_train_batch_size": 2}
    if grpo:
        kept |= {"num_generations": 2, "max_completion_length": min(kept.get("max_completion_length", 16), 16)}
    return kept


def _build_models(small: TrainingConfig) -> None:
    words = list(corpus(40))
    build_tiny(small.model.family, words, size=_SIZE).save(Path(small.model.path))
    if isinstance(small, GrpoConfig):
        frozen = [(asked.family, asked.paths) for asked in (small.listener, small.claims) if asked]
        for family, path in ((family, path) for family, paths in frozen for path in paths):
            build_tiny(family, words, size=_SIZE, seed=1).save(Path(path))


def _ask_listener(small: TrainingConfig) -> None:
    """An untrained reasoner writes no trace that anybody would read, so listener and checker are asked here."""
    if not isinstance(small, GrpoConfig):
        return
    from earshot.listener.build import build_checker, build_listener
    from earshot.train.grpo import checker_spec, listener_spec

    pairs = PairSet(Path(small.data.train))
    if small.listener:
        listener = build_listener(listener_spec(small.listener, small.seed))
        ask(listener, [pairs[0], pairs[0], pairs[1]], ["the first shows it .", None, "the second shows it ."])
    if small.claims:
        checker = build_checker(checker_spec(small.claims), with_prior=small.claims.prior_corrected)
        checker.hear([pairs[0], pairs[1]], ["first : left red , clean .", "second : right nothing ."])


def _changes(before: dict[str, Any], after: dict[str, Any], folder: str, prefix: str = "") -> list[str]:
    """Every key whose value is not the configuration's, and what the dry run made of it."""
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict) and prefix == "":
            found += _changes(old, new, folder, f"{name}.")
        elif name not in after:
            found.append(f"{prefix}{name}: left out")
        elif old != new:
            found.append(f"{prefix}{name}: {'made up' if folder in str(new) else new}")
    return found
