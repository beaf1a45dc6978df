"""`--dry-run`: one step of a configuration, on small models of its own families and on its own first pairs.

Each model is made from the config of the configured one, few layers and narrow, with its own tokenizer, processor and
prompts; the policy is taught to write well-formed completions, so that listener and checker are asked and gradients
flow. What could not be looked at is said, and so is what stood in for it. A step that exercised nothing is an error.

It cannot show what the real weights do, nor that what this machine lacks (GPUs, vLLM, DeepSpeed) works there.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console
from trl import GRPOConfig as TrlGrpoConfig
from trl import SFTConfig as TrlSftConfig

from earshot.config import SELF, GrpoConfig, TrainingConfig
from earshot.data.pairset import PairSet
from earshot.errors import ModelOutOfReach, RehearsalFailed, TrainingAborted
from earshot.files import read_jsonl
from earshot.predictions.rollout import read_rollouts
from earshot.protocol import PromptSet, prompt_set
from earshot.remote import is_address
from earshot.rundir import RunDir
from earshot.train.footprint import footprint
from earshot.train.run import (
    load_model,
    lora_config,
    trl_arguments,
    trl_decisions,
    trl_defaults,
    without_known_warnings,
)
from earshot.train.small_policy import completions_of, teach
from earshot.vlm import Vlm, load
from earshot.vlm.shrink import small_model
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.corpus import corpus
from earshot.world.make import Recipe, make_set

C = TypeVar("C", bound=TrainingConfig)

STAND_IN = "qwen2_5_vl"  # the reference family (METHOD)
_STAND_IN_SIZE = TinySize(hidden=64, layers=2, vision_hidden=32, vision_layers=1, image_px=56)
_SMALL_ENOUGH = 10_000_000  # weights of a model that is used as it is
_PAIRS = 4
_GROUP = 8  # completions of a pair: all for one side in 1 of 128
_LARGEST_PX = 512 * 512  # small models see larger images too, but the whole takes minutes then
# Of `trl:`, what needs another machine, other files or other programs: left out.
_LEFT_OUT = frozenset(
    {
        *("bf16", "fp16", "tf32", "bf16_full_eval", "fp16_full_eval", "torch_compile", "use_liger_kernel"),
        *("fsdp", "fsdp_config", "deepspeed", "parallelism_config", "accelerator_config", "ddp_backend"),
        *("use_vllm", "use_transformers_continuous_batching", "push_to_hub", "hub_model_id"),
        *("report_to", "num_train_epochs", "generation_batch_size", "steps_per_generation", "optim"),
        *("resume_from_checkpoint", "load_best_model_at_end", "dataloader_num_workers"),
        *("dataloader_prefetch_factor", "dataloader_persistent_workers", "logging_steps", "logging_strategy"),
    }
)
_SHOWN = ("loss", "grad_norm", "reward", "reward_std", "malformed", "rewards_missing")
_NOT_SHOWN = (
    "what the real weights write, and their speed; whether what was left out works on the machine of the run (GPUs, "
    "bfloat16, vLLM, several processes); pairs after the first ones (earshot data check looks at all)"
)
_ONE_STEP = {"max_steps": 1, "gradient_accumulation_steps": 1, "save_strategy": "no", "eval_strategy": "no"}


class Rehearsal(NamedTuple):
    """What a dry run did.

    Attributes:
        told: What was rehearsed of each model and set, and what stood in for what could not be looked at.
        missing: The models and sets that others stood in for.
        changed: The keys it changed and what they became, `trl.max_steps: 1`.
        metrics: What the one step logged.
        memory: What the real models need, and what that rests on.
    """

    told: list[str]
    missing: list[str]
    changed: list[str]
    metrics: dict[str, Any]
    memory: list[str]


class Cast(NamedTuple):
    """Who plays a configured model in the rehearsal.

    Attributes:
        number: One for each distinct model; 0 is the reasoner, which is taught.
        role: The key that names it, such as `listener`.
        path: What the key names.
        asked: The prompt set that is configured for it, if any.
        real: The configured model without its weights; None where it could not be looked at.
        vlm: Who plays it.
        words: What there is to say of that.
    """

    number: int
    role: str
    path: str
    asked: str | None
    real: Vlm | None
    vlm: Vlm
    words: str

    def folder(self, within: Path) -> Path:
        """Where its player lies, under the name that messages give it."""
        return within / "models" / str(self.number) / self.vlm.name


@without_known_warnings()
def dry_run(config: C, train: Callable[..., Path]) -> Rehearsal:
    """One step of a configuration in a temporary folder; nothing is written to `config.out`.

    Args:
        config: Any configuration that `train` takes.
        train: `train_sft` or `train_grpo`.

    Raises:
        InputError: What the configuration asks for cannot be done; as in the real run.
        RehearsalFailed: The step was done and exercised nothing: rewards are missing or equal, or no gradient flowed.
    """
    with tempfile.TemporaryDirectory(prefix="earshot-dry-run-") as name:
        folder = Path(name)
        cast = cast_of(config)
        small = shrink(config, folder, cast)
        _check_keys(small)
        missing = [one.path for one in cast if one.real is None]
        missing += [old for _, old, new in _sets(config, small) if old != new]
        told = _told_of_models(cast) + _make_data(config, small, folder)
        if isinstance(config, GrpoConfig) and config.listener and SELF in config.listener.paths:
            told.append("listener: self: the policy, as it is at each step")
        for one in cast:
            one.vlm.save(one.folder(folder))
        if isinstance(config, GrpoConfig):
            told.append(_teach(small))
        with suppress(TrainingAborted):  # what was not exercised is told below, in more words
            train(small, console=Console(quiet=True))
        run = RunDir(Path(small.out))
        metrics = [row for row in read_jsonl(run.metrics_log) if "loss" in row][-1]
        if isinstance(config, GrpoConfig):
            _check_rewards(config, read_rollouts(run.rollouts.glob("*.parquet")))
        _check_gradient(metrics)
        changed = _changes(config.model_dump(), small.model_dump(), name)
    return Rehearsal(
        told,
        [*dict.fromkeys(missing)],
        changed,
        metrics,
        footprint(config, [(one.role, one.path, one.real) for one in cast]),
    )


def cast_of(config: TrainingConfig) -> list[Cast]:
    """Who plays each of a configuration's models, the reasoner first; a frozen one that is named twice is one."""
    cast = [_cast(0, "model", config.model.path, config.model.prompts, prompt_set("standard"))]
    for role in ("listener", "claims") if isinstance(config, GrpoConfig) else ():
        asked = getattr(config, role)
        for path in asked.paths if asked else ():
            if path == SELF:
                continue
            other = prompt_set("standard") if is_address(path) else cast[0].vlm.prompts
            known = next((one for one in cast[1:] if (one.path, one.asked) == (path, asked.prompts)), None)
            cast.append(known._replace(role=role) if known else _cast(len(cast), role, path, asked.prompts, other))
    return cast


