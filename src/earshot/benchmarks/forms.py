"""What a file of answers holds, told by the fields of its first row, and what is said of a file that holds none.

`docs/scorers.md` has the table of forms.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from earshot.benchmarks.truth import Key
from earshot.data.row_files import Row, first_row, iter_row_file
from earshot.errors import DataError, InputError, short

Columns = Mapping[str, Sequence[str]]
"""By what a field is called here, what it may be called in a file, which has one of these at most."""

ORDERS = ("forward", "swapped")
FIELDS = (
    "id", "image", "prompt_id", "sha256", "score", "rewards", "choice", "p_first", "score_first", "score_second",
    *(f"{stem}_{order}" for stem in ("choice", "p_first") for order in ORDERS),
)  # fmt: skip
"""What can stand under another name."""

JUDGED_PROMPTS = {"prompt": "genai-bench-tiger", "instruct_prompt": "genai-bench-tiger-edit"}
"""What judges' texts on GenAI-Bench call the prompt, by task; and the set that pairs of the task are of."""

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_HEAD_BYTES = 65_536


class Form(NamedTuple):
    """What a file holds, by the fields of its rows."""

    kind: Literal["predictions", "judgements", "labelled_scores", "images", "groups", "pairs"]
    key: Key | None
    """What its rows are joined to the truth by; None where they carry it themselves."""


def answers_file(path: Path) -> Path:
    """The file of answers, of a run's folder its predictions."""
    return path / "predictions.jsonl" if (path / "predictions.jsonl").is_file() else path


def form_of(path: Path, columns: Columns | None = None, example: Mapping[str, Any] | None = None) -> Form:
    """What a file holds.

    Args:
        path: The file.
        columns: Fields that go by other names in it.
        example: A row of answers such as are wanted, for the message.

    Raises:
        InputError: There is no such file.
        DataError: It is another kind of file than its ending says, or its first row has the fields of no form.
    """
    row = first_answer(path, columns)
    has = row.keys().__contains__
    if has("samples") and has("p_first_forward"):
        return Form("predictions", None)
    if all(map(has, ("response", "human_vote", "idx"))) and any(map(has, JUDGED_PROMPTS)):
        return Form("judgements", None)
    if all(map(has, ("score_0", "score_1", "label", "id", "caption"))):
        return Form("labelled_scores", None)
    if has("id") and has("rewards"):
        return Form("groups", "place")
    if has("score") and has("sha256") and "image" not in (columns or {}):
        return Form("images", "sha256")
    if has("score") and has("image"):
        return Form("images", "prompt_image" if has("prompt_id") else "image")
    if has("id") and answer_columns(row):
        return Form("pairs", "id")
    example = example or {"image": "a/cat.png", "score": 0.71}
    options = {"image": "--image-column NAME", "score": "--score-column NAME"}
    name = " ".join(options.get(field, f"--column {field}=NAME") for field in example if not has(field))
    raise DataError(
        f"{path}: has the columns {told(first_row(path))}, expected for example {as_line(example, path.suffix)}; name "
        f"those that are called otherwise ({name}), other forms are in docs/scorers.md"
    )


def answer_columns(row: Row) -> list[str]:
    """The fields of answers to a pair that a row has, of those that are read."""
    if ("score_first" in row) != ("score_second" in row):
        return []
    known = ("choice", "p_first", "score_first", "score_second")
    both = [f"{stem}_{order}" for stem in ("choice", "p_first") for order in ORDERS]
    return [name for name in (*known, *both) if name in row]


def first_answer(path: Path, columns: Columns | None = None) -> Row:
    """The first row, its fields under the names they have here.

    Raises:
        InputError: There is no such file.
        DataError: It is another kind of file than its ending says, has no head, or not the columns that were named.
    """
    _refuse_other_kinds(path)
    return _renamed(first_row(path), _names(path, columns))


def iter_answers(path: Path, columns: Columns | None = None) -> Iterator[Row]:
    """Yields the rows, their fields under the names they have here; refused as `first_answer` says."""
    names = _names(path, columns)
    return (_renamed(row, names) for row in iter_row_file(path))


