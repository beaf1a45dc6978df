"""Pick-a-Pic: labels, ties, rows without a label, splits and shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earshot.data.rows import read_info
from earshot.errors import DataError, InputError
from tests.data.public.sets import picture, write_shards

SCHEMA = pa.schema(
    [
        ("are_different", pa.bool_()),
        ("best_image_uid", pa.string()),
        ("caption", pa.string()),
        ("created_at", pa.timestamp("ns")),
        ("has_label", pa.bool_()),
        ("image_0_uid", pa.string()),
        ("image_1_uid", pa.string()),
        ("jpg_0", pa.binary()),
        ("jpg_1", pa.binary()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
        ("model_0", pa.string()),
        ("model_1", pa.string()),
        ("ranking_id", pa.int64()),
        ("user_id", pa.int64()),
        ("num_example_per_prompt", pa.int64()),
        ("__index_level_0__", pa.int64()),
    ]
)


def row(n: int, label_0: Any, label_1: Any, **changes: Any) -> dict[str, Any]:
    images = {"jpg_0": picture(10 * n), "jpg_1": picture(10 * n + 5)}
    labels = {"has_label": True, "label_0": label_0, "label_1": label_1}
    return {"caption": f"cat {n}", **images, **labels, "model_0": "sdxl", "model_1": "dreamlike"} | changes


ROWS = [row(0, 1.0, 0.0), row(1, 0.0, 1.0), row(2, 0.5, 0.5), row(3, 0.0, 0.0, has_label=False), row(4, 1.0, 0.0)]


def without(*columns: str) -> pa.Schema:
    return pa.schema([field for field in SCHEMA if field.name not in columns])


@pytest.mark.parametrize("name", ["pickapic-v1", "pickapic-v2"])
def test_labels_become_votes_and_rows_without_one_are_left_out_and_counted(tmp_path: Path, run: Any, name: str) -> None:
    done = run(name, write_shards(tmp_path / "s", ROWS, SCHEMA, "test_unique", of=2))
    assert done.votes() == [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]
    assert [pair.label for pair in done.pairs.values()] == ["first", "second", "tie", "first"]
    assert done.shades() == [(0, 5), (10, 15), (20, 25), (40, 45)]
    # Rows are counted in their shard, so that a pair keeps its id and its sides whatever else is there.
    ids = ["test_unique-00000-1", "test_unique-00000-2", "test_unique-00000-3", "test_unique-00001-2"]
    assert list(done.pairs) == ids
    assert {(p.model_first, p.model_second, p.split) for p in done.pairs.values()} == {
        ("sdxl", "dreamlike", "test_unique")
    }
    info = read_info(done.out)
    assert info["counted_by_rule"] == {"has_label_false": 1} and info["name"] == name
    assert [(shard["file"], len(shard["footer_sha256"])) for shard in info["shards"]] == [
        ("test_unique-00000-of-00002.parquet", 64),
        ("test_unique-00001-of-00002.parquet", 64),
    ]


def test_a_missing_shard_is_counted_and_the_others_are_imported_alike(tmp_path: Path, run: Any) -> None:
    source = write_shards(tmp_path / "s", ROWS, SCHEMA, of=2)
    whole = run("pickapic-v2", source)
    (source / "data" / "train-00000-of-00002.parquet").unlink()
    part = run("pickapic-v2", source)
    assert part.imported.by_rule == {"has_label_false": 1, "shards_absent": 1}
    assert part.shown["train-00001-2"].votes == whole.shown["train-00001-2"].votes and len(part.pairs) == 1


def test_splits_are_not_mixed_unasked(tmp_path: Path, run: Any) -> None:
    source = write_shards(tmp_path / "s", ROWS[:2], SCHEMA, "test")
    write_shards(source, ROWS[2:], SCHEMA, "test_unique")
    with pytest.raises(DataError, match=r"holds several splits \(test, test_unique\); choose with --split"):
        run("pickapic-v2", source)
    with pytest.raises(InputError, match="holds no split 'train'; choose from test, test_unique"):
        run("pickapic-v2", source, split="train")
    assert {pair.split for pair in run("pickapic-v2", source, split="test").pairs.values()} == {"test"}
    everything = run("pickapic-v2", source, split="all")
    assert [pair.split for pair in everything.pairs.values()] == ["test", "test", "test_unique", "test_unique"]


def test_the_variant_without_images_is_imported_without(tmp_path: Path, run: Any) -> None:
    source = write_shards(tmp_path / "s", ROWS, without("jpg_0", "jpg_1"))
    with pytest.raises(DataError, match=r"has no jpg_0, jpg_1, found .*add --no-images"):
        run("pickapic-v2", source)
    assert len(run("pickapic-v2", source, images=False).pairs) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_0": 1.0, "label_1": 1.0}, "label_0 and label_1 are 1 and 1, expected 1 and 0"),
        ({"label_0": 0.0, "label_1": 0.0}, "are 0 and 0"),
        ({"label_0": 0.7, "label_1": 0.3}, "are 0.7 and 0.3"),
        ({"label_0": None}, "label_0 is None"),
        ({"label_1": float("nan")}, "label_1 is nan"),
        ({"label_0": -1.0}, "label_0 is -1.0"),
        ({"has_label": None}, "has_label is None, expected true or false"),
        ({"caption": None}, "caption is None, expected text"),
        ({"jpg_0": None}, "jpg_0 is None, expected an image's bytes"),
        ({"jpg_1": b""}, "jpg_1 is b'', expected an image's bytes"),
    ],
)
def test_a_bad_row_is_named_or_tolerated(tmp_path: Path, run: Any, changes: Any, message: str) -> None:
    source = write_shards(tmp_path / "s", [ROWS[0], row(1, 0.0, 1.0) | changes], SCHEMA)
    with pytest.raises(DataError, match=rf"train-00000-of-00001\.parquet row 2: .*{message}"):
        run("pickapic-v2", source)
    assert not any(tmp_path.glob("out*"))
    done = run("pickapic-v2", source, tolerate=1)
    assert done.votes() == [(1.0, 0.0)] and done.imported.refused == 1


def test_an_image_that_is_none_names_its_pair(tmp_path: Path, run: Any) -> None:
    source = write_shards(tmp_path / "s", [row(0, 1.0, 0.0, jpg_1=b"no picture")], SCHEMA)
    with pytest.raises(DataError, match=r"pair 'train-00000-1', (first|second) image: is no JPEG"):
        run("pickapic-v2", source)


def test_labels_as_text_are_refused(tmp_path: Path, run: Any) -> None:
    text = pa.schema([pa.field(f.name, pa.string()) if f.name == "label_0" else f for f in SCHEMA])
    source = write_shards(tmp_path / "s", [row(0, "1", 0.0)], text)
    with pytest.raises(DataError, match=r"row 1: label_0 is '1', expected a finite number"):
        run("pickapic-v2", source)


def test_every_shards_columns_are_checked_before_any_row(tmp_path: Path, run: Any) -> None:
    source = write_shards(tmp_path / "s", ROWS, SCHEMA, of=2)
    table = pa.Table.from_pylist(ROWS, SCHEMA).rename_columns(
        ["captions" if n == "caption" else n for n in SCHEMA.names]
    )
    pq.write_table(table, source / "data" / "train-00001-of-00002.parquet")
    with pytest.raises(
        DataError, match=r"train-00001-of-00002\.parquet: has no caption, found .*'captions' is nearest"
    ):
        run("pickapic-v2", source, tolerate=100)
    (source / "data" / "train-00001-of-00002.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match=r"train-00001.*is no complete parquet file.*git lfs pull"):
        run("pickapic-v2", source, tolerate=100)
