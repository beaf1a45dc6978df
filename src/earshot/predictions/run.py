"""The one reader of a run directory: what was run, its training curves, its rollouts, and the sets that it judged."""

from __future__ import annotations

import math
import os
import shlex
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from earshot.config import parse_yaml
from earshot.config.loading import MAX_BYTES
from earshot.data.rows import read_info
from earshot.errors import DataError, InputError
from earshot.files import TEMPORARY_PREFIX, read_json_object, read_jsonl, read_regular
from earshot.predictions.overoptimised import Overoptimised, read_overoptimised
from earshot.predictions.people import People
from earshot.predictions.rollout import Paid, mean_parts
from earshot.predictions.table import PredictionTable
from earshot.rundir import RunDir, names_of_runs

Row = Mapping[str, Any]

_MOST_FOLDERS = 2000  # that are looked into for runs
_MOST_TOGETHER = 8  # runs of a folder that are taken for it, or named


@dataclass(frozen=True)
class Evaluation:
    """A test set that was judged in a run.

    Attributes:
        run: The run's name.
        folder: Where the evaluation lies: the run's own folder, or one in its `eval/`.
        settings: evaluation.json: what it was made with.
        metrics: metrics.json; empty until it is there.
    """

    run: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def set_name(self) -> str:
        """Its place below `eval/`, else the folder of the pair set that was judged."""
        if self.folder.resolve().parent.name == "eval":
            return self.folder.resolve().name
        data = self.settings.get("data")
        return (Path(data).name if isinstance(data, str) else "") or "evaluation"

    @property
    def data_folder(self) -> Path | None:
        """The pair set that was judged; None where the settings do not say."""
        data = self.settings.get("data")
        try:
            return None if not isinstance(data, str) else (self.folder / data).resolve()
        except (OSError, ValueError):  # text that is no path
            return None

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What dataset.json says of the pair set; empty where it is not at hand."""
        try:
            return {} if self.data_folder is None else read_info(self.data_folder)
        except DataError:
            return {}

    def files(self) -> list[Path]:
        """Where the predictions lie: predictions.jsonl, and the parts of it while some are missing."""
        run = RunDir(self.folder)
        return [run.predictions] if run.predictions.is_file() else sorted(run.parts.glob("part-*.jsonl"))

    def people(self) -> People:
        return People(RunDir(self.folder).people)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The predictions, each with what people say of its pair, read in a stream; without the bad rows.

        Raises:
            DataError: A file is damaged, or the set has changed since the pairs were judged.
        """
        people = self.people()
        # Without people beside it the file is of format 1, to which rows were appended.
        allow_cut = not RunDir(self.folder).people.exists()
        for file in self.files():
            rows = read_jsonl(file, allow_cut=allow_cut)
            yield from (people.joined(row) for row in rows if "error" not in row)

    def table(self, watch: Callable[[Iterable[Row]], Iterable[Row]] = lambda rows: rows) -> PredictionTable:
        """The predictions as flat arrays.

        Args:
            watch: Sees the rows go by.

        Raises:
            DataError: As `rows`, or a row is not what `earshot eval` writes.
        """
        return PredictionTable.from_rows(watch(self.rows()), where=str(RunDir(self.folder).predictions))


class Curve(NamedTuple):
    """A logged quantity over training; steps where it was not logged are left out."""

    steps: Float[np.ndarray, " s"]
    values: Float[np.ndarray, " s"]


