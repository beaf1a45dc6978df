"""The check lists every bad row, where reading would stop at the first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.data.check import Problem, check_pairset
from earshot.errors import InputError
from earshot.images import NO_IMAGE
from earshot.rundir import append_jsonl, read_jsonl
from earshot.types import Pair, Votes

Write = Callable[..., Path]


def spoil(folder: Path, changes: dict[int, dict[str, Any]]) -> None:
    """Changes rows of a set, told by their number."""
    rows = list(read_jsonl(folder / "metadata.jsonl"))
    for number, values in changes.items():
        rows[number - 1] |= values
    (folder / "metadata.jsonl").unlink()
    append_jsonl(folder / "metadata.jsonl", rows)


def reasons(problems: list[Problem]) -> dict[int | None, list[str]]:
    by_row: dict[int | None, list[str]] = {}
    for problem in problems:
        by_row.setdefault(problem.row, []).append(problem.reason)
    return by_row


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_sound_set_has_no_problems(write: Write, pairs: list[Pair], format: str, workers: int) -> None:
    assert list(check_pairset(write(pairs, format), workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_every_fault_of_every_row_is_listed(write: Write, pairs: list[Pair], workers: int) -> None:
    images = [pair.first for pair in pairs]
    many = [Pair(f"p{n}", "x", images[0], images[1], Votes(1.0, 0.0)) for n in range(1, 13)]
    folder = write(many, "jsonl")
    (folder / "images" / "cut.png").write_bytes(images[0][:-20])  # type: ignore[index]
    (folder / "images" / "out.png").symlink_to("/etc/hostname")
    spoil(
        folder,
        {
            2: {"votes_first": -1, "votes_second": "many", "prompt": ""},
            3: {"first_file_name": "images/none.png", "second_file_name": "../x.png"},
            4: {"first_file_name": "images/cut.png"},
            5: {"first_file_name": "images/out.png"},
            6: {"axis": "beauty"},
            7: {"id": "p1"},
            8: {"id": None},
            9: {"first_file_name": None, "second_file_name": None},
            10: {"id": "p1"},
            11: {"model_first": 3},
        },
    )
    found = reasons(list(check_pairset(folder, workers=workers)))
    assert sorted(found) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert [reason.split(" is ")[0] for reason in found[2]] == ["prompt", "votes_first", "votes_second"]
    assert "is missing" in found[3][0] and "'..'" in found[3][1]
    assert "truncated" in found[4][0] and "leaves" in found[5][0]
    assert found[7] == found[10] == ["has the id of row 1; expected one of its own"]
    assert "id is None" in found[8][0] and "has no images" in found[9][0] and "model_first is 3" in found[11][0]


def test_lines_that_are_no_rows_are_listed_among_the_others(write: Write, pairs: list[Pair]) -> None:
    folder = write(pairs, "jsonl")
    lines = (folder / "metadata.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metadata.jsonl").write_bytes(lines[0] + b"\n" + b"[1]\n" + lines[1] + lines[0] + lines[2][:-9])
    found = reasons(list(check_pairset(folder)))
    # Six lines: sound, blank, a list, sound, the first again, cut. The count is that of dataset.json no more.
    assert sorted(found, key=str) == [3, 5, 6, None]
    assert found[5] == ["has the id of row 1; expected one of its own"] and "a JSON list" in found[3][0]
    assert "holds 5 pairs where dataset.json says 3" in found[None][0]


def test_a_copy_that_lost_its_last_rows_is_noticed(write: Write, pairs: list[Pair]) -> None:
    folder = write(pairs, "jsonl")
    lines = (folder / "metadata.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "metadata.jsonl").write_bytes(b"".join(lines[:2]))
    [problem] = check_pairset(folder)
    assert problem.row is None and "holds 2 pairs where dataset.json says 3" in problem.reason


def test_half_written_empty_and_damaged_sets_are_problems(write: Write, pairs: list[Pair], tmp_path: Path) -> None:
    half, empty, damaged = tmp_path / "half", tmp_path / "empty", write(pairs)
    for folder in (half, empty):
        folder.mkdir()
    (half / ".tmp-0a-metadata.parquet").touch()
    (empty / "metadata.jsonl").touch()
    metadata = damaged / "metadata.parquet"
    metadata.write_bytes(metadata.read_bytes()[:-1])
    for folder, reason in ((half, "half-written"), (empty, "no pairs"), (damaged, "no complete parquet")):
        [problem] = check_pairset(folder)
        assert reason in problem.reason and problem.row is None
    with pytest.raises(InputError, match="is no folder"):
        list(check_pairset(tmp_path / "nowhere"))


def test_parquet_of_other_types_is_listed_row_by_row(write: Write, pairs: list[Pair]) -> None:
    folder = write(pairs)
    table = pq.read_table(folder / "metadata.parquet")
    table = table.set_column(0, "id", pa.array([1, 2, 2]))
    pq.write_table(table, folder / "metadata.parquet")
    assert [problem.row for problem in check_pairset(folder)] == [1, 2, 3]


def test_the_images_of_a_set_made_without_them_are_not_asked_for(write: Write, pairs: list[Pair]) -> None:
    bare = [Pair(pair.id, pair.prompt, NO_IMAGE, NO_IMAGE, pair.votes) for pair in pairs]
    assert list(check_pairset(write(bare, store_images=False))) == []


def test_an_image_beyond_a_limit_is_told_in_every_pair_that_has_it(write: Write, pairs: list[Pair]) -> None:
    folder = write(pairs)
    [row, *_] = pq.read_table(folder / "metadata.parquet").to_pylist()
    Image.new("RGB", (12, 7)).save(folder / row["first_file_name"])
    # The first image of p1 is the second of p3.
    assert [(problem.row, "12 x 7 pixels" in problem.reason) for problem in check_pairset(folder)] == [
        (1, True),
        (3, True),
    ]
