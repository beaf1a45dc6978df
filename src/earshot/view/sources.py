"""Where the rows of the given runs lie: predictions of their evaluations, rollouts of their training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earshot.errors import InputError
from earshot.predictions.run import read_runs
from earshot.rundir import RunDir


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
    judged, rollouts = [], []
    for run in read_runs(paths, who="view", strict=False):
        found = [
            Source(run.name, one.set_name, one.folder, one.data_folder, one.listeners)
            for one in run.evaluations
            if one.files()
        ]
        if not found and not run.rollout_files:
            raise _nothing_in(run.path)
        judged += found
        if run.rollout_files:
            folder = RunDir(run.path).rollouts
            rollouts.append(Source(run.name, "rollouts", folder, run.training_set, ("listener",), run.weights))
    return Sources(tuple(judged), tuple(rollouts))


def _nothing_in(path: Path) -> InputError:
    if not path.is_dir():
        return InputError(f"{path}: is no folder, expected a run directory; check the path")
    model = path / "model" if (path / "model").is_dir() else "MODEL"
    return InputError(
        f"{path}: holds no predictions.jsonl, here or in eval/*/, and no rollouts/*.parquet, expected either; "
        f"'earshot eval --model {model} --data PAIRS --out {path / 'eval' / 'NAME'}' makes predictions"
    )
