"""From a plan to runs: the configuration of every arm and seed, checked before anything is made."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earshot.config import GrpoConfig, SftConfig, build_config, nearest
from earshot.errors import ConfigError, InputError
from earshot.lab.experiment.config import ArmConfig, ExperimentConfig
from earshot.lab.experiment.endpoints import endpoint_names
from earshot.lab.experiment.hashing import Hashes, value_hash

PLAN = "plan:"
# Keys of a configuration that name a model or a pair set.
_SOURCES = {"path", "paths", "train", "validation"}
_CLASSES: dict[str, type[SftConfig | GrpoConfig]] = {"sft": SftConfig, "grpo": GrpoConfig}


@dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    arm: str
    seed: int
    folder: Path
    """Of its record, configuration and logs."""
    trained: Path
    """The folder of the training run."""
    evaluated: Path
    """The folder of its evaluations, one a set."""
    config: SftConfig | GrpoConfig | None
    """None for an arm that trains nothing."""
    model: str
    """What it begins with."""

    @property
    def key(self) -> tuple[str, int]:
        return self.arm, self.seed

    @property
    def kind(self) -> str:
        return "none" if self.config is None else "sft" if isinstance(self.config, SftConfig) else "grpo"


def set_folder(plan: ExperimentConfig, name: str) -> Path:
    """Where the pair set of that name lies."""
    return Path(plan.sets[name]) if name in plan.sets else Path(plan.out) / "data" / name


def model_source(plan: ExperimentConfig, source: str, seed: int) -> str:
    """What `plan:NAME` or `plan:NAME/FOLDER` stands for in a run of that seed; anything else as it is.

    Raises:
        ConfigError: The plan has no such model.
    """
    if not source.startswith(PLAN):
        return source
    name, _, inside = source.removeprefix(PLAN).partition("/")
    if name not in plan.models:
        raise ConfigError(
            f"{source}: the plan has no model '{name}', expected one of {', '.join(plan.models) or 'none'}"
        )
    model = plan.models[name]
    return (copies_of(plan, name)[seed % model.copies] / (inside or model.folder)).as_posix()


def copies_of(plan: ExperimentConfig, name: str) -> list[Path]:
    """The folders of one of the plan's models, one a copy."""
    copies = plan.models[name].copies
    folder = Path(plan.out) / "models"
    return [folder / name] if copies == 1 else [folder / f"{name}-{copy}" for copy in range(copies)]


def models_of(plan: ExperimentConfig, runs: Iterable[Run]) -> dict[Path, list[str]]:
    """The plan's own models that these runs begin with, are paid or are judged by: by folder, where in it they lie."""
    named: set[str] = set()

    def note(key: str, text: str) -> str:
        named.add(text)
        return text

    for run in runs:
        config = {} if run.config is None else run.config.model_dump()
        _changed([run.model, config, _with_models(plan, plan.evaluation.model_dump(), run.seed)], note)
    found = {}
    for folder in (folder for name in plan.models for folder in copies_of(plan, name)):
        inside = [
            Path(text).relative_to(folder).as_posix()
            for text in sorted(named)
            if folder in (Path(text), *Path(text).parents)
        ]
        if inside:
            found[folder] = inside
    return found


def expand(plan: ExperimentConfig, arms: Sequence[str] = (), seeds: Sequence[int] = ()) -> list[Run]:
    """The runs of the chosen arms and seeds, all there are by default, in the plan's order.

    Raises:
        ConfigError: A run's configuration is wrong, an endpoint is unknown, or arms differ in their budget.
        InputError: An arm or a seed is not in the plan.
    """
    check_endpoints(plan)
    check_budgets(plan)
    wanted = _chosen("arm", arms, plan.arms)
    seeds = _chosen("seed", seeds, plan.seeds)
    return [run_of(plan, arm, seed) for arm in wanted for seed in seeds if seed in plan.seeds_of(arm)]


def run_of(plan: ExperimentConfig, arm: str, seed: int) -> Run:
    """One run, its configuration resolved."""
    spec, out = plan.arms[arm], Path(plan.out)
    if plan.flat:
        folder, trained, evaluated = out / "records" / arm, out / arm, out / arm / "eval"
    else:
        folder = out / arm / f"seed-{seed}"
        trained, evaluated = folder / "train", folder / "eval"
    if spec.kind == "none":
        tree = merged(plan.base.common, plan.base.grpo, spec.overrides)
        model = model_source(plan, str(tree.get("model", {}).get("path")), seed)
        return Run(arm, seed, folder, trained, evaluated, None, model)
    tree = _tree(plan, spec, seed) | {"out": trained.as_posix(), "seed": seed}
    config = build_config(_CLASSES[spec.kind], tree, f"arm '{arm}'")
    return Run(arm, seed, folder, trained, evaluated, config, config.model.path)


def _tree(plan: ExperimentConfig, spec: ArmConfig, seed: int) -> dict[str, Any]:
    tree = merged(plan.base.common, getattr(plan.base, spec.kind), spec.overrides)
    for key in ("out", "seed"):
        if key in tree:
            raise ConfigError(f"'{key}' is set by the plan itself; take it out of 'base' and 'overrides'")
    data = {"train": set_folder(plan, plan.train).as_posix(), **(tree.get("data") or {})}
    if "validation" in plan.set_names:
        data.setdefault("validation", set_folder(plan, "validation").as_posix())
    named: dict[str, Any] = _with_models(plan, {**tree, "data": data}, seed)
    return named


