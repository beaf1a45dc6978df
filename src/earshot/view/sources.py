"""Where the rows of the given runs lie: predictions of their evaluations, rollouts of their training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earshot.errors import InputError
from earshot.predictions.run import config_of, evaluations_of
from earshot.rundir import RunDir, names_of_runs


@dataclass(frozen=True, slots=True)
class Source:
    """One file of predictions, or one folder of rollouts."""

    run: str
    name: str
    """The set that was judged, or `rollouts`."""
    path: Path
    """The folder of an evaluation, or of the rollouts."""
    data: Path | None
    """The pair set that the rows are of; None where the run does not say."""
    listeners: tuple[str, ...] = ()
    """Who was asked, as far as the settings say; the rows may name more."""
    weights: Mapping[str, Any] = field(default_factory=dict)
    """What the parts of a reward count for, as the configuration says."""


@dataclass(frozen=True, slots=True)
class Sources:
    """All there is to show."""

    judged: tuple[Source, ...]
    rollouts: tuple[Source, ...]


def find_sources(paths: Sequence[Path]) -> Sources:
    """The predictions and rollouts in run directories; an evaluation's own folder is one too.

    A run is named by its folder, and by more of its path where two folders have the same name.

    Raises:
        InputError: No path was given, one holds no run, or one has neither predictions nor rollouts yet.
    """
    if not paths:
        raise InputError("view was asked of no run, expected at least one run directory")
    judged, rollouts = [], []
    for path, name in zip(paths, names_of_runs(paths), strict=True):
        found = _judged(path, name)
        trained = _rollouts(path, name)
        if not found and not trained:
            raise _nothing_in(path)
        judged += found
        rollouts += trained
    return Sources(tuple(judged), tuple(rollouts))


def _nothing_in(path: Path) -> InputError:
    if not path.is_dir():
        return InputError(f"{path}: is no folder, expected a run directory; check the path")
    model = path / "model" if (path / "model").is_dir() else "MODEL"
    return InputError(
        f"{path}: holds no predictions.jsonl, here or in eval/*/, and no rollouts/*.parquet, expected either; "
        f"'earshot eval --model {model} --data PAIRS --out {path / 'eval' / 'NAME'}' makes predictions"
    )


def _judged(path: Path, run: str) -> list[Source]:
    return [
        Source(run, one.set_name, one.folder, one.data_folder, one.listeners)
        for one in evaluations_of(path, run, strict=False)
        if one.files()
    ]


def _rollouts(path: Path, run: str) -> list[Source]:
    folder = RunDir(path).rollouts
    if not any(folder.glob("*.parquet")):
        return []
    config = config_of(path)
    rewards = config.get("rewards")
    weights = rewards if isinstance(rewards, Mapping) else {}
    return [Source(run, "rollouts", folder, _training_set(path, config), ("listener",), weights)]


def _training_set(path: Path, config: Mapping[str, Any]) -> Path | None:
    """The pair set of a training run, found from the run's folder, so that both can be moved together.

    A configuration names both relative to where training was started, which is not kept.
    """
    data = config.get("data")
    train, out = (data.get("train") if isinstance(data, Mapping) else None), config.get("out")
    if not isinstance(train, str) or not isinstance(out, str):
        return None
    if Path(train).is_absolute() or Path(out).is_absolute():
        return Path(train).resolve()
    return (path / os.path.relpath(train, out)).resolve()
