"""Small image files and pairs for the tests of pair sets."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.files import write_jsonl
from earshot.types import Pair, Votes


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 10), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pairs() -> list[Pair]:
    """Three pairs: first preferred 3 to 1, a tie, second preferred 0 to 2."""
    return [
        Pair("p1", "a red cube", png(10), png(20), Votes(3.0, 1.0), "q1", "style", "train", "sdxl", "flux", "made up"),
        Pair("p2", "a red cube", png(20), png(30), Votes(1.0, 1.0), prompt_id="q1", split="test"),
        Pair("p3", 'two balls, "bläulich"\n', png(40), png(10), Votes(0.0, 2.0), split="test"),
    ]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes pairs as a pair set, its metadata in parquet or made JSON Lines, and gives its folder."""
    from earshot.data.writer import PairSetWriter

    def write_set(pairs: list[Pair], format: str = "parquet", name: str = "set", **options: object) -> Path:
        with PairSetWriter(tmp_path / name, **options) as writer:  # type: ignore[arg-type]
            for pair in pairs:
                writer.add(pair)
        if format == "jsonl":
            metadata = tmp_path / name / "metadata.parquet"
            write_jsonl(metadata.with_suffix(".jsonl"), pq.read_table(metadata).to_pylist())
            metadata.unlink()
        return tmp_path / name

    return write_set