def merged(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over one another, the later one on top; null takes out what is below."""
    out: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            if isinstance(value, Mapping):
                below = out.get(key)
                out[key] = merged(below if isinstance(below, Mapping) else {}, value)
            else:
                out[key] = value
    return out


def _with_models(plan: ExperimentConfig, tree: Any, seed: int) -> Any:
    return _changed(tree, lambda key, text: model_source(plan, text, seed))


def _changed(value: Any, change: Callable[[str, str], str], key: str = "") -> Any:
    """A plain value in which every text is changed, by the key that it stands under and itself."""
    if isinstance(value, Mapping):
        return {name: _changed(inner, change, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(inner, change, key) for inner in value]
    return change(key, value) if isinstance(value, str) else value


def _chosen(what: str, wanted: Iterable[Any], known: Iterable[Any]) -> list[Any]:
    known, wanted = list(known), list(dict.fromkeys(wanted))
    for one in wanted:
        if one not in known:
            close = nearest(str(one), map(str, known))
            hint = f", did you mean '{close}'?" if close else ""
            raise InputError(f"the plan has no {what} '{one}'{hint}; expected some of {', '.join(map(str, known))}")
    return [one for one in known if one in wanted] if wanted else known


def check_endpoints(plan: ExperimentConfig) -> None:
    """Refuses a primary endpoint that no evaluation of this plan measures."""
    known = endpoint_names(plan.evaluation.listeners)
    for number, one in enumerate(plan.primary):
        for name in (one.endpoint, one.others):
            if name not in known:
                close = nearest(name, known)
                hint = f"; the nearest known one is '{close}'" if close else ""
                raise ConfigError(f"primary.{number}: no endpoint '{name}'{hint}")


def check_budgets(plan: ExperimentConfig) -> None:
    """Refuses arms that begin with another model, see other pairs, or take more steps or rollouts than the first.

    A comparison of unequal budgets shows the budget.

    Raises:
        ConfigError: Two arms differ.
    """
    first: dict[str, tuple[str, Any]] = {}
    for name, spec in plan.arms.items():
        if spec.kind == "none":
            continue
        for key, value in _budget(plan, name, spec).items():
            arm, expected = first.setdefault(key, (name, value))
            if value != expected:
                raise ConfigError(f"arms.{name}: {key} is {value}, but {expected} in '{arm}'; make them equal")


def _budget(plan: ExperimentConfig, name: str, spec: ArmConfig) -> dict[str, Any]:
    config = build_config(_CLASSES[spec.kind], _tree(plan, spec, 0) | {"out": "unused"}, f"arm '{name}'")
    trl = config.trl
    rows = trl.get("per_device_train_batch_size", 8) * trl.get("gradient_accumulation_steps", 1)
    budget = {
        "the model it begins with": config.model.path,
        "data": (config.data.train, config.data.max_pairs),
        "trl.max_steps": trl.get("max_steps"),
        "pairs a step": rows,
    }
    if isinstance(config, GrpoConfig):
        budget |= {"pairs a step": rows / trl.get("num_generations", 8), "rollouts a step": rows}
    return budget


def recipe(plan: ExperimentConfig, run: Run) -> str:
    """A hash of all that a run's results are to depend on, the same on every machine.

    What the plan makes by itself stands in it by the command that makes it, and not by its content: weights that are
    trained anew differ in rounding. Models from elsewhere stand by content. Defaults do not stand in it, so that
    another version with one more option knows the run again; the commit that a run was made with is recorded beside it.
    """
    hashes, out = Hashes(), Path(plan.out).as_posix()
    begins = {} if run.config is None else run.config.model_dump(exclude_defaults=True)
    begins.pop("out", None)
    tree = _changed(
        {
            "kind": run.kind,
            "seed": run.seed,
            "model": run.model,
            "after": None,  # no arm begins with another's model any more; recorded recipes have the key
            "config": begins,
            "evaluation": _with_models(plan, plan.evaluation.model_dump(exclude_defaults=True), run.seed),
            "world": None if plan.world is None else plan.world.model_dump(exclude_defaults=True),
        },
        lambda key, text: "{out}" + text.removeprefix(out) if f"{text}/".startswith(f"{out}/") else hashes.of(text),
    )
    made = {folder.name for folder in models_of(plan, [run])}
    used = {
        name: model.model_dump(exclude={"copies"} if model.copies == 1 else None)
        for name, model in plan.models.items()
        if any(folder.name in made for folder in copies_of(plan, name))
    }
    return value_hash({**tree, "models": used})


def config_inputs(run: Run, hashes: Hashes) -> dict[str, Any]:
    """What a training run depends on: its configuration, with models and pair sets by content and not by name."""
    if run.config is None:
        return {}
    tree = run.config.model_dump()
    tree.pop("out")
    identified = _changed(tree, lambda key, text: hashes.of(text) if key in _SOURCES else text)
    return {"kind": run.kind, **identified}
