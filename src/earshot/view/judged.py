"""Rows of predictions.jsonl, with what people say of their pairs."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from earshot.files import parse_jsonl_line
from earshot.predictions.facts import widest_gaps
from earshot.predictions.judgement import AUTHOR
from earshot.predictions.people import DESCRIPTION, People
from earshot.predictions.run import Evaluation
from earshot.predictions.sides import differs, flips
from earshot.predictions.table import BAD_ROW, TableBuilder
from earshot.rundir import RunDir
from earshot.types import Side
from earshot.view.pictures import Pairs
from earshot.view.rows import GAP, MAX_LIST_CHARACTERS, File, Source, columns_of, cut, identity_of, searchable, utf8

BATCH = 1024
"""Lines read at a time."""

_TEXTS = pa.schema([("id", pa.string()), ("prompt", pa.string()), ("text", pa.binary()), ("line", pa.binary())])

Row = Mapping[str, Any]


class JudgedSource(Source):
    """The judged pairs of an evaluation."""

    def __init__(self, evaluation: Evaluation, pairs: Pairs) -> None:
        self.run, self.name = evaluation.run, evaluation.set_name
        self.pairs = pairs
        self._evaluation = evaluation
        self._people: People | None = None
        self._people_of: Hashable = None

    def files(self) -> list[tuple[Path, Hashable]]:
        people = identity_of(RunDir(self._evaluation.folder).people)
        if self._people is None or people != self._people_of:  # a vote was put right
            self._people, self._people_of = self._evaluation.people(), people
        found = [(path, identity_of(path)) for path in self._evaluation.files()]
        return [(path, (identity[0], people)) for path, identity in found if identity is not None]

    def read(self, file: File) -> Iterator[pa.Table]:
        with suppress(FileNotFoundError), file.path.open("rb") as lines:
            size = lines.seek(0, os.SEEK_END)
            lines.seek(file.offset)
            while batch := list(islice(lines, BATCH)):
                whole = [line for line in batch if line.endswith(b"\n")]  # the last may be half-written: it waits
                table = self._table(whole, file)
                file.offset += sum(map(len, whole))
                file.lines += len(whole)
                file.share = file.offset / size
                yield table

    def _table(self, lines: Sequence[bytes], file: File) -> pa.Table:
        """The columns of some lines, refused and counted by the rules of metrics.json."""
        builder, found = TableBuilder(), []
        for number, line in enumerate(lines, start=file.lines + 1):
            try:
                row = self._joined(line)
                if "error" in row:  # a bad row of the set, of which there is no prediction
                    continue
                texts = self._texts(row) | {"line": line}
                builder.add(row)
                found.append(texts)
            except BAD_ROW as error:
                what = f"{type(error).__name__}: {error}; expected a row as 'earshot eval' writes it"
                file.leave_out(f"line {number}: {what}")
        table, n = builder.table(), len(found)
        gaps = widest_gaps(table)
        columns = pa.Table.from_pylist(found, _TEXTS)
        return pa.table(
            {
                **dict(zip(columns.column_names, columns.columns, strict=True)),
                **columns_of(table.p_first, table.votes_first, table.votes_second),
                "p_first": table.p_first,
                "malformed": np.bincount(table.sample_pair[table.malformed], minlength=n),
                "samples": np.bincount(table.sample_pair, minlength=n),
                "flip": flips(table.p_forward, table.p_swapped),
                "gap": np.fmax.reduce([np.full(n, np.nan), *gaps.values()]),
                **{GAP + name: gap for name, gap in gaps.items()},
                "confidence": np.abs(table.p_first - 0.5),
                "order_gap": np.abs(table.p_forward - table.p_swapped),
            }
        )

    def _texts(self, row: Row) -> dict[str, str | bytes]:
        prompt = self._prompt(row)
        written = [row.get(name) for name in ("id", "prompt_id", *DESCRIPTION)]
        written += [sample[name] for sample in row["samples"] for name in ("trace", "malformed")]
        return {
            "id": utf8(row["id"]),
            "prompt": utf8(prompt)[:MAX_LIST_CHARACTERS],
            "text": searchable([prompt, *written]),
        }

    def _joined(self, line: bytes) -> dict[str, Any]:
        """The row on a line; one of `BAD_ROW` where there is none."""
        row = parse_jsonl_line(line)
        if isinstance(row, str):
            raise ValueError(row)
        assert self._people is not None
        return row if "error" in row else self._people.joined(row)

    def _prompt(self, row: Row) -> Any:
        return self.pairs.prompts.get(str(row["id"]), row["prompt_id"])

    def detail(self, row: Row) -> dict[str, Any]:
        row, about = self._joined(row["line"]), ("axis", "category")
        return {
            "id": cut(row["id"]),
            "prompt": cut(self._prompt(row)),
            "prompt_id": cut(row["prompt_id"], MAX_LIST_CHARACTERS),
            "p_forward": row["p_first_forward"],
            "p_swapped": row["p_first_swapped"],
            "decided_by": row.get("decided_by", AUTHOR),
            "p_author": row.get("p_author", row["p_first"]),
            "p_read": row.get("p_read") or {},
            "reason": row.get("reason"),
            "label": row.get("label"),
            "models": [cut(row.get(name), MAX_LIST_CHARACTERS) for name in ("model_first", "model_second")],
            "about": {name: cut(row[name], MAX_LIST_CHARACTERS) for name in about if row.get(name) is not None},
            "samples": [_sample(sample) for sample in row["samples"]],
        }


def _sample(sample: Row) -> dict[str, Any]:
    return {
        "order": sample["order"],
        "side": sample["side"],
        "malformed": cut(sample["malformed"]),
        "p_first": sample["p_first"],
        "trace": cut(sample["trace"]),
        "listeners": [heard(name, p, sample["side"]) for name, p in (sample.get("listener") or {}).items()],
        "claims": sample.get("claims"),
    }


def heard(name: str, p_first: float | None, side: Side | None) -> dict[str, Any]:
    """What a listener made of a completion whose verdict is `side`."""
    return {"name": name, "p_first": p_first, "differs": bool(differs(p_first, side))}
