"""Where the rows of the given runs lie: predictions of their evaluations, rollouts of their training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from earshot.errors import InputError
from earshot.predictions.run import read_runs
from earshot.view.judged import JudgedSource
from earshot.view.pictures import Pairs
from earshot.view.rollouts import RolloutSource


class Sources(NamedTuple):
    """All there is to show."""

    judged: list[JudgedSource]
    rollouts: list[RolloutSource]


def find_sources(paths: Sequence[Path]) -> Sources:
    """The predictions and rollouts in run directories; an evaluation's own folder is one too.

    A run is named by its folder, and by more of its path where two folders have the same name.

    Raises:
        InputError: No path was given, one holds no run, or one has neither predictions nor rollouts yet.
    """
    found = Sources([], [])
    sets: dict[Path | None, Pairs] = {}
    for run in read_runs(paths, who="view", strict=False):
        judged = [one for one in run.evaluations if one.files()]
        if not judged and not run.rollout_files:
            raise _nothing_in(run.path)
        for one in judged:
            found.judged.append(JudgedSource(one, sets.setdefault(one.data_folder, Pairs(one.data_folder))))
        if run.rollout_files:
            found.rollouts.append(RolloutSource(run, sets.setdefault(run.training_set, Pairs(run.training_set))))
    return found


def _nothing_in(path: Path) -> InputError:
    if not path.is_dir():
        return InputError(f"{path}: is no folder, expected a run directory; check the path")
    model = path / "model" if (path / "model").is_dir() else "MODEL"
    return InputError(
        f"{path}: holds no predictions.jsonl, here or in eval/*/, and no rollouts/*.parquet, expected either; "
        f"'earshot eval --model {model} --data PAIRS --out {path / 'eval' / 'NAME'}' makes predictions"
    )