@dataclass(frozen=True)
class Run:
    """A run directory; each of its files is read when it is first asked for.

    Attributes:
        name: What the run is called.
        path: The directory.
        strict: Whether a damaged settings or metrics file of an evaluation is an error; else it counts as empty.
    """

    name: str
    path: Path
    strict: bool = True

    @cached_property
    def config(self) -> str:
        """The text of config.yaml; empty where there is none.

        Raises:
            InputError: It is larger than a configuration can be, or no regular file.
        """
        file = RunDir(self.path).config
        return read_regular(file, MAX_BYTES, what="a configuration").decode(errors="replace") if file.exists() else ""

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The configuration of the run, read as it was written; empty where there is none, or it is no YAML.

        What cannot be read costs what only it would say: pictures and weights.
        """
        try:
            found = parse_yaml(self.config)
        except InputError:
            return {}
        return found if isinstance(found, Mapping) else {}

    @property
    def weights(self) -> Mapping[str, Any]:
        """What the parts of a reward count for, as the configuration says."""
        return mapping(self.settings.get("rewards"))

    @property
    def training_set(self) -> Path | None:
        """The pair set of the training, found from the run's folder, so that both can be moved together.

        A configuration names both relative to where training was started, which is not kept.
        """
        train, out = mapping(self.settings.get("data")).get("train"), self.settings.get("out")
        if not isinstance(train, str) or not isinstance(out, str):
            return None
        try:
            if Path(train).is_absolute() or Path(out).is_absolute():
                return Path(train).resolve()
            return (self.path / os.path.relpath(train, out)).resolve()
        except (OSError, ValueError):  # text that is no path
            return None

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """What was judged, or is being judged: its own set and those in `eval/`."""
        read = read_object if self.strict else _whatever
        found = (
            Evaluation(self.name, judged.path, read(judged.settings), read(judged.metrics))
            for judged in RunDir(self.path).evaluations()
        )
        return [one for one in found if one.metrics or one.files()]

    @cached_property
    def measured(self) -> list[Evaluation]:
        """Those that have their metrics."""
        return [one for one in self.evaluations if one.metrics]

    @cached_property
    def overoptimised(self) -> Overoptimised | None:
        """What is left of rewards when they are optimised against; None where nobody looked.

        Raises:
            DataError: The file is damaged, or of another format.
        """
        file = RunDir(self.path).overoptimise
        return read_overoptimised(file) if file.is_file() else None

    @property
    def done(self) -> bool:
        """Whether anything was trained or judged here: a folder may hold `overoptimise.json` alone."""
        return RunDir(self.path).exists() or bool(self.measured)

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """What the run was made with; where it was only judged, what the first evaluation was."""
        files = (folder.environment for folder in RunDir(self.path).evaluations())
        return next((read_object(file) for file in files if file.exists()), {})

    @cached_property
    def curves(self) -> Mapping[str, Curve]:
        """What training logged, by name."""
        log = RunDir(self.path).metrics_log
        return read_curves(log) if log.exists() else {}

    @property
    def steps(self) -> int:
        """The last training step that was logged; 0 where nothing was trained."""
        return max((int(curve.steps[-1]) for curve in self.curves.values() if curve.steps.size), default=0)

    @property
    def mean_step_seconds(self) -> float | None:
        curve = self.curves.get("step_seconds")
        return float(curve.values.mean()) if curve is not None and curve.values.size else None

    @property
    def rollout_files(self) -> list[Path]:
        """Those that are written whole, by step."""
        files = RunDir(self.path).rollouts.glob("*.parquet")
        return sorted(file for file in files if not file.name.startswith(TEMPORARY_PREFIX))

    @cached_property
    def n_rollouts(self) -> int:
        """Completions that training sampled and kept, by the footers of the files."""
        try:
            return sum(pq.read_metadata(file).num_rows for file in self.rollout_files)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.path}: a rollout file cannot be read ({error}), expected parquet; remove it"
            ) from error

    @cached_property
    def paid(self) -> Paid | None:
        """What the completions of the last step that was kept were paid; None where none was."""
        steps = [file for file in self.rollout_files if file.name.startswith("step-")]
        if not steps:
            return None
        last = steps[-1].name.partition("-rank")[0]  # each process of a training writes its own
        return mean_parts([file for file in steps if file.name.partition("-rank")[0] == last], self.weights)


def read_runs(paths: Sequence[Path], *, who: str, strict: bool = True) -> list[Run]:
    """Every run once, named by its folder, and by more of its path where two folders have the same name.

    Args:
        paths: Run directories, or folders of a few.
        who: The command that asks, for messages.
        strict: Whether a folder without a run, and a damaged file of an evaluation, is an error.

    Raises:
        InputError: No path was given, or one holds neither a run nor an evaluation.
        DataError: A file of an evaluation does not hold what it should.
    """
    if not paths:
        raise InputError(f"{who} was asked of no run, expected at least one run directory")
    paths = list({path.resolve(): path for path in expanded(paths)}.values())
    runs = [Run(name, path, strict) for path, name in zip(paths, names_of_runs(paths), strict=True)]
    for run in runs if strict else ():
        if not run.done and run.overoptimised is None:
            next_step = hint_of_runs_below(run.path, who) or "check the path"
            raise InputError(
                f"{run.path}: holds no run, expected config.yaml, metrics.jsonl or metrics.json; {next_step}"
            )
    return runs


def expanded(paths: Sequence[Path]) -> list[Path]:
    """The same, but for a folder that holds a few runs and is none: these, in the order in which they were begun."""
    found: list[Path] = []
    for path in map(Path, paths):
        below = [] if _is_run(path) else sorted(runs_below(path), key=_begun)
        if 0 < len(below) <= _MOST_TOGETHER:
            found += [*below, path] if RunDir(path).overoptimise.is_file() else below
        else:
            found.append(path)
    return found


def _is_run(path: Path) -> bool:
    return any(one.exists() or one.metrics.exists() for one in RunDir(path).evaluations())


def _begun(path: Path) -> tuple[str, str]:
    try:
        told = read_json_object(RunDir(path).environment, what="what a run was made with")
    except (InputError, DataError):
        told = {}
    return str(told.get("time", "")), str(path)


def runs_below(path: Path) -> list[Path]:
    """The runs in the folders of a folder, up to three deep, and what was found by optimising against rewards."""
    found: list[Path] = []
    waiting = deque([(path, 0)])
    looked = 0
    while waiting and looked < _MOST_FOLDERS:
        folder, depth = waiting.popleft()
        looked += 1
        if folder != path and (_is_run(folder) or RunDir(folder).overoptimise.is_file()):
            found.append(folder)
        elif depth < 3 and folder.is_dir() and os.access(folder, os.R_OK | os.X_OK):
            waiting += ((below, depth + 1) for below in sorted(folder.iterdir()) if below.is_dir())
    return found


def hint_of_runs_below(path: Path, who: str) -> str:
    """The command for the runs below a folder; empty where none was found."""
    if not (found := [one for one in runs_below(path) if _is_run(one)]):
        return ""
    listed = " ".join(shlex.quote(str(one)) for one in found[:_MOST_TOGETHER])
    more = f", or others of the {len(found)} runs below it" if len(found) > _MOST_TOGETHER else ""
    return f"try 'earshot {who} {listed}'{more}"


def read_curves(path: Path) -> dict[str, Curve]:
    """The numbers of metrics.jsonl by name, read in a stream.

    A resumed run logs again the steps after its checkpoint: the later row of a step counts.

    Raises:
        DataError: A row has no step.
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


def mapping(value: object) -> Mapping[str, Any]:
    """The value, where it is an object of a file; else nothing."""
    return value if isinstance(value, Mapping) else {}


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file.

    Raises:
        DataError: It holds something else.
    """
    return read_json_object(path, what="what a run writes there") if path.exists() else {}


def _whatever(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except DataError:
        return {}
