"""Judging a file into a parquet file, without votes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.errors import InputError
from earshot.files import check_folder, plain, whole
from earshot.judging.parts import Engine, Job, Parts, cut, same_settings, share
from earshot.judging.rows import COLUMNS, Columns, RowFile

PART_ROWS = 512
"""What a kill can cost: the work on so many rows."""

_SETTINGS_KEY, _ERRORS_KEY = b"earshot.judge", b"earshot.errors"
_GROUP_ROWS = 4096  # rows of a row group of OUT


class Tally(NamedTuple):
    """What a job came to."""

    rows: int
    errors: int
    """Bad rows; they stand in OUT with their `error` and no verdict."""


def schema_of(listeners: Sequence[str] = (), checkers: Sequence[str] = ()) -> pa.Schema:
    """The columns of OUT: the row of IN from 0, its id, the fields of `Judgement`, and why a bad row is bad."""
    text, number, count = pa.string(), pa.float64(), pa.int64()

    def by_name(column: str, names: Sequence[str]) -> list[tuple[str, pa.DataType]]:
        return [(column, pa.struct([(name, number) for name in names]))] if names else []

    sample = pa.struct(
        [
            ("order", text),
            ("trace", text),
            ("side", text),
            ("malformed", text),
            ("verdict", count),
            ("p_first", number),
            *by_name("listener", listeners),
            *by_name("believed", checkers),
        ]
    )
    return pa.schema(
        [
            ("row", count),
            ("id", text),
            ("verdict", text),
            ("p_first", number),
            ("p_first_forward", number),
            ("p_first_swapped", number),
            ("orders_agree", pa.bool_()),
            ("p_author", number),
            *by_name("p_read", listeners),
            ("decided_by", text),
            ("reason", text),
            ("malformed", count),
            ("question", text),
            ("seed", count),
            ("samples", pa.list_(sample)),
            ("error", text),
            ("sha256", text),
        ]
    )


def judge_file(
    source: Path,
    out: Path,
    engine: Engine,
    *,
    seed: int = 0,
    shard: tuple[int, int] = (1, 1),
    batch: int = 16,
    tolerate: int = 0,
    split: str | None = None,
    roots: Sequence[str | Path] = (),
    columns: Columns = COLUMNS,
    settings: Mapping[str, Any] | None = None,
    part_rows: int = PART_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> Tally:
    """Judge every row of a file into a parquet file of `schema_of` who reads, rows in their order.

    Called again after it was stopped, it goes on; called again when OUT is done, it does nothing.

    Args:
        source: A pair set's folder, a parquet or a JSON Lines file (`rows.RowFile`).
        out: The parquet file to write.
        engine: Who judges; OUT holds the same bytes whoever it is.
        seed: Of the sampling.
        shard: The i-th of n shares of the rows, i from 1; the shares' files, one after another, are the whole.
        batch: Rows judged together.
        tolerate: How many bad rows of the shard to write with their error before one stops the work.
        split: Which split, where `source` is a folder that holds the shards of several.
        roots: Further folders in which images may lie, behind links or by absolute paths.
        columns: What the columns of `source` are called.
        settings: What else the numbers depend on (`model.describe`); a job is only continued with the same.
        part_rows: Rows of a part.
        progress: Called with the rows done and the rows of the shard.

    Raises:
        InputError: OUT, or the parts of it, come from another job, or another process is at work on them.
        DataError: There is one more bad row than tolerated, or the source is damaged.
        ListenerUnavailable: A listener broke; what was judged is kept.
    """
    check_name(out)
    if batch < 1 or part_rows < 1:
        raise InputError(f"batch is {batch} and part_rows {part_rows}, expected at least 1 of either")
    rows, out = RowFile(Path(source), columns, split=split, roots=roots), Path(out)
    start, stop = share(rows.n_rows, *shard)
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
    parts = Parts(out.with_name(f"{out.name}.parts"), cut(start, stop, part_rows))
    if out.exists():
        return _finished(out, record, parts)
    with parts.held():
        if out.exists():  # another process has finished it meanwhile
            return _finished(out, record, parts)
        parts.claim(record)
        errors = parts.judge(job, engine, parts.bounds, progress=progress)
        _put_together(parts, out, record, errors)
    return Tally(stop - start, errors)


def check_name(out: Path) -> None:
    """Lets the name of a file pass that says what will be in it, in a folder that can be.

    Raises:
        InputError: It does not end in `.parquet`, or its folder is a file.
    """
    if Path(out).suffix.lower() != ".parquet":
        better = Path(out).with_suffix(".parquet").name
        raise InputError(f"{out}: judgements are written as parquet, which holds their samples; call it {better}")
    check_folder(Path(out).parent, "a folder")


def _finished(out: Path, record: dict[str, Any], parts: Parts) -> Tally:
    """OUT is there already: by this very job, or the call is wrong."""
    try:
        metadata = pq.read_schema(out).metadata or {}
        found = json.loads(metadata[_SETTINGS_KEY])
        tally = Tally(pq.read_metadata(out).num_rows, int(metadata[_ERRORS_KEY]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise InputError(f"{out}: is there already and not from 'earshot judge'; choose another name") from error
    same_settings(out, found, record)
    shutil.rmtree(parts.folder, ignore_errors=True)
    return tally


def _put_together(parts: Parts, out: Path, record: dict[str, Any], errors: int) -> None:
    """Parts to OUT, several of them to a row group; then the parts go."""
    model = record["model"]
    schema = schema_of([*model.get("listeners", ())], [*model.get("checkers", ())])
    metadata = {_SETTINGS_KEY: json.dumps(record), _ERRORS_KEY: str(errors)}
    complete = parts.folder / "complete.parquet"
    with whole(complete) as temporary, pq.ParquetWriter(temporary, schema.with_metadata(metadata)) as writer:
        at_once = max(1, _GROUP_ROWS // record["part_rows"])
        for k in range(0, len(parts.bounds), at_once):
            rows = [row for one in parts.bounds[k : k + at_once] for row in parts.read(one)]
            writer.write_table(pa.Table.from_pylist(rows, schema).replace_schema_metadata(metadata))
    with whole(out) as renamed:  # one rename on one file system, and the folder is synced
        complete.rename(renamed)
    shutil.rmtree(parts.folder, ignore_errors=True)
