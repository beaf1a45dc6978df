"""Rapidata: one question a set, or up to three a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from earshot.errors import DataError
from tests.data.public.sets import HUB_IMAGE, hub_image, picture, write_shards

COMMON = [("prompt", pa.string()), ("image1", HUB_IMAGE), ("image2", HUB_IMAGE)]
MODELS = [("model1", pa.string()), ("model2", pa.string())]
SCHEMA = pa.schema(
    [*COMMON, ("votes_image1", pa.int64()), ("votes_image2", pa.int64()), *MODELS]
    + [(name, pa.string()) for name in ("detailed_results", "image1_path", "image2_path")]
)
AXES = ("preference", "coherence", "alignment")


def weighted_schema(axes: tuple[str, ...] = AXES) -> pa.Schema:
    columns = [(f"weighted_results_image{side}_{axis}", pa.float32()) for axis in axes for side in (1, 2)]
    return pa.schema([*COMMON, *MODELS, *columns])


def row(n: int, **values: Any) -> dict[str, Any]:
    images = {"image1": hub_image(10 * n), "image2": hub_image(10 * n + 5)}
    return {"prompt": f"cat {n}", **images, "model1": "flux-1", "model2": "dalle-3", **values}


def voted(n: int, first: Any, second: Any, **changes: Any) -> dict[str, Any]:
    return row(n, votes_image1=first, votes_image2=second) | changes


def weighted(n: int, **weights: tuple[float | None, float | None]) -> dict[str, Any]:
    values = {f"weighted_results_image{s}_{axis}": w[s - 1] for axis, w in weights.items() for s in (1, 2)}
    return row(n, **values)


@pytest.mark.parametrize("axis", ["style", "coherence", "alignment"])
def test_counts_are_the_votes_and_the_name_says_the_axis(tmp_path: Path, run: Any, axis: str) -> None:
    rows = [voted(0, 14, 5), voted(1, 3, 16), voted(2, 9, 9)]
    done = run(f"rapidata-{axis}", write_shards(tmp_path / "s", rows, SCHEMA, of=3))
    assert done.votes() == [(14.0, 5.0), (3.0, 16.0), (9.0, 9.0)] and done.shades() == [(0, 5), (10, 15), (20, 25)]
    assert {pair.axis for pair in done.pairs.values()} == {axis}
    assert {(p.model_first, p.model_second) for p in done.pairs.values()} == {("flux-1", "dalle-3")}
    assert (done.imported.counts.strict, done.imported.counts.tied) == (2, 1)
    assert not any("flux" in str(file) or "won" in str(file) for file in done.out.rglob("*"))


def test_a_row_of_the_newer_layout_gives_a_pair_for_each_axis_it_has(tmp_path: Path, run: Any) -> None:
    rows = [
        weighted(0, preference=(0.75, 0.25), coherence=(0.5, 0.5), alignment=(0.125, 0.875)),
        weighted(1, preference=(1.0, 0.0), coherence=(None, None), alignment=(0.25, 0.75)),
    ]
    done = run("rapidata-t2i", write_shards(tmp_path / "s", rows, weighted_schema()))
    assert [(pair.axis, pair.votes.first, pair.votes.second) for pair in done.pairs.values()] == [
        ("preference", 0.75, 0.25),
        ("coherence", 0.5, 0.5),
        ("alignment", 0.125, 0.875),
        ("preference", 1.0, 0.0),
        ("alignment", 0.25, 0.75),
    ]
    assert list(done.pairs)[:2] == ["train-00000-1-preference", "train-00000-1-coherence"]
    assert done.imported.by_rule == {"no_coherence_results": 1} and done.imported.counts.images == 4
    only = run(
        "rapidata-t2i", write_shards(tmp_path / "o", [weighted(0, preference=(0.5, 0.5))], weighted_schema(AXES[:1]))
    )
    assert [pair.axis for pair in only.pairs.values()] == ["preference"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([voted(0, None, 3)], "votes_image1 is None and votes_image2 3, expected both"),
        ([voted(0, None, None)], "votes_image1 is None"),
        ([voted(0, -1, 3)], "votes_image1 is -1"),
        ([voted(0, 0, 0)], "expected at least one vote"),
        ([voted(0, 4, 3, prompt="")], "prompt is ''"),
        ([voted(0, 4, 3, image1=None)], "image1 is None, expected an image's bytes"),
        ([voted(0, 4, 3, image2={"bytes": None, "path": None})], "image2 is {'bytes': None"),
        ([voted(0, 4, 3, image2={"bytes": b"", "path": "x.png"})], "image2 is {'bytes': b''"),
        ([voted(0, 4, 3, image2={"bytes": None, "path": "../x.png"})], "holds '..'"),
        ([voted(0, 4, 3, image2={"bytes": None, "path": "/x.png"})], "is an absolute path"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, run: Any, rows: Any, message: str) -> None:
    source = write_shards(tmp_path / "s", [voted(1, 1, 2), *rows], SCHEMA)
    with pytest.raises(DataError, match=rf"train-00000-of-00001\.parquet row 2\b.*{message}"):
        run("rapidata-style", source)
    assert run("rapidata-style", source, tolerate=1).votes() == [(1.0, 2.0)]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0.5, None), "weighted_results_image1_preference is 0.5 and .* None, expected both"),
        ((float("nan"), 0.5), "weighted_results_image1_preference is nan"),
        ((-0.5, 0.5), "is -0.5"),
        ((0.0, 0.0), "expected any weight"),
    ],
)
def test_bad_weights_are_named(tmp_path: Path, run: Any, weights: Any, message: str) -> None:
    source = write_shards(tmp_path / "s", [weighted(0, preference=weights)], weighted_schema(("preference",)))
    with pytest.raises(DataError, match=rf"row 1: .*{message}"):
        run("rapidata-t2i", source)


def test_votes_as_text_are_refused(tmp_path: Path, run: Any) -> None:
    text = pa.schema([pa.field(f.name, pa.string()) if f.name == "votes_image2" else f for f in SCHEMA])
    with pytest.raises(DataError, match=r"row 1: votes_image2 is '12', expected a finite number"):
        run("rapidata-style", write_shards(tmp_path / "s", [voted(0, 4, "12")], text))


def test_an_image_by_path_is_found_in_the_folder_or_missing(tmp_path: Path, run: Any) -> None:
    rows = [voted(0, 4, 3, image2={"bytes": None, "path": "raw/x.png"})]
    source = write_shards(tmp_path / "s", rows, SCHEMA)
    with pytest.raises(DataError, match=r"x\.png: is missing"):
        run("rapidata-style", source)
    assert (
        run(
            "rapidata-style", write_shards(tmp_path / "t", [*rows, voted(1, 1, 0)], SCHEMA), skip_missing=True
        ).imported.missing
        == 1
    )
    (source / "raw").mkdir()
    (source / "raw" / "x.png").write_bytes(picture(77))
    assert run("rapidata-style", source).shades() == [(0, 77)]


def test_the_two_layouts_are_told_apart(tmp_path: Path, run: Any) -> None:
    older = write_shards(tmp_path / "older", [voted(0, 1, 2)], SCHEMA)
    newer = write_shards(tmp_path / "newer", [weighted(0, preference=(0.5, 0.5))], weighted_schema())
    with pytest.raises(DataError, match=r"has no weighted_results_image1_preference.*import it as rapidata-style"):
        run("rapidata-t2i", older)
    with pytest.raises(DataError, match=r"has no votes_image1, votes_image2.*import it as rapidata-t2i"):
        run("rapidata-style", newer)
    half = pa.schema([f for f in weighted_schema() if f.name != "weighted_results_image2_coherence"])
    with pytest.raises(DataError, match="has no weighted_results_image2_coherence, found"):
        run("rapidata-t2i", write_shards(tmp_path / "half", [row(0)], half))
