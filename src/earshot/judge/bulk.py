"""Judging a file of any length: in a stream, in shards, and to the same result however often it is killed.

The rows of a shard are cut into parts at fixed places. A part is written whole beside OUT, in `OUT.parts/`; when all
are there they are put together to OUT. What was killed goes on at the first part that is missing, with the same
batches, so that OUT holds the same bytes as after a run that was left alone.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.errors import DataError, InputError
from earshot.judge.comparison import Comparison, Question
from earshot.judge.rows import COLUMNS, BadRow, Columns, Row, RowFile
from earshot.rundir import plain, whole, write_json

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
class _Job:
    model: Answers
    rows: RowFile
    seed: int
    batch: int
    tolerate: int
    part_rows: int
    start: int
    stop: int
    parts: Path

    def bounds(self) -> list[tuple[int, int]]:
        """The rows of each part."""
        starts = range(self.start, self.stop, self.part_rows)
        return [(start, min(self.stop, start + self.part_rows)) for start in starts]

    def part(self, start: int) -> Path:
        return self.parts / f"part-{start:012d}.parquet"


def judge_file(
    source: Path,
    out: Path,
    model: Answers,
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
        model: Who is asked.
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
    job = _Job(model, rows, seed, batch, tolerate, part_rows, start, stop, out.with_name(f"{out.name}.parts"))
    record = plain(
        {
            "source": rows.fingerprint(),
            "columns": list(columns),
            "rows": [start, stop],
            "part_rows": part_rows,
            "batch": batch,
            "seed": seed,
            "model": dict(settings or {}),
        }
    )
    if out.exists():
        return _finished(out, record, job.parts)
    job.parts.mkdir(parents=True, exist_ok=True)
    with _alone(job.parts):
        if out.exists():  # another process has finished it meanwhile
            return _finished(out, record, job.parts)
        _claim(job.parts, record)
        errors = _judge_parts(job, progress)
        _put_together(job, out, record, errors)
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
    _same(parts, json.loads(path.read_text(encoding="utf-8")), record)


def _same(where: Path, found: Any, record: dict[str, Any]) -> None:
    for key, value in record.items():
        if not isinstance(found, dict) or found.get(key) != value:
            was = found.get(key) if isinstance(found, dict) else None
            raise InputError(
                f"{where}: was made with {key} {was!r}, asked for {value!r}; choose another OUT, or the same settings"
            )


@contextmanager
def _alone(parts: Path) -> Iterator[None]:
    """Holds a lock on the parts, which the system lets go of when the process dies, however it dies."""
    with (parts / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{parts}: another process is judging into it; wait for it, or choose another OUT"
            ) from error
        yield


def _judge_parts(job: _Job, progress: Callable[[int, int], None] | None) -> int:
    """Write the parts that are missing; gives the number of bad rows in all of them."""
    errors, bounds = 0, job.bounds()
    missing = next((k for k, (start, _) in enumerate(bounds) if not job.part(start).exists()), len(bounds))
    for start, _ in bounds[:missing]:
        errors += int(pq.read_schema(job.part(start)).metadata[_ERRORS_KEY])
    _within(errors, job, "")
    stream = job.rows.read(bounds[missing][0], job.stop) if missing < len(bounds) else iter(())
    for start, stop in bounds[missing:]:
        if progress is not None:
            progress(start - job.start, job.stop - job.start)
        table, bad = _part(job, stream, stop - start, errors)
        errors += bad
        with whole(job.part(start)) as temporary:
            pq.write_table(table.replace_schema_metadata({_ERRORS_KEY: str(bad)}), temporary)
    if progress is not None:
        progress(job.stop - job.start, job.stop - job.start)
    return errors


def _part(job: _Job, stream: Iterator[Row | BadRow], n: int, errors: int) -> tuple[pa.Table, int]:
    """The next `n` rows, judged, and how many of them are bad."""
    records: list[dict[str, Any]] = []
    bad = 0
    while len(records) < n:
        chunk = list(islice(stream, min(job.batch, n - len(records))))
        if not chunk:
            raise DataError(
                f"{job.rows.path}: ends before row {job.stop}; it has changed, so start anew with another OUT"
            )
        asked, told = [], []
        for row in chunk:
            question = _ask(job, row)
            if isinstance(question, BadRow):
                bad += 1
                _within(errors + bad, job, f"row {question.number} '{question.id}': {question.error} ")
                told.append({"row": question.number, "id": question.id, "error": question.error})
            else:
                asked.append(question)
                told.append({"row": row.number, "id": row.id})
        answers = iter(job.model.answer(asked))
        records.extend(record if "error" in record else _fill(record, next(answers)) for record in told)
    return pa.Table.from_pylist(records, SCHEMA), bad


def _ask(job: _Job, row: Row | BadRow) -> Question | BadRow:
    if isinstance(row, BadRow):
        return row
    try:
        return job.model.question(prompt=row.prompt, first=row.first, second=row.second, seed=job.seed)
    except InputError as error:
        return BadRow(row.number, row.id, job.rows.placeless(str(error)))


def _fill(record: dict[str, Any], answer: Comparison) -> dict[str, Any]:
    for name in _OF_COMPARISON:
        record[name] = getattr(answer, name)
    record["traces"] = [{name: getattr(trace, name) for name in _OF_TRACE} for trace in answer.traces]
    return record


_OF_TRACE = [field.name for field in _TRACE]
_OF_COMPARISON = [name for name in SCHEMA.names if name not in ("row", "id", "traces", "error")]


def _within(errors: int, job: _Job, last: str) -> None:
    if errors > job.tolerate:
        raise DataError(
            f"{job.rows.path}: {last}(bad row {errors}, tolerated are {job.tolerate}; mend it or raise --tolerate)"
        )


def _put_together(job: _Job, out: Path, record: dict[str, Any], errors: int) -> None:
    """Parts to OUT, several of them to a row group; then the parts go."""
    metadata = {_SETTINGS_KEY: json.dumps(record), _ERRORS_KEY: str(errors)}
    complete = job.parts / "complete.parquet"
    with whole(complete) as temporary, pq.ParquetWriter(temporary, SCHEMA.with_metadata(metadata)) as writer:
        at_once = max(1, _GROUP_ROWS // job.part_rows)
        files = [job.part(start) for start, _ in job.bounds()]
        for k in range(0, len(files), at_once):
            tables = [pq.read_table(file, schema=SCHEMA) for file in files[k : k + at_once]]
            writer.write_table(pa.concat_tables(tables).replace_schema_metadata(metadata))
    with whole(out) as renamed:  # one rename on one file system, and the folder is synced
        complete.rename(renamed)
    shutil.rmtree(job.parts, ignore_errors=True)