def _cast(number: int, role: str, path: str, asked: str | None, other: PromptSet) -> Cast:
    """Who plays one model; a stand-in of which nothing is `asked` is so in `other`, and the number is its seed."""
    try:
        if is_address(path):
            raise ModelOutOfReach("a server is not asked")
        real = load(path, device="cpu", weights=False).asked(asked)
    except ModelOutOfReach as error:
        prompts = other if asked is None else prompt_set(asked)
        answers = (prompts.claims.yes, prompts.claims.no)
        texts = [*corpus(40), *[" ".join(("", *answers))] * 40]  # each answer becomes one token
        tiny = build_tiny(STAND_IN, texts, size=_STAND_IN_SIZE, seed=number)
        told = f"NOT REHEARSED ({error}); a tiny {STAND_IN} stands in, which says nothing of its family"
        return Cast(number, role, path, asked, None, tiny.asked(prompts), told)
    kind = real.model.config.model_type
    if real.model.num_parameters() <= _SMALL_ENOUGH:
        vlm = load(path, dtype="float32", device="cpu").asked(asked)
        return Cast(number, role, path, asked, real, vlm, f"{kind}, small enough to be used as it is")
    vlm = small_model(real, number)
    words = (
        f"{kind}, made small from its own config ({vlm.model.num_parameters() / 1e6:.1f} million random weights for "
        f"{real.model.num_parameters() / 1e6:,.0f}); tokenizer, processor and prompts are its own"
    )
    return Cast(number, role, path, asked, real, vlm, words)


