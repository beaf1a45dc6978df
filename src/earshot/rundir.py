"""The run directory, and what a run was made with."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from earshot import __version__
from earshot.config.yaml_text import to_yaml
from earshot.errors import InputError
from earshot.files import TEMPORARY_PREFIX, check_folder, plain, repair_jsonl, write_text

_PACKAGES = (
    *(
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "accelerate",
        "peft",
        "trl",
        "vllm",
        "deepspeed",
    ),
    *("datasets", "huggingface-hub", "numpy", "scipy", "pillow", "pyarrow", "pydantic", "jaxtyping", "fastapi"),
    *("httpx2", "matplotlib"),
)


class _Place:
    """Where a file or a folder of a run lies, by its name in the run's folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: RunDir, kind: type[RunDir]) -> Path:
        return run.path / self._name


@dataclasses.dataclass(frozen=True, slots=True)
class RunDir:
    """The folder of one run; the attributes say where each of its files lies."""

    path: Path

    config = _Place("config.yaml")
    environment = _Place("environment.json")
    metrics_log = _Place("metrics.jsonl")
    rollouts = _Place("rollouts")
    checkpoints = _Place("checkpoints")
    model = _Place("model")
    errors_log = _Place("errors.jsonl")
    settings = _Place("evaluation.json")
    """What the predictions were made with; they are only added to with the same."""
    parts = _Place("predictions.parts")
    predictions = _Place("predictions.jsonl")
    people = _Place("people.jsonl")
    metrics = _Place("metrics.json")
    overoptimise = _Place("overoptimise.json")
    """What is left of its rewards when they are optimised against."""

    @classmethod
    def create(cls, path: Path, *, resume: bool = False) -> RunDir:
        """Makes the folder of a new run, or with `resume` takes up the one that is there.

        Taking up a run repairs the ends of its JSON Lines files, so that appending can go on.

        Raises:
            InputError: A run is there and `resume` is off, or the folder holds something that is no run.
        """
        run = cls(Path(path))
        if run.exists():
            if not resume:
                raise InputError(f"{path}: a run is already there; resume it (--resume) or choose another folder")
            for log in (run.metrics_log, run.errors_log, run.predictions):
                repair_jsonl(log)
            return run
        run.check_free()
        run.path.mkdir(parents=True, exist_ok=True)
        return run

    def check_free(self) -> None:
        """Sees that a run is here, or can begin; asked before anything slow.

        Raises:
            InputError: The folder is a file, or holds something that is no run.
        """
        check_folder(self.path, "the folder of a run")
        found = self.path.iterdir() if self.path.is_dir() and not self.exists() else ()
        if any(not file.name.startswith(TEMPORARY_PREFIX) for file in found):
            raise InputError(f"{self.path}: holds other files and no run; choose an empty or a new folder")

    def exists(self) -> bool:
        """Whether a run has begun here: one of the files is there that every run starts by writing."""
        begun = (self.config, self.environment, self.metrics_log, self.parts, self.predictions)
        return any(file.exists() for file in begun)

    def evaluations(self) -> list[RunDir]:
        """The folders that may hold an evaluation: the run's own, and those in its `eval/`."""
        return [self, *(RunDir(folder) for folder in sorted((self.path / "eval").glob("*")) if folder.is_dir())]

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keeps the resolved configuration, in the order of its keys; `load_config` reads it back as it was."""
        write_text(self.config, to_yaml(plain(config)))


def names_of_runs(paths: Sequence[Path]) -> list[str]:
    """The name of each run's folder, with more of its path where two folders have the same name."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while depth < 8 and len({p[-depth:] for p in parts}) < len({*parts}):
        depth += 1
    return ["/".join(p[-depth:]) for p in parts]


def describe_environment(**extra: Any) -> dict[str, Any]:
    """What a run was made with: commit, versions, platform, CPU count and time, and whatever is passed besides.

    Neither the user, the machine's name nor an absolute path is in it, so that a run directory can be published.
    """
    versions = {"earshot": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "time": _now(),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": versions,
        "platform": f"{sys.platform} {platform.release()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        **extra,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _commit() -> str | None:
    """The commit of Earshot's own sources, `-dirty` where they differ from it; None outside a repository."""
    folder = Path(__file__).resolve().parent
    # Installed into another project's tree, the sources are in its folder but not among its files.
    if git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git(folder, "rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and git(folder, "status", "--porcelain", "--", ".") else commit


def git(folder: Path, *arguments: str) -> str | None:
    """What git says in a folder; None where it fails, or isn't there."""
    # Hooks set GIT_DIR, which would name another repository than the one the folder lies in.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
