"""Shards: found by their names, read a few rows at a time, images only where they are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earshot.data.public import find_importer
from earshot.data.public.parquet import find_shards, read_rows, shards_absent
from earshot.errors import DataError, InputError
from earshot.images import NO_IMAGE, Tolerance
from tests.data.public.sets import HUB_IMAGE, write_shards

SCHEMA = pa.schema([("prompt", pa.string()), ("n", pa.int64()), ("image1", HUB_IMAGE)])
KILOBYTES = 64


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": "x", "n": n, "image1": {"bytes": bytes([n % 256]) * 1024 * KILOBYTES}} for n in range(count)]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_shards_are_told_by_the_hubs_names_nested_or_not(tmp_path: Path) -> None:
    hub = touch(tmp_path / "a", "data/test-00001-of-00003-0123abcd.parquet", "data/test-00000-of-00003-89ef.parquet")
    touch(hub, ".cache/huggingface/test-00002-of-00003.parquet", "README.md")
    shards = find_shards(hub)
    assert [(shard.key, shard.split, shard.of) for shard in shards] == [
        ("test-00000", "test", 3),
        ("test-00001", "test", 3),
    ]
    assert shards_absent(shards) == 1
    converted = find_shards(touch(tmp_path / "b", "default/train/0000.parquet", "default/train/0001.parquet"))
    assert [(shard.key, shard.split) for shard in converted] == [("train-0000", "train"), ("train-0001", "train")]
    [alone] = find_shards(touch(tmp_path / "c", "mine.parquet") / "mine.parquet")
    assert (alone.key, alone.split) == ("mine", None)


def test_no_shards_and_shards_of_one_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file or folder"):
        find_shards(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no \*\.parquet"):
        find_shards(touch(tmp_path / "a", "x.json"))
    twice = touch(tmp_path / "b", "one/test-00000-of-00001.parquet", "two/test-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"is shard test-00000 as .* is; move one of them away"):
        find_shards(twice)


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = {}
    for count in (32, 320):
        source = tmp_path / str(count)
        (source / "data").mkdir(parents=True)
        shard = source / "data" / "test-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(rows(count), SCHEMA), shard, row_group_size=16)
        before, peak, seen = pa.total_allocated_bytes(), 0, 0
        for row in read_rows(find_shards(source), ["n"], ["image1"], images=True):
            seen += row.values["n"] == seen
            peak = max(peak, pa.total_allocated_bytes() - before)
        peaks[count] = peak
        assert seen == count
    # 320 rows are 20 MB of images, a row group 1 MB.
    assert peaks[320] < peaks[32] + 2**20 and peaks[320] < 5 * 2**20


def test_rows_are_drawn_only_as_pairs_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pa.schema([*SCHEMA, ("votes_image1", pa.int64()), ("votes_image2", pa.int64()), ("image2", HUB_IMAGE)])
    made = [{**row, "votes_image1": 2, "votes_image2": 1, "image2": row["image1"]} for row in rows(100)]
    source = write_shards(tmp_path / "s", made, schema, of=4)
    drawn: list[int] = []
    stock = pq.ParquetFile.iter_batches

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        for batch in stock(self, *args, **kwargs):
            drawn.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    pairs = iter(find_importer("rapidata-style").read(source, Tolerance()).pairs)
    assert drawn == []
    next(pairs)
    assert sum(drawn) <= 8
    assert sum(1 for _ in pairs) == 99 and sum(drawn) == 100 and max(drawn) <= 8


def test_images_are_not_read_where_they_are_not_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pa.schema([*SCHEMA, ("votes_image1", pa.int64()), ("votes_image2", pa.int64())])
    source = write_shards(tmp_path / "s", [{**row, "votes_image1": 2, "votes_image2": 1} for row in rows(3)], schema)
    asked: list[list[str]] = []
    stock = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda self, **options: asked.append(options["columns"]) or stock(self, **options),
    )
    pairs = list(find_importer("rapidata-style").read(source, Tolerance(), images=False).pairs)
    assert [pair.first for pair in pairs] == [NO_IMAGE] * 3 and asked == [["prompt", "votes_image1", "votes_image2"]]


def test_damage_further_in_is_named(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "s", rows(40), SCHEMA)
    [shard] = find_shards(source)
    data = bytearray(shard.file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(4096)
    shard.file.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet"):
        for row in read_rows([shard], ["n"], ["image1"], images=True):
            if row.values["image1"]["bytes"] != bytes([row.values["n"] % 256]) * 1024 * KILOBYTES:
                raise DataError(f"{shard.file}: read what was not written")
