"""What is finished, of what it was made, and what it made: `run.json` beside each run, and how a change is found."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from earshot.errors import DataError
from earshot.files import read_json_object, write_json

RECORD = "run.json"
State = Literal["missing", "interrupted", "failed", "finished", "stale"]
LOG_TAIL_LINES = 20


@dataclass(frozen=True)
class Step:
    """A call of one of our commands that makes one folder."""

    name: str
    """In its run: `train`, `eval/test`; of the plan itself: `data`, `models/NAME`."""
    folder: Path
    words: tuple[str, ...]
    """The command, after `earshot`."""
    inputs: Mapping[str, Any]
    """All that the result depends on, as plain values, content by hash."""
    products: tuple[str, ...]
    """What must be there at the end, from `folder`: a file, or a folder of which the content counts."""


class Record:
    """The record of a run's steps, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / RECORD
        self.steps: dict[str, dict[str, Any]] = _read(self.path)

    def state(self, step: Step) -> tuple[State, list[str]]:
        """How far a step is; of a stale one, what changed since it was begun."""
        kept = self.steps.get(step.name)
        if kept is None:
            return "missing", []
        if changed := differences(kept["inputs"], step.inputs):
            return "stale", changed
        if kept["status"] == "finished" and not all((step.folder / name).exists() for name in step.products):
            return "stale", [f"{step.folder}: what it made is gone"]
        return ("interrupted" if kept["status"] == "running" else kept["status"]), []

    def output(self, name: str) -> dict[str, str] | None:
        """The hashes of what a finished step made."""
        kept = self.steps.get(name, {})
        return kept["outputs"] if kept.get("status") == "finished" else None

    def keep(self, step: Step, status: str, **more: Any) -> None:
        """Write down where a step is."""
        self.steps[step.name] = {"status": status, "inputs": dict(step.inputs), "command": list(step.words), **more}
        write_json(self.path, {"steps": self.steps})

    def drop(self, name: str) -> None:
        """Forget a step, because it is done again."""
        if self.steps.pop(name, None) is not None:
            write_json(self.path, {"steps": self.steps})


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        steps = read_json_object(path, what="the record of a run")["steps"]
        assert all({"status", "inputs"} <= kept.keys() for kept in steps.values())
    except (DataError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise DataError(f"{path}: is no record of a run; remove the folder, or give it back its record") from error
    return dict(steps)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed, a line a key: `trl.max_steps: 3 → 4`; of content, that it changed."""
    before, after = _flat(old), _flat(new)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key), after.get(key)
        if a != b:
            hashed = any(isinstance(one, str) and one.startswith("sha256:") for one in (a, b))
            lines.append(f"{key}: its content" if hashed else f"{key}: {a!r} → {b!r}")
    return lines


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        parts = [_flat(inner, f"{key}.{name}" if key else str(name)) for name, inner in value.items()]
        return {name: inner for part in parts for name, inner in part.items()}
    return {key: list(value) if isinstance(value, tuple) else value}


def log_tail(path: Path) -> list[str]:
    """The last lines of a log, without the moves of a progress bar."""
    if not path.exists():
        return []
    text = path.read_bytes()[-16_384:].decode(errors="replace").replace("\r", "\n")
    return [line for line in text.splitlines() if line.strip()][-LOG_TAIL_LINES:]
