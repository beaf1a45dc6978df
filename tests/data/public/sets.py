"""Published sets in small: shards as the hub writes them, images that can be told apart, and what came of an import."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from earshot.data.importing import Imported, shuffle_sides
from earshot.data.pairset import read_pairs
from earshot.images import load_image
from earshot.types import Pair, Votes

HUB_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How `datasets.Image` is stored in parquet."""


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def hub_image(shade: int) -> dict[str, Any]:
    return {"bytes": picture(shade), "path": f"flux/{shade}_won.png"}


def write_shards(
    folder: Path, rows: list[dict[str, Any]], schema: pa.Schema, split: str = "train", of: int = 1
) -> Path:
    """Deals rows in order to shards named as the hub names them."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    size = -(-len(rows) // of)
    for n in range(of):
        table = pa.Table.from_pylist(rows[n * size : (n + 1) * size], schema)
        pq.write_table(table, folder / "data" / f"{split}-{n:05d}-of-{of:05d}.parquet", row_group_size=2)
    return folder


def write_json(folder: Path, name: str, document: object, images: dict[str, int] | None = None) -> Path:
    """An annotation file, and images of these shades beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document))
    for file, shade in (images or {}).items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(picture(shade))
    return folder


def swapped(identity: str, seed: int = 0) -> bool:
    """Whether a pair of that id is shown the other way round than it was published."""
    return shuffle_sides(Pair(identity, "x", b"a", b"b", Votes(1.0, 0.0)), seed).first == b"b"


def as_published(pair: Pair, seed: int = 0) -> Pair:
    """An imported pair with the sides it was published with."""
    return pair.swapped() if swapped(pair.id, seed) else pair


def shade(image: Any) -> int:
    return int(load_image(image).getpixel((0, 0))[0])


class Done:
    """An import that worked: its pairs with their published sides, by id, and as they were shuffled."""

    def __init__(self, out: Path, imported: Imported, seed: int, images: bool) -> None:
        self.out, self.imported = out, imported
        self.shown = {pair.id: pair for pair in read_pairs(out, require_images=images)}
        self.pairs = {identity: as_published(pair, seed) for identity, pair in self.shown.items()}

    def votes(self) -> list[tuple[float, float]]:
        return [(pair.votes.first, pair.votes.second) for pair in self.pairs.values()]

    def shades(self) -> list[tuple[int, int]]:
        return [(shade(pair.first), shade(pair.second)) for pair in self.pairs.values()]
