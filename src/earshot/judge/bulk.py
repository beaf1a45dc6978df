"""Judging a file of any length: in a stream, in shards, and to the same result however often it is killed.

The rows of a shard are cut into parts at fixed places. An engine judges parts, in any order and wherever it likes; a
part is written whole beside OUT, in `OUT.parts/`, and when all are there they are put together to OUT. What was killed
goes on with the parts that are missing, on the same engine or another, with the same batches, so that OUT holds the
same bytes as after a run that was left alone.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.errors import DataError, InputError
from earshot.judge.comparison import Comparison, Question
from earshot.judge.rows import COLUMNS, BadRow, Columns, Row, RowFile
from earshot.rundir import locked, plain, read_json_object, whole, write_json

PART_ROWS = 512
"""What a kill can cost: the work on so many rows."""

_SETTINGS_KEY, _ERRORS_KEY = b"earshot.judge", b"earshot.errors"
_GROUP_ROWS = 4096  # rows of a row group of OUT

_TRACE = pa.struct(
    [
        ("order", pa.string()),
        ("text", pa.string()),
        ("side", pa.string()),
        ("malformed", pa.string()),
        ("p_first", pa.float64()),
        ("p_first_listener", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("verdict", pa.string()),
        ("p_first", pa.float64()),
        ("p_first_forward", pa.float64()),
        ("p_first_swapped", pa.float64()),
        ("orders_agree", pa.bool_()),
        ("p_first_listener", pa.float64()),
        ("malformed", pa.int64()),
        ("pair_id", pa.string()),
        ("traces", pa.list_(_TRACE)),
        ("error", pa.string()),
    ]
)
"""The columns of OUT: the row of IN, counted from 0, its id, the fields of `Comparison`, and why a bad row is bad."""


@runtime_checkable
class Answers(Protocol):
    """Who is asked; `model.RewardModel` is one."""

    def question(self, *, prompt: str, first: Any, second: Any, seed: int = 0) -> Question:
        """Checks and decodes; raises an InputError for a bad row."""
        ...

    def answer(self, questions: Sequence[Question]) -> list[Comparison]:
        """Judges questions together."""
        ...


class Tally(NamedTuple):
    """What a job came to."""

    rows: int
    errors: int
    """Bad rows; they stand in OUT with their `error` and no verdict."""


@dataclass(frozen=True)
class Job:
    """What is to be judged, and how; it can be sent to another process, or another machine."""

    rows: RowFile
    fingerprint: str
    """Of the rows' file, to see elsewhere that it is the same one."""
    seed: int
    batch: int
    tolerate: int


class Bounds(NamedTuple):
    """The rows of a part."""

    start: int
    stop: int


class Part(NamedTuple):
    """A part that was judged."""

    bounds: Bounds
    table: bytes | None
    """A parquet file of its rows; None where more of them are bad than the whole job tolerates."""
    bad: list[BadRow]


@runtime_checkable
class Engine(Protocol):
    """Who judges the parts of a job: `Local` in this process, `ray_engine.RayEngine` in many."""

    def parts(self, job: Job, missing: Sequence[Bounds]) -> Iterator[Part]:
        """Yields the missing parts, each once, in any order."""
        ...


@dataclass(frozen=True)
class Local:
    """Judges the parts in this process, one after another."""

    model: Answers

    def parts(self, job: Job, missing: Sequence[Bounds]) -> Iterator[Part]:
        for run in _runs(missing):
            rows = job.rows.read(run[0].start, run[-1].stop)
            for bounds in run:
                yield judge_part(job, self.model, rows, bounds)


def _runs(missing: Sequence[Bounds]) -> list[list[Bounds]]:
    """Parts that follow one another stand together: the rows of a run are read in one stream."""
    runs: list[list[Bounds]] = []
    for bounds in missing:
        if runs and runs[-1][-1].stop == bounds.start:
            runs[-1].append(bounds)
        else:
            runs.append([bounds])
    return runs


