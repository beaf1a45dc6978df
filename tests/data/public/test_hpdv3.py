"""HPDv3: path1 is preferred; lists, lines and shards of the same entries give the same pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from earshot.errors import DataError
from tests.data.public.sets import picture, swapped, write_json, write_shards

IMAGES = {f"images/{n}.png": 40 * n for n in range(4)}
SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("choice_dist", pa.list_(pa.int64())),
        ("confidence", pa.float64()),
        ("path1", pa.string()),
        ("path2", pa.string()),
        ("model1", pa.string()),
        ("model2", pa.string()),
    ]
)


def entry(dist: Any, first: int = 0, second: int = 1, **changes: Any) -> dict[str, Any]:
    paths = {"path1": f"images/{first}.png", "path2": f"images/{second}.png"}
    models = {"model1": "flux", "model2": "infinity"}
    return {"prompt": "a cat", "choice_dist": dist, "confidence": 0.99, **paths, **models} | changes


ENTRIES = [entry([12, 7]), entry(None, 2, 3, confidence=None), entry([3, 9], 1, 2), entry([5, 5], 3, 0)]
# The reference code sorts the counts, larger first, for path1 is the preferred one: [3, 9] is 9 to 3.
VOTES = [(12.0, 7.0), (1.0, 0.0), (9.0, 3.0), (5.0, 5.0)]


def test_votes_are_the_larger_count_for_the_preferred_and_one_where_there_are_none(tmp_path: Path, run: Any) -> None:
    done = run("hpdv3", write_json(tmp_path / "s", "train.json", ENTRIES, IMAGES))
    assert done.votes() == VOTES and done.shades() == [(0, 40), (80, 120), (40, 80), (120, 0)]
    assert all(pair.label == "first" for pair in done.pairs.values())
    assert [(p.model_first, p.model_second, p.split) for p in done.pairs.values()] == [
        ("flux", "infinity", "train")
    ] * 4
    assert done.imported.by_rule == {"choice_dist_sorted": 1}
    assert done.imported.listed_first_preferred == 3  # the tie has no majority


def test_sides_are_shuffled_with_everything_that_belongs_to_them(tmp_path: Path, run: Any) -> None:
    entries = [entry([12, 7]) for _ in range(60)]
    source = write_json(tmp_path / "s", "train.json", entries, IMAGES)
    done = run("hpdv3", source, seed=5)
    turned = [pair for pair in done.shown.values() if pair.label == "second"]
    assert 10 < len(turned) < 50 and all(swapped(pair.id, 5) for pair in turned)
    assert {(p.votes.first, p.model_first, p.model_second) for p in turned} == {(7.0, "infinity", "flux")}
    assert done.votes() == [(12.0, 7.0)] * 60
    again = run("hpdv3", source, seed=5)
    labels = [[pair.label for pair in d.shown.values()] for d in (done, again, run("hpdv3", source, seed=6))]
    assert labels[0] == labels[1] != labels[2]


def test_lines_and_shards_give_the_pairs_that_a_list_gives(tmp_path: Path, run: Any) -> None:
    lines = write_json(tmp_path / "l", "unused", [], IMAGES)
    (lines / "train.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in ENTRIES))
    shards = write_shards(tmp_path / "p", ENTRIES, SCHEMA, of=2)
    (shards / "images").mkdir()
    for name, shade in IMAGES.items():
        (shards / name).write_bytes(picture(shade))
    for done in (run("hpdv3", lines), run("hpdv3", shards)):
        assert done.votes() == VOTES and done.shades() == [(0, 40), (80, 120), (40, 80), (120, 0)]


def test_a_test_set_has_no_votes_and_a_folder_of_several_needs_a_split(tmp_path: Path, run: Any) -> None:
    bare = {name: value for name, value in ENTRIES[0].items() if name not in ("choice_dist", "confidence")}
    source = write_json(tmp_path / "s", "test.json", [bare], IMAGES)
    write_json(source, "all.json", ENTRIES)
    with pytest.raises(DataError, match=r"found all\.json, test\.json"):
        run("hpdv3", source)
    done = run("hpdv3", source, split="test")
    assert done.votes() == [(1.0, 0.0)] and [pair.split for pair in done.pairs.values()] == ["test"]
    assert len(run("hpdv3", source, split="all").pairs) == 4


@pytest.mark.parametrize(
    ("dist", "message"),
    [
        ([12], "choice_dist has 1 items, expected a list of 2"),
        ([12, 7, 1], "choice_dist has 3 items"),
        ([12, "7"], "choice_dist is '7'"),
        ([12, -1], "choice_dist is -1"),
        ([12, float("nan")], "choice_dist is nan"),
        ([0, 0], "expected at least one vote"),
        ("12, 7", "choice_dist is '12, 7', expected a list"),
    ],
)
def test_bad_votes_are_named(tmp_path: Path, run: Any, dist: Any, message: str) -> None:
    source = write_json(tmp_path / "s", "train.json", [ENTRIES[0], entry(dist)], IMAGES)
    with pytest.raises(DataError, match=rf"train\.json: entry 1: .*{message}"):
        run("hpdv3", source)
    assert run("hpdv3", source, tolerate=1).votes() == [(12.0, 7.0)]


def test_bad_entries_lines_and_columns_are_named(tmp_path: Path, run: Any) -> None:
    with pytest.raises(DataError, match=r"entry 0: an image is None, expected a path"):
        run("hpdv3", write_json(tmp_path / "a", "x.json", [entry([1, 0], path2=None)]))
    with pytest.raises(DataError, match=r"entry 0: 'images/\.\./\.\./1\.png' holds '\.\.'"):
        run("hpdv3", write_json(tmp_path / "b", "x.json", [entry([1, 0], path1="images/../../1.png")]))
    with pytest.raises(DataError, match=r"entry 0: is a JSON list, expected an object"):
        run("hpdv3", write_json(tmp_path / "c", "x.json", [[1]]))
    with pytest.raises(DataError, match=r"entry 0: model1 is 3, expected text"):
        run("hpdv3", write_json(tmp_path / "d", "x.json", [entry([1, 0], model1=3)]), images=False)
    (tmp_path / "x.jsonl").write_text(json.dumps(ENTRIES[0]) + "\n{broken\n")
    with pytest.raises(DataError, match=r"x\.jsonl:2: found no JSON"):
        run("hpdv3", tmp_path / "x.jsonl", images=False, tolerate=5)
    renamed = pa.schema([pa.field("path_1" if f.name == "path1" else f.name, f.type) for f in SCHEMA])
    source = write_shards(tmp_path / "e", [{**ENTRIES[0], "path_1": "images/0.png"}], renamed)
    with pytest.raises(DataError, match=r"\.parquet: has no path1, found .*'path_1' is nearest to 'path1'"):
        run("hpdv3", source, tolerate=5)
    assert not any(tmp_path.glob("out*"))
