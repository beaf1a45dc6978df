"""Whether a run that is there may be gone on with: by the configuration and the contents that it was begun with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from earshot.config import TrainingConfig, parse_yaml
from earshot.data.rows import read_info
from earshot.errors import DataError, InputError
from earshot.files import file_hash, plain, read_json_object, write_json
from earshot.rundir import RunDir, describe_environment

FREE: Final = (
    "out",
    "data.tolerate_bad",
    "listener.remote.concurrency",
    "listener.remote.timeout_s",
    "listener.remote.patience_s",
    "listener.remote.key_env",
    "trl.save_steps",
    "trl.save_total_limit",
    "trl.report_to",
    "trl.run_name",
    "trl.disable_tqdm",
    "trl.dataloader_num_workers",
    "trl.dataloader_prefetch_factor",
    "trl.dataloader_persistent_workers",
    "trl.dataloader_pin_memory",
)
"""Keys that may be others when a run is gone on with: none of them changes a number. What they were is kept."""

PER_PROCESS: Final = "trl.per_device_train_batch_size"
# Keys that name something by its place, and where its content is recorded: it may have moved, and not changed.
_PLACES: Final = {
    "model.path": "reasoner",
    "model.prompts": "reasoner",
    "listener.paths": "listener:",
    "listener.prompts": "listener:",
    "claims.paths": "claims:",
    "claims.prompts": "claims:",
    "data.train": "train",
    "data.validation": "validation",
}


def contents_of(config: TrainingConfig, models: Mapping[str, Any], arguments: Any) -> dict[str, Any]:
    """What a run's numbers depend on besides its configuration.

    Models by their hashes, pair sets by their rows', and how many rows a step has over how many processes.
    """
    rows = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    shared = {"processes": arguments.world_size, "rows_a_step": rows}
    sets = {"train": config.data.train, "validation": config.data.validation}
    of_sets = {name: _rows_hash(Path(place)) for name, place in sets.items() if place is not None}
    return {"models": dict(models), "data": of_sets, "shared": shared}


def check_same(run: RunDir, config: TrainingConfig, contents: Mapping[str, Any] | None) -> dict[str, Any]:
    """Sees that a run is gone on with as it was begun.

    Args:
        run: What is there.
        config: What is asked for now.
        contents: As `contents_of` gives them; None where nothing is loaded, so that all places must be as they were.

    Returns:
        What may differ and does: what it was, by its key.

    Raises:
        InputError: Something else differs; the message has both values.
    """
    before, now = (_flat(table) for table in (_written(run), plain(config.model_dump())))
    told = read_json_object(run.environment, what="what a run was made with") if run.environment.exists() else {}
    free, wrong = _shared_otherwise(told, contents)
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if (
            key in FREE
            or (key == PER_PROCESS and "processes" in free)
            or (contents is not None and key in _PLACES and _same_content(_PLACES[key], told, contents))
        ):
            free[key] = old
        else:
            wrong.append(f"{key} was {_shown(old)} and is {_shown(new)}")
    for kind, what in (("models", "other weights or other words"), ("data", "other rows")) if contents else ():
        for name, known in told.get(kind, {}).items():
            if (found := contents[kind].get(name)) is not None and plain(found) != known:  # type: ignore[index]
                wrong.append(f"{name} has {what} than when it was begun")
    if wrong:
        raise InputError(
            f"{run.path}: a run cannot be gone on with as another one: {'; '.join(wrong)}; give it what it was begun "
            "with, or choose another 'out'"
        )
    return free


def _shared_otherwise(told: Mapping[str, Any], contents: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
    """Another number of processes than before: what it was where a step has the same rows, else what is wrong."""
    if contents is None or "shared" not in told or told["shared"]["processes"] == contents["shared"]["processes"]:
        return {}, []
    (before, rows), (now, found) = (
        (one["processes"], one["rows_a_step"]) for one in (told["shared"], contents["shared"])
    )
    if rows == found:
        return {"processes": before}, []
    return {}, [
        f"it had {before} processes and has {now}, so that a step has {found} rows instead of {rows} (change "
        f"{PER_PROCESS} with them)"
    ]


def record(
    run: RunDir,
    config: TrainingConfig,
    contents: Mapping[str, Any],
    *,
    command: str,
    resumed: Mapping[str, Any] | None,
) -> None:
    """Writes what a run is made with; where it is gone on with, what was there before is kept.

    Args:
        run: Where.
        config: What is run.
        contents: As `contents_of` gives them.
        command: As typed, without paths.
        resumed: Where it goes on from, and what `check_same` found to be another; None at its beginning.
    """
    now = describe_environment(command=command, **contents, sets={"train": _told_of(config)}, seed=config.seed)
    if resumed is not None:
        told = read_json_object(run.environment, what="what a run was made with")
        again = {key: now[key] for key in ("time", "commit", "packages", "platform", "cpu_count") if key in now}
        now = told | {"resumed": [*told.get("resumed", []), {**resumed, **again}]}
    run.write_config(config.model_dump())
    write_json(run.environment, now)


def _told_of(config: TrainingConfig) -> dict[str, Any]:
    """What the training set says of itself, which a report can then tell wherever the set has gone."""
    with suppress(DataError):
        return {
            key: value for key, value in read_info(Path(config.data.train)).items() if key not in ("shards", "leaks")
        }
    return {}


def _written(run: RunDir) -> dict[str, Any]:
    try:
        table = parse_yaml(run.config.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{run.config}: cannot be read ({error.strerror}), so that nobody can go on with it"
        ) from error
    return table if isinstance(table, dict) else {}


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Values by the path of their keys; an empty table is none."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def _same_content(name: str, told: Mapping[str, Any], contents: Mapping[str, Any]) -> bool:
    """Whether what stands at another place is what stood at the old one, as far as the old is known."""
    kind = "data" if name in ("train", "validation") else "models"
    known, found = (
        sorted(str(plain(value)) for key, value in side.get(kind, {}).items() if key.startswith(name))
        for side in (told, contents)
    )
    return bool(known) and known == found


def _rows_hash(folder: Path) -> str | None:
    """Of what a pair set says of its pairs, and of the traces beside it; its pictures are too many to be read."""
    places = (folder / name for name in ("metadata.parquet", "metadata.jsonl", "traces.jsonl"))
    files = [file for file in places if file.is_file()]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + bytes.fromhex(file_hash(file)))
    return digest.hexdigest() if files else None


def _shown(value: Any) -> str:
    return "not there" if value is None else str(value)
