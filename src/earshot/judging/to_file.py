"""Judging a file into a parquet file, without votes: pairs, or all the pictures of a prompt ranked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.data.row_files import RowWriter, image_features
from earshot.errors import DataError, InputError
from earshot.files import check_folder, plain, whole
from earshot.images import read_file
from earshot.judging.parts import Engine, Job, Json, Parts, cut, same_settings, share
from earshot.judging.rows import COLUMNS, BadRow, Columns, RowFile
from earshot.predictions.people import sha256_of
from earshot.predictions.ranked import SETTINGS_KEY

PART_ROWS = 512
"""What a kill can cost: the work on so many rows."""

_JUDGED_KEY, _ERRORS_KEY = b"earshot.judge", b"earshot.errors"


class Tally(NamedTuple):
    """What a job came to."""

    rows: int
    errors: int
    """Bad rows; they stand in OUT with their `error` and no verdict."""


def schema_of(listeners: Sequence[str] = (), checkers: Sequence[str] = ()) -> pa.Schema:
    """The columns of OUT: the row of IN from 0, its id, the fields of `Judgement`, and why a bad row is bad."""
    text, count = pa.string(), pa.int64()
    answer = _answer_fields(listeners, checkers)
    return pa.schema([("row", count), ("id", text), *answer, ("error", text), ("sha256", text)])


def ranking_schema_of(listeners: Sequence[str] = (), checkers: Sequence[str] = ()) -> pa.Schema:
    """The same of a file of rankings, which holds the pictures too.

    `images` are the files as they stood in IN, in the form of `datasets`' images; `ranking` says of each what
    `RankedImage` does, `comparisons` has the places of two images beside the fields of `Judgement`.
    """
    text, number, count = pa.string(), pa.float64(), pa.int64()
    image = pa.struct([("bytes", pa.binary()), ("path", text)])
    strength = pa.struct([("value", number), ("low", number), ("high", number), ("n", count)])
    ranked = pa.struct([("rank", count), ("strength", strength), ("win_rate", number), ("digest", text)])
    game = pa.struct([("first", count), ("second", count), *_answer_fields(listeners, checkers)])
    return pa.schema(
        [
            ("row", count),
            ("id", text),
            ("prompt", text),
            ("images", pa.list_(image)),
            ("ranking", pa.list_(ranked)),
            ("order", pa.list_(count)),
            ("cycles", pa.list_(pa.list_(count))),
            ("n_missing", count),
            ("comparisons", pa.list_(game)),
            ("error", text),
            ("sha256", text),
        ]
    )


def _answer_fields(listeners: Sequence[str], checkers: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    """The columns of a `Judgement`, but for its id."""
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
    return [
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
    ]


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
    groups: str | None = None,
    settings: Mapping[str, Any] | None = None,
    part_rows: int = PART_ROWS,
    progress: Callable[[int, int], None] | None = None,
) -> Tally:
    """Judge every row of a file into a parquet file of `schema_of` who reads, rows in their order.

    With `groups` a row is a prompt with all of its pictures, which are ranked (`ranking_schema_of`).

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
        groups: The column of lists of images to rank; None where a row is a pair.
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
    rows, out = RowFile(Path(source), columns, groups=groups, split=split, roots=roots), Path(out)
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
            **({} if groups is None else {"groups": groups}),
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
        _put_together(parts, out, record, errors, rows)
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
        found = json.loads(metadata[SETTINGS_KEY if "groups" in record else _JUDGED_KEY])
        tally = Tally(pq.read_metadata(out).num_rows, int(metadata[_ERRORS_KEY]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        command = "judge --rank" if "groups" in record else "judge"
        raise InputError(f"{out}: is there already and not from 'earshot {command}'; choose another name") from error
    same_settings(out, found, record)
    shutil.rmtree(parts.folder, ignore_errors=True)
    return tally


def _put_together(parts: Parts, out: Path, record: dict[str, Any], errors: int, source: RowFile) -> None:
    """Parts to OUT, several of them to a row group; then the parts go."""
    model = record["model"]
    readers = [*model.get("listeners", ())], [*model.get("checkers", ())]
    judged: Iterator[Json] = (row for bounds in parts.bounds for row in parts.read(bounds))
    metadata: dict[str | bytes, str | bytes] = {_ERRORS_KEY: str(errors)}
    if source.groups is None:
        schema = schema_of(*readers)
        metadata |= {_JUDGED_KEY: json.dumps(record)}
    else:
        schema = ranking_schema_of(*readers)
        metadata |= {SETTINGS_KEY: json.dumps(record)}
        judged = _with_pictures(judged, source, *record["rows"])
        metadata |= image_features(images="images")
    complete = parts.folder / "complete.parquet"
    with whole(complete) as temporary, RowWriter(temporary, schema.with_metadata(metadata)) as writer:
        for row in judged:
            writer.add(row, sum(len(image["bytes"]) for image in row.get("images", ())))
    with whole(out) as renamed:  # one rename on one file system, and the folder is synced
        complete.rename(renamed)
    shutil.rmtree(parts.folder, ignore_errors=True)


def _with_pictures(ranked: Iterable[Json], source: RowFile, start: int, stop: int) -> Iterator[Json]:
    """Rankings with their prompts and the files of their pictures, as they still stand in IN.

    Raises:
        DataError: A row has changed since it was ranked.
    """
    for told, row in zip(ranked, source.read(start, stop), strict=True):
        if "error" in told:
            yield told | ({} if isinstance(row, BadRow) else {"prompt": row.prompt})
            continue
        files = () if isinstance(row, BadRow) else row.images
        held = [image if isinstance(image, bytes) else read_file(image) for image in files]
        if isinstance(row, BadRow) or sha256_of(row.prompt, *held) != told["sha256"]:
            raise DataError(
                f"{source.path}: row {told['row']} '{told['id']}' has changed since it was ranked; start anew in "
                "another place"
            )
        names = [image.name if isinstance(image, Path) else None for image in files]
        images = [{"bytes": data, "path": name} for data, name in zip(held, names, strict=True)]
        yield told | {"prompt": row.prompt, "ranking": told["images"], "images": images}
