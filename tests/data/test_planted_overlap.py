"""200 pairs planted in a test set from real photographs, by every way a copy comes to differ: all are found."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earshot.data.overlap import find_overlap, fingerprint
from earshot.data.writer import PairSetWriter
from earshot.images import load_image
from earshot.types import ImageSource, Pair, Votes

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "mjbench_quality"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason="no published data beside the repository"),
]


def other_picture(seed: int) -> Image.Image:
    """A picture of nothing: coarse random colours, enlarged."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC)


def compressed(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return buffer.getvalue()


def planted_copy(path: Path, kind: str) -> ImageSource:
    if kind == "exact":
        return path
    image = load_image(path)
    return image.resize((image.width // 2, image.height // 2)) if kind == "resized" else compressed(image)


def write(folder: Path, pairs: list[Pair]) -> Path:
    with PairSetWriter(folder, verify=False) as writer:
        for pair in pairs:
            writer.add(pair)
    return folder


def test_all_of_200_planted_pairs_are_found_and_none_of_200_unrelated_ones(tmp_path: Path) -> None:
    sources = sorted(path for path in REAL.glob("*/examples*/*.jpg") if "_edited_" not in path.name)
    assert len(sources) == 200
    votes = Votes(1.0, 0.0)
    train = [Pair(f"t{i}", f"trained on {i}", path, other_picture(i), votes) for i, path in enumerate(sources)]
    kinds = [("exact", "resized", "compressed")[i % 3] for i in range(200)]
    test = [
        Pair(f"{kind}{i}", f"tested on {i}", other_picture(1000 + i), planted_copy(path, kind), votes)
        for i, (kind, path) in enumerate(zip(kinds, sources, strict=True))
    ]
    test += [
        Pair(f"other{i}", f"else {i}", other_picture(2000 + i), other_picture(3000 + i), votes) for i in range(200)
    ]
    prints = [fingerprint(write(tmp_path / name, pairs)) for name, pairs in (("train", train), ("test", test))]
    found = {o.id: o for o in find_overlap(*prints)}
    recall = {
        kind: sum(name.startswith(kind) for name in found) for kind in ("exact", "resized", "compressed", "other")
    }
    assert recall == {"exact": 67, "resized": 67, "compressed": 66, "other": 0}
    for name, overlap in found.items():
        assert overlap.kinds == (("image",) if name.startswith("exact") else ("near",))
        # Each is told of the pair that it was copied from, and of no other.
        assert [m.train_id for m in overlap.matches] == [f"t{name.strip('abcdefghijklmnopqrstuvwxyz')}"]
