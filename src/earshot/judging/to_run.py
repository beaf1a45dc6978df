"""Judging a pair set into a run directory: predictions.jsonl, and people.jsonl beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from earshot.data.pairset import read_pairs
from earshot.errors import DataError, InputError
from earshot.files import append_jsonl, plain, read_json_object, read_jsonl, write_json, write_jsonl
from earshot.judging.parts import Engine, Job, Json, Parts, cut, same_settings, share
from earshot.judging.rows import RowFile
from earshot.predictions.people import people_row
from earshot.rundir import RunDir, describe_environment

FORMAT: Final = 2
"""Of predictions.jsonl; files of format 1 hold the votes themselves, and do not say their format."""


class Tally(NamedTuple):
    """What there is of a set's predictions by now."""

    rows: int
    """Of the set."""
    errors: int
    """Bad rows of the set, or of this shard while others are missing; they stand there with their `error` alone."""
    complete: bool
    """Whether all shards are there, so that metrics can be computed."""


def judge_set(
    data: Path,
    run: RunDir,
    engine: Engine,
    *,
    seed: int = 0,
    shard: tuple[int, int] = (1, 1),
    batch: int = 16,
    tolerate: int = 0,
    roots: Sequence[str | Path] = (),
    pairs: int | None = None,
    settings: Mapping[str, Any] | None = None,
    told: Callable[[Json], Json] = lambda row: row,
    progress: Callable[[int, int], None] | None = None,
) -> Tally:
    """Judge every pair of a set that the folder has no prediction of, and write down what people say of all.

    Args:
        data: The pair set.
        run: Where the files go; a folder with predictions made with the same settings is continued.
        engine: Who judges.
        seed: Of the sampling.
        shard: The i-th of n shares of the set, i from 1. They may be judged at one time, in one folder.
        batch: Pairs judged together, and written: what a kill can cost.
        tolerate: How many bad rows of the shard to write with their error before one stops the work.
        roots: Further folders in which images may lie, behind links or by absolute paths.
        pairs: Judge only the first so many.
        settings: What else the predictions depend on (`model.describe`), kept in evaluation.json.
        told: Adds to a row what is known here of its pair, such as how many of its claims are true.
        progress: Called with the pairs done and the pairs of the shard.

    Raises:
        InputError: The folder's predictions were made with other settings, or another process is at work on them.
        DataError: There is one more bad row than tolerated, an id comes twice, or the set is damaged.
        ListenerUnavailable: A listener broke that was not to be left out; what was judged is kept.
    """
    if batch < 1:
        raise InputError(f"batch is {batch}, expected at least 1")
    rows = RowFile(Path(data), whole_pairs=True, roots=roots)
    n = rows.n_rows if pairs is None else min(pairs, rows.n_rows)
    bounds = cut(0, n, batch)
    parts = Parts(run.parts, bounds)
    record = {"format": FORMAT, "rows": n, "batch": batch, "seed": seed, **(settings or {})}
    first, last = share(len(bounds), *shard)
    errors = 0
    try:
        with parts.held(shard):
            _claim(run, plain(record), parts)
            write_jsonl(run.people, _people(data, n, roots))
            if not run.predictions.exists():
                job = Job(rows, rows.fingerprint(), seed, batch, tolerate, with_content=True)
                errors = parts.judge(job, engine, bounds[first:last], told=told, progress=progress)
                with parts.merging():
                    if not run.predictions.exists() and not parts.missing(bounds):
                        _put_together(parts, run)
    finally:
        if run.predictions.exists():
            shutil.rmtree(parts.folder, ignore_errors=True)
    if not run.predictions.exists():
        return Tally(n, errors, complete=False)
    return Tally(n, sum("error" in row for row in read_jsonl(run.predictions, allow_cut=False)), complete=True)


def _claim(run: RunDir, record: dict[str, Any], parts: Parts) -> None:
    """Keep what the predictions are made with, or find that it is what those in the folder were made with.

    Only more rows may be asked for than before: predictions that are there are cut into parts again.
    """
    path = run.settings
    if path.exists():
        found = read_json_object(path, what="the settings of an evaluation")
        if found.get("format") != FORMAT:
            raise InputError(
                f"{path}: its predictions were made by an earlier Earshot, which can be read and not gone on with; "
                "choose another --out"
            )
        more = isinstance(found.get("rows"), int) and found["rows"] < record["rows"]
        same_settings(path, found | {"rows": record["rows"]} if more else found, dict.fromkeys(found) | record)
        if more:
            if run.predictions.exists():
                whole = found["rows"] // record["batch"] * record["batch"]  # a short last part is judged again
                rows = list(islice(read_jsonl(run.predictions, allow_cut=False), whole))
                for bounds in cut(0, len(rows), record["batch"]):
                    parts.write(bounds, rows[bounds.start : bounds.stop])
                run.predictions.unlink()
            write_json(path, record)
    elif run.predictions.exists():
        raise InputError(f"{run.predictions}: has no {path.name} beside it to continue by; choose another --out")
    else:
        write_json(path, record)
    if not run.environment.exists():
        write_json(run.environment, describe_environment())


def _people(data: Path, n: int, roots: Sequence[str | Path]) -> Iterator[Json]:
    """What the set says today; rows that are no pairs are found when they are judged."""
    seen: set[str] = set()
    for pair in islice(read_pairs(data, tolerate=n, roots=roots), n):
        if pair.id in seen:
            raise DataError(
                f"pair '{pair.id}' comes twice, expected each id once; 'earshot data check' lists such rows"
            )
        seen.add(pair.id)
        yield people_row(pair)


def _put_together(parts: Parts, run: RunDir) -> None:
    """Parts to predictions.jsonl, and what went wrong to errors.jsonl."""
    run.errors_log.unlink(missing_ok=True)

    def rows() -> Iterator[Json]:
        for bounds in parts.bounds:
            judged = list(parts.read(bounds))
            append_jsonl(run.errors_log, _faults(judged))
            yield from judged

    write_jsonl(run.predictions, rows())


def _faults(rows: list[Json]) -> Iterator[Json]:
    for row in rows:
        if "error" in row:
            yield {"kind": "row", **{name: row[name] for name in ("row", "id", "error", "sha256") if name in row}}
        for name, error in row.get("broken", {}).items():
            yield {"kind": "listener", "listener": name, "ids": [row["id"]], "error": error}
