"""A pair set on disk: what is written is what is read, in every way of reading, and half a set is none."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.data.pairset import PairSet, read_pairs
from earshot.data.rows import iter_rows, read_info
from earshot.data.writer import PairSetWriter
from earshot.errors import DataError, ImageError, InputError
from earshot.files import append_jsonl, read_jsonl
from earshot.images import NO_IMAGE, load_image
from earshot.types import Pair, Votes

FORMATS = pytest.mark.parametrize("format", ["parquet", "jsonl"])
Write = Callable[..., Path]


def with_bytes(pair: Pair) -> Pair:
    assert isinstance(pair.first, Path) and isinstance(pair.second, Path)
    return replace(pair, first=pair.first.read_bytes(), second=pair.second.read_bytes())


def change_row(folder: Path, number: int, **values: Any) -> None:
    """Rewrites a row of a set whose metadata is JSON Lines."""
    rows = list(read_jsonl(folder / "metadata.jsonl"))
    rows[number - 1] |= values
    (folder / "metadata.jsonl").unlink()
    append_jsonl(folder / "metadata.jsonl", rows)


@FORMATS
def test_what_is_written_is_what_is_read(write: Write, pairs: list[Pair], format: str) -> None:
    folder = write(pairs, format)
    by_index = PairSet(folder)
    assert [with_bytes(pair) for pair in read_pairs(folder)] == pairs
    assert [with_bytes(by_index[i]) for i in range(3)] == pairs
    assert with_bytes(by_index[-1]) == pairs[-1]
    assert len(by_index) == 3
    assert by_index.column("votes_first").to_pylist() == [3.0, 1.0, 0.0]
    with pytest.raises(IndexError):
        by_index[3]


@FORMATS
def test_many_row_groups_keep_their_order(write: Write, pairs: list[Pair], format: str) -> None:
    many = [replace(pairs[0], id=f"p{i}", prompt=f"prompt {i}") for i in range(9_000)]
    folder = write(many, format, store_images=False)
    assert [row["id"] for row in iter_rows(folder)] == [f"p{i}" for i in range(9_000)]
    by_index = PairSet(folder, require_images=False)
    assert [by_index[i].prompt for i in (0, 8191, 8192, 8_999)] == [f"prompt {i}" for i in (0, 8191, 8192, 8_999)]


@FORMATS
def test_datasets_reads_the_folder_as_an_imagefolder(
    write: Write, pairs: list[Pair], format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    folder = write(pairs, format, name="neutral")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"), split="train"
    )
    assert [row["id"] for row in loaded] == ["p1", "p2", "p3"]
    assert [row["votes_second"] for row in loaded] == [1.0, 1.0, 2.0]
    assert [row["first"].getpixel((0, 0))[0] for row in loaded] == [10, 20, 40]
    assert [row["second"].getpixel((0, 0))[0] for row in loaded] == [20, 30, 10]


def test_files_are_copied_unchanged_once_and_under_names_that_tell_nothing(write: Write, tmp_path: Path) -> None:
    jpeg, webp = tmp_path / "winner_best.jpeg", tmp_path / "edited_face.png"
    Image.new("RGB", (16, 16), "red").save(jpeg, "JPEG")
    Image.new("RGB", (16, 16), "blue").save(webp, "WEBP")  # the ending lies, the content decides
    one = Pair("a", "x", jpeg, webp, Votes(1.0, 0.0))
    folder = write([one, replace(one.swapped(), id="b")])
    stored = sorted(file for file in (folder / "images").rglob("*") if file.is_file())
    assert sorted(file.suffix for file in stored) == [".jpg", ".webp"]
    assert {file.read_bytes() for file in stored} == {jpeg.read_bytes(), webp.read_bytes()}
    assert all(len(file.stem) == 32 and set(file.stem) <= set("0123456789abcdef") for file in stored)
    first, second = read_pairs(folder)
    assert first.first == second.second and first.second == second.first


def test_a_pillow_image_is_stored_without_loss(write: Write) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    [pair] = read_pairs(write([Pair("a", "x", noise, Image.new("L", (9, 9)), Votes(1.0, 0.0))]))
    assert load_image(pair.first) == noise


def test_the_counts_are_kept_beside_the_set(write: Write, tmp_path: Path) -> None:
    small, large = tmp_path / "s.png", tmp_path / "l.jpg"
    Image.new("RGB", (16, 16)).save(small)
    Image.new("RGB", (300, 300)).save(large)
    sides = [(small, large, Votes(0.0, 1.0)), (large, small, Votes(2.0, 1.0)), (large, small, Votes(0.0, 1.0))]
    sides += [(small, large, Votes(1.0, 1.0)), (small, small, Votes(1.0, 0.0))]
    pairs = [Pair(f"p{i}", "x", first, second, votes) for i, (first, second, votes) in enumerate(sides)]
    info = read_info(write(pairs, info={"source": "mine", "shuffle_seed": 7}))
    assert info["source"] == "mine" and info["shuffle_seed"] == 7
    assert info["counts"] == {"pairs": 5, "strict": 4, "tied": 1, "first_preferred": 2, "images": 2}


@FORMATS
def test_a_set_can_do_without_images(write: Write, pairs: list[Pair], format: str) -> None:
    folder = write([replace(pair, first=NO_IMAGE, second=NO_IMAGE) for pair in pairs], format, store_images=False)
    read = list(read_pairs(folder, require_images=False))
    assert [(pair.id, pair.votes, pair.first, pair.second) for pair in read] == [
        (pair.id, pair.votes, b"", b"") for pair in pairs
    ]
    assert PairSet(folder, require_images=False)[1] == read[1]
    assert not (folder / "images").exists()
    for reading in (lambda: list(read_pairs(folder)), lambda: PairSet(folder)):
        with pytest.raises(DataError, match="has no images"):
            reading()
    with pytest.raises(ImageError, match="this pair has no image"):
        load_image(read[0].first)


# Not writing over, and not leaving halves


def test_nothing_is_written_over(write: Write, pairs: list[Pair], tmp_path: Path) -> None:
    folder = write(pairs)
    before = (folder / "metadata.parquet").read_bytes()
    with pytest.raises(InputError, match="holds a finished pair set"):
        PairSetWriter(folder)
    assert (folder / "metadata.parquet").read_bytes() == before
    with pytest.raises(InputError, match="is a file"):
        PairSetWriter(folder / "metadata.parquet")


@pytest.mark.parametrize("existing", [False, True])
def test_after_a_failure_nothing_is_left(pairs: list[Pair], tmp_path: Path, existing: bool) -> None:
    folder = tmp_path / "set"
    if existing:
        folder.mkdir()
    with pytest.raises(RuntimeError), PairSetWriter(folder) as writer:
        writer.add(pairs[0])
        assert list((folder / "images").rglob("*.png"))
        raise RuntimeError
    assert list(folder.iterdir()) == [] if existing else not folder.exists()


@FORMATS
def test_a_truncated_file_is_an_error(write: Write, pairs: list[Pair], format: str) -> None:
    folder = write(pairs, format)
    metadata = folder / f"metadata.{format}"
    metadata.write_bytes(metadata.read_bytes()[:-20])
    for reading in (lambda: list(read_pairs(folder)), lambda: PairSet(folder)):
        with pytest.raises(DataError, match=rf"metadata\.{format}") as caught:
            reading()
        assert "\n" not in str(caught.value)


def test_a_set_without_pairs_is_neither_written_nor_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pair was written"), PairSetWriter(tmp_path / "set"):
        pass
    assert not (tmp_path / "set").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no metadata\.parquet"):
        read_pairs(tmp_path / "empty")
    with pytest.raises(InputError, match="is no folder"):
        read_pairs(tmp_path / "nowhere")
    (tmp_path / "empty" / "metadata.jsonl").touch()
    with pytest.raises(DataError, match="holds no pairs"):
        list(read_pairs(tmp_path / "empty"))


def test_two_metadata_files_are_ambiguous(write: Write, pairs: list[Pair]) -> None:
    folder = write(pairs)
    (folder / "metadata.jsonl").touch()
    with pytest.raises(DataError, match="both"):
        read_pairs(folder)


def test_repeated_ids_are_not_written(tmp_path: Path, pairs: list[Pair]) -> None:
    with pytest.raises(DataError, match="pairs 1 and 3"), PairSetWriter(tmp_path / "set") as writer:
        for pair in (pairs[0], pairs[1], replace(pairs[2], id="p1")):
            writer.add(pair)
    assert not (tmp_path / "set").exists()


def test_a_refused_pair_leaves_nothing_behind(tmp_path: Path, pairs: list[Pair]) -> None:
    cut = pairs[0].first[:-30]  # type: ignore[index]
    bad = [
        replace(pairs[0], id="b1", second=tmp_path / "none.png"),
        replace(pairs[0], id="b2", second=cut),
        replace(pairs[0], id="b3", second=NO_IMAGE),
        replace(pairs[0], id=""),
        replace(pairs[0], prompt=" \n"),
        replace(pairs[0], prompt="half an emoji \ud83d"),
        replace(pairs[0], axis="beauty"),
    ]
    with PairSetWriter(tmp_path / "set") as writer:
        for pair in bad:
            with pytest.raises(DataError, match="pair "):
                writer.add(pair)
        writer.add(pairs[1])
    assert [pair.id for pair in read_pairs(tmp_path / "set")] == ["p2"]
    assert len(list((tmp_path / "set" / "images").rglob("*.png"))) == 2


def test_limits_are_held_when_writing(tmp_path: Path, pairs: list[Pair]) -> None:
    small = io.BytesIO()
    Image.new("RGB", (12, 7)).save(small, "PNG")
    with PairSetWriter(tmp_path / "set", verify=False) as writer:
        with pytest.raises(ImageError, match="pair 'p1', first image: is 12 x 7 pixels"):
            writer.add(replace(pairs[0], first=small.getvalue()))
        writer.add(pairs[0])


# Bad rows


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"votes_first": -1}, "votes_first is -1"),
        ({"votes_second": "3"}, "votes_second is '3'"),
        ({"votes_second": True}, "votes_second is True"),
        ({"votes_first": None}, "votes_first is None"),
        ({"votes_first": 1e999}, "votes_first is None"),  # JSON has no infinity: written as null
        ({"id": 7}, "id is 7, expected text"),
        ({"prompt": ""}, "prompt is ''"),
        ({"axis": "beauty"}, "expected one of preference, style, coherence, alignment"),
        ({"label": "neither"}, "expected one of first, second, tie, both_bad"),
        ({"split": 3}, "split is 3"),
        ({"first_file_name": None}, "first_file_name is None"),
        ({"first_file_name": None, "second_file_name": None}, "has no images"),
        ({"first_file_name": "/etc/passwd"}, "absolute"),
        ({"second_file_name": "images/../../x.png"}, r"'\.\.'"),
        ({"second_file_name": "images/none.png"}, r"images/none\.png is missing"),
    ],
)
def test_a_bad_row_is_named_or_tolerated(write: Write, pairs: list[Pair], values: dict[str, Any], reason: str) -> None:
    folder = write(pairs, "jsonl")
    change_row(folder, 2, **values)
    with pytest.raises(DataError, match=rf"metadata\.jsonl:2: .*{reason}") as caught:
        list(read_pairs(folder))
    assert "\n" not in str(caught.value)
    assert [pair.id for pair in read_pairs(folder, tolerate=1)] == ["p1", "p3"]


def test_random_access_leaves_bad_rows_out_and_still_names_rows_rightly(write: Write, pairs: list[Pair]) -> None:
    folder = write(pairs, "jsonl")
    change_row(folder, 1, votes_first=-1)
    change_row(folder, 3, first_file_name="images/none.png")
    with pytest.raises(DataError, match=r"metadata\.jsonl:1: votes_first") as caught:
        PairSet(folder)
    seen: list[DataError] = []
    kept = PairSet(folder, tolerate=1, on_error=seen.append)
    assert [str(error) for error in seen] == [str(caught.value)]
    assert len(kept) == 2 and kept[0].id == "p2"
    with pytest.raises(ImageError, match=r"metadata\.jsonl:3: .*missing"):
        kept[1]


def test_an_error_of_the_reader_s_user_is_not_taken_for_a_bad_row(write: Write, pairs: list[Pair]) -> None:
    with pytest.raises(DataError, match="mine"):
        for _ in read_pairs(write(pairs), tolerate=9):
            raise DataError("mine")


def test_parquet_of_other_types_or_without_a_column_is_refused(write: Write, pairs: list[Pair]) -> None:
    folder = write(pairs)
    table = pq.read_table(folder / "metadata.parquet")
    votes = table.schema.get_field_index("votes_first")
    pq.write_table(table.set_column(votes, "votes_first", pa.array(["3", "1", "0"])), folder / "metadata.parquet")
    for reading in (lambda: list(read_pairs(folder)), lambda: PairSet(folder)):
        with pytest.raises(DataError, match=r"metadata\.parquet row 1: votes_first is '3'"):
            reading()
    pq.write_table(table.drop_columns(["votes_first"]), folder / "metadata.parquet")
    with pytest.raises(DataError, match="has no column votes_first"):
        PairSet(folder)


def test_optional_columns_may_be_absent_and_others_present(write: Write, pairs: list[Pair]) -> None:
    folder = write(pairs)
    table = pq.read_table(folder / "metadata.parquet").drop_columns(["axis", "source"])
    whole_numbers = pa.array([3, 1, 0], pa.int32())
    table = table.set_column(table.schema.get_field_index("votes_first"), "votes_first", whole_numbers)
    pq.write_table(table.append_column("truth", pa.array([1, 2, 3])), folder / "metadata.parquet")
    assert PairSet(folder)[0] == next(read_pairs(folder))
    assert PairSet(folder)[0].axis is None and PairSet(folder)[0].votes == Votes(3.0, 1.0)
    assert "truth" not in next(iter_rows(folder))


def test_a_link_out_of_the_folder_is_refused_behind_a_subfolder_that_was_sound(
    write: Write, pairs: list[Pair], tmp_path: Path
) -> None:
    folder = write(pairs, "jsonl")
    (tmp_path / "secret.png").write_bytes(pairs[0].first)  # type: ignore[arg-type]
    sound = json.loads((folder / "metadata.jsonl").read_text().splitlines()[0])["first_file_name"]
    link = str(Path(sound).with_name("link.png"))
    (folder / link).symlink_to(tmp_path / "secret.png")
    change_row(folder, 2, first_file_name=sound, second_file_name=link)
    with pytest.raises(ImageError, match=r"jsonl:2: .*leaves"):
        list(read_pairs(folder))
