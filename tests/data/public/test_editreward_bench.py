"""EditReward-Bench: comparisons of groups of edits, each of which names the two letters that it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from earshot.errors import DataError
from tests.data.public.sets import HUB_IMAGE, hub_image, shade, write_shards

TEXTS = ("id", "instruction", "ranking", "comparison_type", "dataset", "model_1", "model_2")
IMAGES = ("source_image", "candidate_1", "candidate_2")
SCHEMA = pa.schema([(name, pa.string()) for name in TEXTS] + [(name, HUB_IMAGE) for name in IMAGES])


def row(id: str, ranking: Any, compared: Any, dataset: str = "3pair", n: int = 0) -> dict[str, Any]:
    images = {name: hub_image(10 * n + k) for k, name in enumerate(IMAGES)}
    told = {"instruction": "make it a hot dog", "model_1": "step1x", "model_2": "qwen"}
    return {"id": id, "ranking": ranking, "comparison_type": compared, "dataset": dataset, **told, **images}


ROWS = [
    row("7_AvsB", "A=B", "AvsB", "2pair"),
    row("8_AvsB", "B>A", "AvsB", n=1),
    row("8_AvsC", "A>C", "AvsC", n=2),
    row("8_BvsC", "C>B", "BvsC", n=3),
    row("9", "A>B", None, "2pair", n=4),
]


def test_a_ranking_is_of_the_letters_that_are_compared(tmp_path: Path, run: Any) -> None:
    done = run("editreward-bench", write_shards(tmp_path / "s", ROWS, SCHEMA))
    assert [pair.label for pair in done.pairs.values()] == ["tie", "second", "first", "second", "first"]
    assert done.votes() == [(1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1.0, 0.0)]
    assert done.shades() == [(1, 2), (11, 12), (21, 22), (31, 32), (41, 42)]
    assert [shade(pair.original) for pair in done.pairs.values()] == [0, 10, 20, 30, 40]
    assert [pair.prompt_id for pair in done.pairs.values()] == ["2pair-7", *["3pair-8"] * 3, "2pair-9"]


@pytest.mark.parametrize("ranking", ["A>B", "A", "", None, "C>C"])
def test_a_ranking_of_others_is_refused(tmp_path: Path, run: Any, ranking: Any) -> None:
    source = write_shards(tmp_path / "s", [ROWS[0], row("8_AvsC", ranking, "AvsC")], SCHEMA)
    with pytest.raises(DataError, match=rf"row 2: ranking is {ranking!r}, expected one of A>C, C>A, A=C"):
        run("editreward-bench", source)


def test_what_is_compared_is_two_letters(tmp_path: Path, run: Any) -> None:
    with pytest.raises(DataError, match="comparison_type is 'A-B', expected one such as AvsC"):
        run("editreward-bench", write_shards(tmp_path / "s", [row("8", "A>B", "A-B")], SCHEMA))
