"""A copy of a set with both pictures of a pair taken through the same scaling and JPEG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earshot.benchmarks.protocols import find_protocol
from earshot.benchmarks.scores import unanswered
from earshot.benchmarks.truth import truth_of_pairset
from earshot.data.check import check_pairset
from earshot.data.equalising import equalise_set, equalised
from earshot.data.pairset import read_pairs
from earshot.data.rows import read_info
from earshot.errors import DataError, InputError
from earshot.files import read_jsonl, write_jsonl
from earshot.images import NO_IMAGE, load_image, read_header
from earshot.types import Pair, Votes

Write = Callable[..., Path]


def grain(seed: int, width: int = 60, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def grainy(write: Write) -> Path:
    """Six pairs of noise; of three the preferred picture is the smaller one."""
    votes = [Votes(float(n % 2), float(1 - n % 2)) for n in range(6)]
    pairs = [Pair(f"p{n}", f"x {n}", grain(n), grain(n + 9, 90, 60), votes[n], source="mjbench") for n in range(6)]
    return write(pairs)


def test_all_but_the_pictures_is_kept_and_the_record_says_what_was_done(grainy: Path, tmp_path: Path) -> None:
    write_jsonl(grainy / "traces.jsonl", ({"id": f"p{n}", "trace": f"of {n}"} for n in range(4)))
    write_jsonl(grainy / "truth.jsonl", ({"id": f"p{n}", "known": n} for n in range(6)))
    counts = equalise_set(grainy, tmp_path / "out", side_px=20, quality=70)
    assert counts.pairs == 6 and list(check_pairset(tmp_path / "out")) == []
    before, after = list(read_pairs(grainy)), list(read_pairs(tmp_path / "out"))
    kept = [
        replace(b, first=a.first, second=a.second, source="mjbench, equalised")
        for a, b in zip(after, before, strict=True)
    ]
    assert after == kept
    for name in ("traces.jsonl", "truth.jsonl"):
        assert list(read_jsonl(tmp_path / "out" / name)) == list(read_jsonl(grainy / name))
    made = read_info(tmp_path / "out")["equalised"]
    assert (made["side_px"], made["quality"]) == (20, 70) and len(made["of_metadata_sha256"]) == 64
    for pair in after:
        for image in (pair.first, pair.second):
            assert isinstance(image, Path) and read_header(image) == ("JPEG", 60, 40)  # the smaller one's longer side
    # Numbers published for the set do not stand beside the copy's.
    judged = unanswered(truth_of_pairset(tmp_path / "out")).always_first()
    assert "of mjbench, equalised; not MJ-Bench" in str(find_protocol("mjbench").benchmark.stranger(judged))


def test_both_go_the_same_way_whichever_is_first() -> None:
    one, two = grain(0), grain(1, 90, 60)
    how: dict[str, Any] = {"side_px": 16, "quality": 80}
    assert equalised(one, two, **how) == equalised(two, one, **how)[::-1]
    assert equalised(one, one, **how)[0] == equalised(one, one, **how)[1]
    # By way of 16 pixels nothing finer is left: a picture and its shrunken copy come out nearly alike.
    coarse = one.resize((16, 11), Image.Resampling.BICUBIC).resize(one.size, Image.Resampling.BICUBIC)
    apart = [np.asarray(load_image(data), float) for data in equalised(one, coarse, **how)]
    assert np.abs(apart[0] - apart[1]).mean() < 0.3 * np.abs(np.asarray(one, float) - np.asarray(coarse, float)).mean()


def test_small_pictures_are_not_enlarged_on_the_way() -> None:
    large, own, less = (equalised(grain(0), grain(1), side_px=side, quality=95) for side in (500, 60, 59))
    assert large == own != less


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"side_px": 7}, "the side is 7 px, expected at least 8"),
        ({"quality": 0}, "the quality is 0, expected 1 to 95"),
        ({"quality": 96}, "the quality is 96"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(
    grainy: Path, tmp_path: Path, how: dict[str, int], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        equalise_set(grainy, tmp_path / "out", **how)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_set_without_pictures_and_a_folder_in_use_are_refused(grainy: Path, write: Write, tmp_path: Path) -> None:
    bare = write([Pair("p", "x", NO_IMAGE, NO_IMAGE, Votes(1.0, 0.0))], name="bare", store_images=False)
    with pytest.raises(DataError, match="has no images"):
        equalise_set(bare, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="holds a finished pair set"):
        equalise_set(grainy, bare)