def judge_file(
    source: Path,
    out: Path,
    engine: Engine,
    *,
    seed: int = 0,
    shard: tuple[int, int] = (1, 1),
    batch: int = 16,
    tolerate: int = 0,
    columns: Columns = COLUMNS,
    settings: Mapping[str, Any] | None = None,
    part_rows: int = PART_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> Tally:
    """Judge every row of a file into a parquet file of `SCHEMA`, rows in their order.

    Called again after it was stopped, it goes on; called again when OUT is done, it does nothing.

    Args:
        source: A pair set's folder, a parquet or a JSON Lines file (`rows.RowFile`).
        out: The parquet file to write.
        engine: Who judges; OUT holds the same bytes whoever it is.
        seed: Of the sampling.
        shard: The i-th of n shares of the rows, i from 1; the shares' files, one after another, are the whole.
        batch: Rows judged together.
        tolerate: How many bad rows of the shard to write with their error before one stops the work.
        columns: What the columns of `source` are called.
        settings: What else the numbers depend on (`model.describe`); a job is only continued with the same.
        part_rows: Rows of a part.
        progress: Called with the rows done and the rows of the shard.

    Raises:
        InputError: OUT, or the parts of it, come from another job, or another process is at work on them.
        DataError: There is one more bad row than tolerated, or the source is damaged.
        ListenerUnavailable: The listener broke; what was judged is kept.
    """
    if batch < 1 or part_rows < 1:
        raise InputError(f"batch is {batch} and part_rows {part_rows}, expected at least 1 of either")
    rows, out = RowFile(Path(source), columns), Path(out)
    start, stop = share(rows.n_rows, *shard)
    bounds = [Bounds(at, min(stop, at + part_rows)) for at in range(start, stop, part_rows)]
    job = Job(rows, rows.fingerprint(), seed, batch, tolerate)
    record = plain(
        {
            "source": job.fingerprint,
            "columns": list(columns),
            "rows": [start, stop],
            "part_rows": part_rows,
            "batch": batch,
            "seed": seed,
            "model": dict(settings or {}),
        }
    )
    parts = out.with_name(f"{out.name}.parts")
    if out.exists():
        return _finished(out, record, parts)
    parts.mkdir(parents=True, exist_ok=True)
    taken = f"{parts}: another process is judging into it; wait for it, or choose another OUT"
    with locked(parts / "lock", taken=taken):
        if out.exists():  # another process has finished it meanwhile
            return _finished(out, record, parts)
        _claim(parts, record)
        errors = _judge_missing(job, engine, parts, bounds, progress)
        _put_together(parts, bounds, out, record, errors)
    return Tally(stop - start, errors)


def share(n: int, index: int, of: int) -> tuple[int, int]:
    """The rows of the `index`-th of `of` shares, from 1, as `(start, stop)`; together they are all rows, each once.

    Raises:
        InputError: There is no such share.
    """
    if not 1 <= index <= of:
        raise InputError(f"shard is {index}/{of}, expected i/n with 1 ≤ i ≤ n")
    return n * (index - 1) // of, n * index // of


def _finished(out: Path, record: dict[str, Any], parts: Path) -> Tally:
    """OUT is there already: by this very job, or the call is wrong."""
    try:
        metadata = pq.read_schema(out).metadata or {}
        found = json.loads(metadata[_SETTINGS_KEY])
        tally = Tally(pq.read_metadata(out).num_rows, int(metadata[_ERRORS_KEY]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise InputError(f"{out}: is there already and not from 'earshot judge'; choose another name") from error
    _same(out, found, record)
    shutil.rmtree(parts, ignore_errors=True)
    return tally


def _claim(parts: Path, record: dict[str, Any]) -> None:
    """Keep what the parts are made with, or find that it is what those in the folder were made with."""
    path = parts / "settings.json"
    if not path.exists():
        write_json(path, record)
    _same(parts, read_json_object(path, what="the settings of the parts"), record)


def _same(where: Path, found: Any, record: dict[str, Any]) -> None:
    for key, value in record.items():
        if not isinstance(found, dict) or found.get(key) != value:
            was = found.get(key) if isinstance(found, dict) else None
            raise InputError(
                f"{where}: was made with {key} {was!r}, asked for {value!r}; choose another OUT, or the same settings"
            )


def _file(parts: Path, bounds: Bounds) -> Path:
    return parts / f"part-{bounds.start:012d}.parquet"


def _judge_missing(
    job: Job, engine: Engine, parts: Path, bounds: Sequence[Bounds], progress: Callable[[int, int], None] | None
) -> int:
    """Write the parts that are missing, wherever they are; gives the number of bad rows in all of them."""
    names = {path.name for path in parts.iterdir()}
    missing = [one for one in bounds if _file(parts, one).name not in names]
    there = [one for one in bounds if _file(parts, one).name in names]
    errors = sum(int(pq.read_schema(_file(parts, one)).metadata[_ERRORS_KEY]) for one in there)
    _within(errors, job, "")
    total, done = (sum(one.stop - one.start for one in these) for these in (bounds, there))
    if progress is not None:
        progress(done, total)
    for part in engine.parts(job, missing) if missing else ():
        for bad in part.bad:
            errors += 1
            _within(errors, job, f"row {bad.number} '{bad.id}': {bad.error} ")
        assert part.table is not None, "a part that is broken off has more bad rows than the job tolerates"
        with whole(_file(parts, part.bounds)) as temporary:
            temporary.write_bytes(part.table)
        done += part.bounds.stop - part.bounds.start
        if progress is not None:
            progress(done, total)
    return errors


def judge_part(job: Job, model: Answers, rows: Iterator[Row | BadRow], bounds: Bounds) -> Part:
    """Judge the next rows of a stream, which are those of a part.

    Raises:
        DataError: There are fewer of them, or the file is damaged.
        ListenerUnavailable: The listener broke.
    """
    records: list[dict[str, Any]] = []
    bad: list[BadRow] = []
    n = bounds.stop - bounds.start
    while len(records) < n:
        chunk = list(islice(rows, min(job.batch, n - len(records))))
        if not chunk:
            raise DataError(
                f"{job.rows.path}: ends before row {bounds.stop}; it has changed, so start anew with another OUT"
            )
        asked, told = [], []
        for row in chunk:
            question = _ask(job, model, row)
            if isinstance(question, BadRow):
                bad.append(question)
                if len(bad) > job.tolerate:  # whatever other parts hold
                    return Part(bounds, None, bad)
                told.append({"row": question.number, "id": question.id, "error": question.error})
            else:
                asked.append(question)
                told.append({"row": row.number, "id": row.id})
        answers = iter(model.answer(asked))
        records.extend(record if "error" in record else _fill(record, next(answers)) for record in told)
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, SCHEMA).replace_schema_metadata({_ERRORS_KEY: str(len(bad))}), file)
    return Part(bounds, file.getvalue(), bad)


def _ask(job: Job, model: Answers, row: Row | BadRow) -> Question | BadRow:
    if isinstance(row, BadRow):
        return row
    try:
        return model.question(prompt=row.prompt, first=row.first, second=row.second, seed=job.seed)
    except InputError as error:
        return BadRow(row.number, row.id, job.rows.placeless(str(error)))


def _fill(record: dict[str, Any], answer: Comparison) -> dict[str, Any]:
    for name in _OF_COMPARISON:
        record[name] = getattr(answer, name)
    record["traces"] = [{name: getattr(trace, name) for name in _OF_TRACE} for trace in answer.traces]
    return record


_OF_TRACE = [field.name for field in _TRACE]
_OF_COMPARISON = [name for name in SCHEMA.names if name not in ("row", "id", "traces", "error")]


def _within(errors: int, job: Job, last: str) -> None:
    if errors > job.tolerate:
        raise DataError(
            f"{job.rows.path}: {last}(bad row {errors}, tolerated are {job.tolerate}; mend it or raise --tolerate)"
        )


def _put_together(parts: Path, bounds: Sequence[Bounds], out: Path, record: dict[str, Any], errors: int) -> None:
    """Parts to OUT, several of them to a row group; then the parts go."""
    metadata = {_SETTINGS_KEY: json.dumps(record), _ERRORS_KEY: str(errors)}
    complete = parts / "complete.parquet"
    with whole(complete) as temporary, pq.ParquetWriter(temporary, SCHEMA.with_metadata(metadata)) as writer:
        at_once = max(1, _GROUP_ROWS // record["part_rows"])
        for k in range(0, len(bounds), at_once):
            tables = [pq.read_table(_file(parts, one), schema=SCHEMA) for one in bounds[k : k + at_once]]
            writer.write_table(pa.concat_tables(tables).replace_schema_metadata(metadata))
    with whole(out) as renamed:  # one rename on one file system, and the folder is synced
        complete.rename(renamed)
    shutil.rmtree(parts, ignore_errors=True)
