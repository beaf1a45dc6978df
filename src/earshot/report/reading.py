"""A run directory as a report needs it: what was run, its training curves, its evaluations."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from earshot.errors import DataError, InputError
from earshot.predictions.rollout import Paid, mean_parts
from earshot.predictions.run import Evaluation, config_of, evaluations_of, read_object
from earshot.rundir import RunDir, names_of_runs, read_jsonl


class Curve(NamedTuple):
    """A logged quantity over training; steps where it was not logged are left out."""

    steps: Float[np.ndarray, " s"]
    values: Float[np.ndarray, " s"]


@dataclass(frozen=True)
class RunReading:
    """One run directory."""

    name: str
    config: str
    environment: Mapping[str, Any]
    curves: Mapping[str, Curve]
    evaluations: Sequence[Evaluation]
    n_rollouts: int
    """Completions that training sampled and kept."""
    path: Path

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The run's configuration."""
        return config_of(self.path)

    @cached_property
    def paid(self) -> Paid | None:
        """What the completions of the last step that was kept were paid; None where none was."""
        files = sorted(RunDir(self.path).rollouts.glob("step-*.parquet"))
        weights = self.settings.get("rewards")
        return mean_parts(files[-1], weights if isinstance(weights, Mapping) else {}) if files else None

    @property
    def steps(self) -> int:
        """The last training step that was logged; 0 where nothing was trained."""
        return max((int(curve.steps[-1]) for curve in self.curves.values() if curve.steps.size), default=0)

    @property
    def mean_step_seconds(self) -> float | None:
        curve = self.curves.get("step_seconds")
        return float(curve.values.mean()) if curve is not None and curve.values.size else None


def read_runs(paths: Sequence[Path]) -> list[RunReading]:
    """Every run, named by its folder, and by more of its path where two folders have the same name.

    Raises:
        InputError: No path was given, or one holds neither a run nor an evaluation.
        DataError: A file of a run does not hold what it should.
    """
    if not paths:
        raise InputError("a report was asked of no run, expected at least one run directory")
    paths = list({path.resolve(): path for path in paths}.values())
    return [read_run(path, name=name) for path, name in zip(paths, names_of_runs(paths), strict=True)]


def read_run(path: Path, *, name: str) -> RunReading:
    """One run directory; its own metrics.json, and those of `eval/<set>/`, are its evaluations."""
    run = RunDir(path)
    evaluations = [one for one in evaluations_of(path, name) if one.metrics]
    if not run.exists() and not evaluations:
        raise InputError(f"{path}: holds no run, expected config.yaml, metrics.jsonl or metrics.json; check the path")
    return RunReading(
        name=name,
        config=run.config.read_text(encoding="utf-8", errors="replace") if run.config.exists() else "",
        environment=_environment(run.evaluations()),
        curves=read_curves(run.metrics_log) if run.metrics_log.exists() else {},
        evaluations=evaluations,
        n_rollouts=_count_rollouts(run.rollouts),
        path=path.resolve(),
    )


def _environment(folders: Sequence[RunDir]) -> dict[str, Any]:
    """What the run was made with; where it was only judged, what the first evaluation was."""
    return next((read_object(folder.environment) for folder in folders if folder.environment.exists()), {})


def _count_rollouts(folder: Path) -> int:
    """Rows of the rollout files, from their footers."""
    try:
        return sum(pq.read_metadata(file).num_rows for file in sorted(folder.glob("*.parquet")))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{folder}: a rollout file cannot be read ({error}), expected parquet; remove it") from error


def read_curves(path: Path) -> dict[str, Curve]:
    """The numbers of metrics.jsonl by name, read in a stream.

    A resumed run logs again the steps after its checkpoint: the later row of a step counts.
    """
    columns: dict[str, tuple[array[float], array[float]]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        step = row.get("step")
        if not isinstance(step, int | float) or not math.isfinite(step):
            raise DataError(f"{path}:{number}: step is {step!r}, expected a number; remove the line")
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float) and math.isfinite(value):
                steps, values = columns.setdefault(key, (array("d"), array("d")))
                steps.append(step)
                values.append(value)
    return {key: _last_of_each_step(np.array(steps), np.array(values)) for key, (steps, values) in columns.items()}


def _last_of_each_step(steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> Curve:
    distinct, last = np.unique(steps[::-1], return_index=True)
    return Curve(distinct, values[::-1][last])