def shrink(config: C, folder: Path, cast: Sequence[Cast]) -> C:
    """The configuration with everything that needs its models or its machine made small."""
    small = config.model_dump()
    reasoner = cast[0].vlm
    small["out"] = str(folder / "run")
    small["model"] |= {"path": str(cast[0].folder(folder)), "dtype": "float32", "device": "cpu", "prompts": None}
    small["data"]["max_pairs"] = min(_PAIRS, config.data.max_pairs or _PAIRS)
    for key in ("train", "validation"):
        if small["data"][key] and not Path(small["data"][key]).exists():
            small["data"][key] = str(folder / "data")
    if small["evaluation"]["every_steps"]:
        small["evaluation"] = {"every_steps": 1, "pairs": 2, "samples": 1}
    limit = config.images.max_pixels or reasoner.sight.max_pixels
    if limit is None or limit > _LARGEST_PX:
        small["images"]["max_pixels"] = _LARGEST_PX
        small["images"]["min_pixels"] = config.images.min_pixels and min(config.images.min_pixels, _LARGEST_PX)
    if isinstance(config, GrpoConfig):
        small["sampling"]["engine"] = "local"
    for role in ("listener", "claims") if isinstance(config, GrpoConfig) else ():
        if small[role]:
            paths = tuple(str(one.folder(folder)) for one in cast if one.role == role)
            small[role] |= {"paths": paths, "dtype": "float32", "device": "cpu", "prompts": None}
            if SELF in getattr(config, role).paths:
                small[role] |= {"paths": (SELF, *paths), "dtype": "auto", "device": "auto"}
    small["trl"] = _one_step(small["trl"], completion=_tokens(reasoner) if isinstance(config, GrpoConfig) else None)
    return type(config).model_validate(small)


def _tokens(vlm: Vlm) -> int:
    """Room for a well-formed completion, and a few tokens for one that goes another way."""
    return max(map(len, completions_of(vlm))) + 8


def _one_step(table: Mapping[str, Any], *, completion: int | None) -> dict[str, Any]:
    kept = {k: v for k, v in table.items() if k not in _LEFT_OUT and not k.startswith(("vllm_", "hub_", "fsdp_"))}
    kept |= {**_ONE_STEP, "per_device_train_batch_size": 2}
    if kept.get("max_grad_norm") == 0:
        kept["max_grad_norm"] = 1.0  # or no norm is logged
    if completion is not None:
        kept |= {"num_generations": _GROUP, "max_completion_length": completion}
        kept["per_device_train_batch_size"] *= _GROUP
    return kept


def _check_keys(small: TrainingConfig) -> None:
    """Refuses what TRL and peft would refuse, before a model is taught.

    Raises:
        ConfigError: An unknown key, or a value that cannot be.
    """
    kind = TrlGrpoConfig if isinstance(small, GrpoConfig) else TrlSftConfig
    trl_arguments(kind, small.trl, trl_decisions(small), trl_defaults(small.model))
    lora_config(small.lora)


def _told_of_models(cast: Sequence[Cast]) -> list[str]:
    roles: dict[tuple[str, str], list[str]] = {}
    for one in cast:
        roles.setdefault((one.path, one.words), []).append(one.role)
    return [f"{', '.join(dict.fromkeys(who))}: {path}: {words}" for (path, words), who in roles.items()]


def _sets(config: TrainingConfig, small: TrainingConfig) -> list[tuple[str, str, str]]:
    """The keys of the pair sets that the step needs, each with the set as it is configured and as it is rehearsed."""
    found = [("data.train", config.data.train, small.data.train)]
    if config.evaluation.every_steps and config.data.validation and small.data.validation:
        found.append(("data.validation", config.data.validation, small.data.validation))
    return found


