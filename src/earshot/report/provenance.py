"""What was run: models with hashes, data with licence and revision, versions, seeds and cost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from earshot.data.rows import read_info
from earshot.errors import EarshotError
from earshot.metrics import read_estimate
from earshot.predictions.run import Evaluation, Run, mapping

HASH_DIGITS = 12
"""Of a SHA-256 in a table; the settings below it have the whole."""
VERSIONS = ("earshot", "torch", "transformers", "trl", "numpy")


class Fact(NamedTuple):
    """Something to know of every run; a dash where it is not known."""

    label: str
    values: list[str]


class DataFact(NamedTuple):
    """A pair set that the runs used."""

    role: str
    name: str
    what: str
    licence: str
    version: str
    pairs: str
    note: str


def run_facts(runs: Sequence[Run]) -> list[Fact]:
    """What can be said of the runs, each fact that at least one of them tells."""
    readers: dict[str, Callable[[Run], str]] = {
        "starting model": _starting_model,
        "listeners in the reward": partial(_trained_with, paid=True),
        "measured, not paid": partial(_trained_with, paid=False),
        "judged model": _judged_model,
        "listeners asked": _asked_listeners,
        "seed": _seeds,
        "training": _training,
        "training time": _training_time,
        "training volume": _training_volume,
        "judging": _judging,
        "commit": lambda run: str(run.environment.get("commit") or "")[:12],
        "versions": _versions,
        "machine": _machine,
        "begun": lambda run: str(run.environment.get("time") or ""),
    }
    facts = [Fact(label, [read(run) or "–" for run in runs]) for label, read in readers.items()]
    return [fact for fact in facts if any(value != "–" for value in fact.values)]


def data_facts(runs: Sequence[Run]) -> list[DataFact]:
    """The pair sets that were judged and trained on, each once."""
    facts = [_training_data(run) for run in runs]
    facts += [_judged_data(evaluation) for run in runs for evaluation in run.measured]
    return list(dict.fromkeys(fact for fact in facts if fact is not None))


def describe_data(info: Mapping[str, Any]) -> tuple[str, str, str]:
    """What a pair set is, its licence, and by what it can be found again, from its dataset.json."""
    what = str(info.get("title") or info.get("name") or info.get("source") or "–")
    if origin := info.get("origin"):
        what += f", {origin}"
    files = [info.get("annotations")] if info.get("annotations") else info.get("shards") or []
    hashes = [str(f.get("sha256") or f.get("footer_sha256")) for f in files if isinstance(f, Mapping)]
    parts = [f"{key} {info[key]}" for key in ("revision", "split", "set", "seed") if info.get(key) is not None]
    parts += [f"sides shuffled with seed {info['shuffle_seed']}"] if info.get("shuffle_seed") is not None else []
    parts += [f"SHA-256 {h[:HASH_DIGITS]}" for h in hashes[:1]]
    parts += [f"and of {len(hashes) - 1} more files"] if len(hashes) > 1 else []
    return what, str(info.get("licence") or "–"), ", ".join(parts) or "–"


def _judged_data(evaluation: Evaluation) -> DataFact:
    what, licence, version = describe_data(evaluation.info)
    metrics = evaluation.metrics
    counts = [f"{metrics[key]:,} {word}" for key, word in (("n_pairs", "pairs"), ("n_prompts", "prompts"))
              if isinstance(metrics.get(key), int)]  # fmt: skip
    note = "" if evaluation.info else "its dataset.json is not at hand"
    return DataFact("judged", evaluation.set_name, what, licence, version, ", ".join(counts) or "–", note)


def _training_data(run: Run) -> DataFact | None:
    train = mapping(run.settings.get("data")).get("train")
    if not isinstance(train, str):
        return None
    info = mapping(mapping(run.environment.get("sets")).get("train"))  # as it was when it was trained on
    with suppress(EarshotError, OSError, ValueError):
        info = info or read_info(run.training_set or Path(train)) or read_info(Path(train))
    what, licence, version = describe_data(info)
    if rows := mapping(run.environment.get("data")).get("train"):
        version = ", ".join([*([version] if version != "–" else []), f"rows {str(rows)[:HASH_DIGITS]}"])
    counts = mapping(info.get("counts"))
    pairs = f"{counts['pairs']:,} pairs" if isinstance(counts.get("pairs"), int) else "–"
    note = "" if info else "its dataset.json is not at hand"
    return DataFact("trained on", Path(train).name, what if info else Path(train).name, licence, version, pairs, note)


def _starting_model(run: Run) -> str:
    reasoner = mapping(run.environment.get("models")).get("reasoner")
    model = mapping(run.settings.get("model"))
    name = str(model.get("path") or mapping(reasoner).get("name") or "")
    return _with_hash(name, mapping(reasoner).get("sha256"))


def _trained_with(run: Run, *, paid: bool) -> str:
    """The listeners and checkers that the reward was made with, or those that it counted for nothing."""
    told = {"listener": "", "claims": "checks claims: "}
    found = []
    for key, model in mapping(run.environment.get("models")).items():
        kind, colon, name = str(key).partition(":")
        weight = run.weights.get(kind)
        if colon and kind in told and (weight != 0) == paid:
            counts = f", weight {weight:g}" if weight and isinstance(weight, int | float) else ""
            if weights := mapping(model).get("weights"):  # it has none of its own
                name = f"{name} ({weights})"
            found.append(told[kind] + _with_hash(name, mapping(model).get("sha256")) + counts)
    return "; ".join(found)


def _judged_model(run: Run) -> str:
    found = [(e, mapping(mapping(e.settings.get("models")).get("model"))) for e in run.measured]
    return "; ".join(dict.fromkeys(_with_hash(_source(e, m), m.get("sha256")) for e, m in found if m))


def _source(evaluation: Evaluation, model: Mapping[str, Any]) -> str:
    """Where a model is from; of a folder that is told relative to the evaluation, the last two names."""
    source = str(model.get("source") or "")
    return "/".join(Path(os.path.normpath(evaluation.folder / source)).parts[-2:]) if source.startswith(".") else source


def _asked_listeners(run: Run) -> str:
    told = []
    for evaluation in run.measured:
        models = mapping(evaluation.settings.get("models"))
        for name in evaluation.settings.get("listeners") or []:
            model = mapping(models.get(name))
            source = _source(evaluation, model)
            told.append(_with_hash(name if source in ("", name) else f"{name} = {source}", model.get("sha256")))
    return "; ".join(dict.fromkeys(told))


def _seeds(run: Run) -> str:
    training = run.environment.get("seed", run.settings.get("seed"))
    judging = dict.fromkeys(str(e.settings["seed"]) for e in run.measured if "seed" in e.settings)
    parts = [] if training is None else [f"training {training}"]
    return ", ".join([*parts, *([f"judging {' and '.join(judging)}"] if judging else [])])


def _training(run: Run) -> str:
    return f"{run.steps:,} steps" if run.steps else ""


def _training_time(run: Run) -> str:
    curve = run.curves.get("step_seconds")
    if curve is None or not curve.values.size:
        return ""
    return f"{duration(float(curve.values.sum()))}, {run.mean_step_seconds:.3g} s a step"


def _training_volume(run: Run) -> str:
    parts = [f"{run.n_rollouts:,} completions"] if run.n_rollouts else []
    tokens = run.curves.get("trl/num_tokens")
    if tokens is not None and tokens.values.size:
        parts.append(f"{int(tokens.values.max()):,} tokens")
    return ", ".join(parts)


def _judging(run: Run) -> str:
    """Completions and their words. How long judging took is in no file of a run."""
    samples = sum(e.metrics.get("n_samples") or 0 for e in run.measured)
    words = sum((read_estimate(e.metrics, "trace_length").value or 0.0) * read_estimate(e.metrics, "trace_length").n
                for e in run.measured)  # fmt: skip
    return f"{samples:,} completions, about {round(words, -2):,.0f} words; time not recorded" if samples else ""


def _versions(run: Run) -> str:
    packages = mapping(run.environment.get("packages"))
    python = run.environment.get("python")
    parts = [f"Python {python}"] if python else []
    return ", ".join(parts + [f"{name} {packages[name]}" for name in VERSIONS if name in packages])


def _machine(run: Run) -> str:
    cores = run.environment.get("cpu_count")
    parts = [str(run.environment.get("platform") or ""), f"{cores} cores" if cores else ""]
    hardware = run.environment.get("hardware")
    parts += [] if hardware is None else [json.dumps(hardware, ensure_ascii=False)]
    return ", ".join(part for part in parts if part)


def duration(seconds: float) -> str:
    """`48 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _with_hash(name: str, digest: object) -> str:
    return f"{name} ({str(digest)[:HASH_DIGITS]})" if digest else name