def as_line(row: Mapping[str, Any], suffix: str) -> str:
    """A row as it stands in a file with that ending."""
    if suffix.lower() != ".csv":
        return json.dumps(row)
    return f"the lines '{','.join(row)}' and '{','.join(str(value) for value in row.values())}'"


def told(row: Row) -> str:
    """The names of a row's columns, for a message."""
    names = [short(name) if name != name.strip() or not name else short(name)[1:-1] for name in row]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _renamed(row: Row, names: Mapping[str, str]) -> Row:
    return row if not names else {**row, **{field: row.get(name) for field, name in names.items()}}


def _names(path: Path, columns: Columns | None) -> dict[str, str]:
    """What each renamed field is called in this file."""
    if not columns:
        return {}
    row = first_row(path)
    names = {}
    for field, candidates in columns.items():
        present = [name for name in dict.fromkeys(candidates) if name in row]
        if len(present) > 1:
            raise DataError(f"{path}: has both {present[0]} and {present[1]} for {field}, expected one; leave one out")
        if present:
            names[field] = present[0]
    return names


def refuse_misnamed(paths: Sequence[Path], columns: Columns) -> None:
    """Raises DataError where a name that was given for a field is of a column in none of the files."""
    rows = [first_answer(path) for path in paths]
    for field, names in columns.items():
        for name in names:
            if rows and not any(name in row for row in rows):
                raise DataError(f"{paths[0]}: has no column {name} for {field}, expected one of its columns, "
                                f"{told(rows[0])}; correct the name")  # fmt: skip


def _refuse_other_kinds(path: Path) -> None:
    """Raises where the first bytes are those of another kind of file than its ending says, or hold no head."""
    suffix = path.suffix.lower()
    if path.is_dir():
        raise InputError(f"{path}: is a folder without a predictions.jsonl, expected a file of answers; give the file")
    if not path.is_file():
        return  # which the reader tells
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if suffix in _SPREADSHEETS or head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{path}: is a spreadsheet, expected text; save it as CSV (UTF-8, separated by commas)")
    if suffix not in (".csv", ".json", ".jsonl"):
        return
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: is text in UTF-16, expected UTF-8; save it so")
    text = head.decode("utf-8-sig", "replace").lstrip()
    if not text:
        raise DataError(f"{path}: is empty, expected rows of answers; check what wrote it")
    line = text.partition("\n")[0].rstrip("\r")
    if suffix == ".csv":
        _refuse_heads(path, line)
    elif text[0] != {".json": "[", ".jsonl": "{"}[suffix]:
        kind = {"{": "JSON Lines or one object", "[": "a JSON list"}.get(text[0], "no JSON")
        wanted = "a list of rows, [{…}, …]" if suffix == ".json" else "an object a line, {…}"
        ending = {"[": ".json", "{": ".jsonl if it has an object a line"}.get(text[0], ".csv if that is what it is")
        raise DataError(f"{path}: holds {kind}, beginning with {short(line)}, expected {wanted}; name it {ending}")


def _refuse_heads(path: Path, line: str) -> None:
    """Raises where the first line of a CSV file cannot be one of columns' names."""
    if line.lstrip().startswith(("{", "[")):
        raise DataError(f"{path}: holds JSON, beginning with {short(line)}, expected CSV; name it .jsonl or .json")
    other = next((mark for mark in (";", "\t", "|") if mark in line and "," not in line), None)
    if other is not None:
        raise DataError(f"{path}: its head is {short(line)}, expected names separated by commas, not by {other!r}; "
                        "save it so, with points in its numbers")  # fmt: skip
    names = next(csv.reader(io.StringIO(line)), [])
    if any(_is_number(name) for name in names):
        raise DataError(f"{path}: begins with {short(line)}, expected a head that names the columns, such as "
                        "'image,score'; put one before it")  # fmt: skip
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: its head names {twice!r} twice, expected each column once; rename one of them")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