def _make_data(config: TrainingConfig, small: TrainingConfig, folder: Path) -> list[str]:
    """Makes pairs of the world where a configured set is not there, and says which pairs are used."""
    sets = _sets(config, small)
    if any(old != new for _, old, new in sets):
        make_set(folder / "data", Recipe("train"), 2 * _PAIRS, workers=1)
    return [
        f"{key}: {old}: "
        + ("its first pairs" if old == new else "NOT REHEARSED (no such folder); pairs of the synthetic world stand in")
        for key, old, new in sets
    ]


def _teach(small: TrainingConfig) -> str:
    vlm = load_model(small)
    pairs = PairSet(Path(small.data.train), tolerate=small.data.tolerate_bad, roots=small.data.roots)
    lessons = teach(vlm, [pairs[k] for k in range(min(_PAIRS, len(pairs)))])
    vlm.save(Path(small.model.path))
    return f"policy: taught in {lessons} lessons to write a well-formed completion about these pairs, for either side"


def _check_rewards(config: GrpoConfig, rows: Sequence[Mapping[str, Any]]) -> None:
    """Sees that what the policy wrote was read by everybody who is to read it, and paid differently.

    Raises:
        RehearsalFailed: It was not.
    """
    formed = [row for row in rows if row["malformed"] is None]
    if not formed:
        raise RehearsalFailed(
            f"dry run: none of {len(rows)} completions is well formed, the first is {rows[0]['malformed']}: "
            f"{rows[0]['completion'][:80]!r}; nobody was asked about any"
        )
    labelled = [row for row in formed if row["votes_first"] != row["votes_second"]]  # of a tie, no reward is made
    if not labelled:
        raise RehearsalFailed("dry run: the pairs that were drawn are ties, for which nobody is paid; try seed=1")
    asked = {"reward_listener": config.listener, "reward_claims": config.claims}
    for part in ("reward", "reward_accuracy", *(name for name, who in asked.items() if who)):
        if missing := [row for row in labelled if row[part] is None or not math.isfinite(row[part])]:
            raise RehearsalFailed(f"dry run: {part} is missing for {len(missing)} of {len(labelled)} completions")
    rewards: dict[str, set[float]] = {}
    for row in rows:
        rewards.setdefault(row["pair_id"], set()).add(row["reward"])
    if all(len(different) == 1 for different in rewards.values()):
        raise RehearsalFailed(
            f"dry run: all completions of a pair earned the same ({rewards}), so that none has an advantage; try seed=1"
        )


def _check_gradient(metrics: Mapping[str, Any]) -> None:
    """Sees that the step had a finite loss and a gradient.

    Raises:
        RehearsalFailed: It had not.
    """
    loss, norm = metrics["loss"], metrics.get("grad_norm")  # the log has None for what is not finite
    if loss is None or not norm or metrics["bad_steps"]:
        raise RehearsalFailed(f"dry run: the step's loss is {loss} and its gradient's norm {norm}: nothing is learned")


def _changes(before: dict[str, Any], after: dict[str, Any], folder: str, prefix: str = "") -> list[str]:
    """Every key whose value is not the configuration's, and what the dry run made of it."""
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict) and prefix == "":
            found += _changes(old, new, folder, f"{name}.")
        elif name not in after:
            found.append(f"{prefix}{name}: left out")
        elif old != new and folder not in str(new):  # what lies in the folder is told by its role
            found.append(f"{prefix}{name}: {new}")
    return found


def told_of(done: Rehearsal) -> list[str]:
    """A rehearsal in lines, for people."""
    numbers = [
        f"{name} {value:.3g}"
        for name, value in done.metrics.items()
        if isinstance(value, float | int) and (name in _SHOWN or name.startswith(("reward/", "listener/", "claims/")))
    ]
    without = f", WITHOUT {', '.join(done.missing)}, for which others stood in" if done.missing else ""
    return [
        "Rehearsed:",
        *(f"  {line}" for line in done.told),
        "Changed for it:",
        *(f"  {line}" for line in done.changed),
        "The step logged:",
        f"  {', '.join(numbers)}",
        "Memory of the real run:",
        *(f"  {line}" for line in done.memory),
        f"Not shown: {_NOT_SHOWN}",
        f"dry run: one step done{without}; nothing was kept",
    ]
