"""TIGER-Lab's GenAI-Bench: four kinds of vote, two versions, and another set of the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from earshot.errors import DataError
from tests.data.public.sets import HUB_IMAGE, hub_image, shade, write_shards

SCHEMA = pa.schema(
    [
        ("prompt", pa.string()),
        ("left_model", pa.string()),
        ("left_image", HUB_IMAGE),
        ("right_model", pa.string()),
        ("right_image", HUB_IMAGE),
        ("vote_type", pa.string()),
    ]
)


def row(n: int, vote: Any) -> dict[str, Any]:
    images = {"left_image": hub_image(10 * n), "right_image": hub_image(10 * n + 5)}
    return {"prompt": "a cat", "left_model": "SDXL", "right_model": "PixArt", **images, "vote_type": vote}


ROWS = [row(n, vote) for n, vote in enumerate(["leftvote", "rightvote", "tievote", "bothbad_vote"])]


def test_each_kind_of_vote_has_its_label(tmp_path: Path, run: Any) -> None:
    done = run("genai-bench-tiger", write_shards(tmp_path / "s", ROWS, SCHEMA, "test_v1"))
    assert [pair.label for pair in done.pairs.values()] == ["first", "second", "tie", "both_bad"]
    assert done.votes() == [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 1.0)]
    assert done.shades() == [(0, 5), (10, 15), (20, 25), (30, 35)]
    assert {(p.model_first, p.model_second, p.split) for p in done.pairs.values()} == {("SDXL", "PixArt", "test_v1")}
    assert (done.imported.counts.strict, done.imported.counts.tied) == (2, 2)


def test_the_whole_repository_is_taken_by_its_folder_of_images(tmp_path: Path, run: Any) -> None:
    edits = pa.schema([("instruct_prompt", pa.string()), ("left_output_image", HUB_IMAGE)])
    write_shards(tmp_path / "hub" / "image_edition", [{"instruct_prompt": "x"}], edits)
    write_shards(tmp_path / "hub" / "image_generation", ROWS, SCHEMA)
    assert len(run("genai-bench-tiger", tmp_path / "hub").pairs) == 4
    with pytest.raises(DataError, match=r"has no .*this is the image editing task"):
        run("genai-bench-tiger", tmp_path / "hub" / "image_edition")


@pytest.mark.parametrize("vote", ["left", "LEFTVOTE", "", None, "bothbad"])
def test_an_unknown_vote_is_never_a_tie(tmp_path: Path, run: Any, vote: Any) -> None:
    source = write_shards(tmp_path / "s", [ROWS[0], row(1, vote)], SCHEMA)
    with pytest.raises(DataError, match=rf"row 2: vote_type is {vote!r}, expected one of leftvote, rightvote"):
        run("genai-bench-tiger", source)


@pytest.mark.parametrize("column", ["HumanRatings", "DALLE_3_HumanRating"])
def test_the_other_genai_bench_is_refused_by_name(tmp_path: Path, run: Any, column: str) -> None:
    other = pa.schema([("Index", pa.int64()), ("Prompt", pa.string()), (column, pa.string()), ("SDXL_Base", HUB_IMAGE)])
    source = write_shards(tmp_path / "s", [{"Index": 1, "Prompt": "x"}], other)
    with pytest.raises(DataError, match=r"this is BaiqiL's GenAI-Bench.*expected TIGER-Lab/GenAI-Bench"):
        run("genai-bench-tiger", source)


EDITS = pa.schema(
    [
        ("source_image", HUB_IMAGE),
        ("source_prompt", pa.string()),
        ("target_prompt", pa.string()),
        ("instruct_prompt", pa.string()),
        ("left_model", pa.string()),
        ("left_output_image", HUB_IMAGE),
        ("right_model", pa.string()),
        ("right_output_image", HUB_IMAGE),
        ("vote_type", pa.string()),
    ]
)


def edit(n: int, vote: str) -> dict[str, Any]:
    images = {"source_image": hub_image(100 + n), "left_output_image": hub_image(10 * n)}
    images["right_output_image"] = hub_image(10 * n + 5)
    told = {
        "source_prompt": "a taxi",
        "target_prompt": "a taxi and sheep",
        "instruct_prompt": "let sheep block the taxi",
    }
    return {**told, "left_model": "InstructPix2Pix", "right_model": "Prompt2prompt", **images, "vote_type": vote}


EDIT_ROWS = [edit(n, vote) for n, vote in enumerate(["leftvote", "rightvote", "tievote", "bothbad_vote"])]


def test_an_edit_keeps_its_original_and_is_asked_about_by_its_instruction(tmp_path: Path, run: Any) -> None:
    write_shards(tmp_path / "hub" / "image_generation", ROWS, SCHEMA)
    write_shards(tmp_path / "hub" / "image_edition", EDIT_ROWS, EDITS, "test_v1")
    done = run("genai-bench-tiger-edit", tmp_path / "hub")
    assert done.shades() == [(0, 5), (10, 15), (20, 25), (30, 35)]
    assert [shade(pair.original) for pair in done.pairs.values()] == [100, 101, 102, 103]
    assert [pair.label for pair in done.pairs.values()] == ["first", "second", "tie", "both_bad"]
    assert {(pair.prompt, pair.source) for pair in done.pairs.values()} == {
        ("let sheep block the taxi", "genai-bench-tiger-edit")
    }
    with pytest.raises(DataError, match=r"has no .*this is the task of image generation"):
        run("genai-bench-tiger-edit", tmp_path / "hub" / "image_generation")


def test_edits_without_their_images_are_annotations_alone(tmp_path: Path, run: Any) -> None:
    done = run("genai-bench-tiger-edit", write_shards(tmp_path / "s", EDIT_ROWS, EDITS), images=False)
    assert len(done.pairs) == 4 and {pair.original for pair in done.pairs.values()} == {None}
