"""The check lists every bad row, where reading would stop at the first."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.data.check import Note, Problem, check_pairset
from earshot.errors import DataError, InputError
from earshot.files import append_jsonl, read_jsonl
from earshot.images import NO_IMAGE
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


# Notes


def notes(folder: Path) -> dict[str, tuple[int, list[int], list[int]]]:
    found: list[Note] = []
    assert list(check_pairset(folder, on_note=found.append)) == []
    return {note.kind: (note.n_rows, note.rows, note.earlier) for note in found}


def test_the_same_picture_is_told_by_its_pixels(write: Write) -> None:
    image, other = Image.new("RGB", (12, 10), (9, 0, 0)), Image.new("RGB", (12, 10), (8, 0, 0))
    quick, small = (io.BytesIO() for _ in range(2))
    image.save(quick, "PNG", compress_level=0)
    image.save(small, "PNG", compress_level=9)
    turned = Image.new("RGB", (10, 12), (9, 0, 0))  # the same bytes of pixels in another shape
    sides = [(image, other), (quick.getvalue(), small.getvalue()), (image, turned), (image, image), (other, image)]
    pairs = [Pair(f"p{n}", f"x{n}", one, two, Votes(1.0, 0.0)) for n, (one, two) in enumerate(sides)]
    assert notes(write(pairs)) == {"same_picture": (2, [2, 4], [])}


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_repeated_pairs_and_opposite_votes_are_told_whichever_side_they_are_on(write: Write, format: str) -> None:
    a, b, c = (Image.new("RGB", (12, 10), (shade, 0, 0)) for shade in (10, 20, 30))
    rows = [
        ("A cat.", a, b, (2, 1)),
        ("a  cat", b, a, (1, 3)),  # again, and a wins again
        ("a cat", a, b, (1, 1)),  # again, a tie
        ("a cat", b, a, (2, 0)),  # again, and a loses
        ("a cat", a, b, (0, 1)),  # again, and a loses
        ("a dog", a, b, (0, 1)),  # another prompt
        ("a cat", a, c, (0, 1)),  # another picture
        ("a bird", a, c, (0, 1)),
        ("a bird", c, a, (0, 1)),  # again, and a wins where it lost
        ("a fish", c, c, (0, 1)),
        ("a fish", c, c, (1, 0)),  # again; of one picture no majority is against another
    ]
    pairs = [
        Pair(f"p{n}", prompt, one, two, Votes(*map(float, votes))) for n, (prompt, one, two, votes) in enumerate(rows)
    ]
    assert notes(write(pairs, format)) == {
        "same_picture": (2, [10, 11], []),
        "repeated_pair": (6, [2, 3, 4, 5, 9], [1, 1, 1, 1, 8]),
        "opposite_votes": (3, [4, 5, 9], [1, 1, 8]),
    }


def test_rows_with_faults_are_not_compared(write: Write, pairs: list[Pair]) -> None:
    many = [Pair(f"p{n}", "x", pairs[0].first, pairs[0].second, Votes(1.0, 0.0)) for n in range(1, 6)]
    folder = write(many, "jsonl")
    spoil(folder, {1: {"votes_first": -1}, 2: {"prompt": 3}, 3: {"first_file_name": "none.png"}})
    found: list[Note] = []
    assert len(list(check_pairset(folder, on_note=found.append))) == 3
    assert [(note.kind, note.rows, note.earlier) for note in found] == [("repeated_pair", [5], [4])]


def test_a_set_without_images_is_told(write: Write, pairs: list[Pair]) -> None:
    bare = [Pair(pair.id, pair.prompt, NO_IMAGE, NO_IMAGE, pair.votes) for pair in pairs]
    assert notes(write(bare, store_images=False)) == {"no_images": (3, [1, 2, 3], [])}


def test_a_folder_that_is_no_pair_set_is_an_error_and_no_problem(tmp_path: Path) -> None:
    (tmp_path / "train.json").touch()
    with pytest.raises(DataError, match=r"holds no metadata\.parquet or metadata\.jsonl"):
        list(check_pairset(tmp_path))
