"""A JPEG that was cut is named, whatever closes it; one that is whole is read, whoever made it; a bomb costs little."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from earshot.errors import ImageError
from earshot.images import ImageLimits, load_image
from tests.test_images import DATA, encode

END, SCAN = b"\xff\xd9", b"\xff\xda"
RESTARTS = ({}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3})


def photograph(width: int = 61, height: int = 83, seed: int = 0) -> Image.Image:
    grain = np.random.default_rng(seed)
    x, y = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    waves = 127 + 120 * np.sin(9 * x + 7 * y + np.array([0, 2, 4])) + grain.normal(0, 9, (height, width, 3))
    return Image.fromarray(waves.clip(0, 255).astype(np.uint8))


def scans_of(data: bytes) -> list[int]:
    """Where the headers of scans begin, in a file whose metadata has none."""
    return [found.start() for found in re.finditer(re.escape(SCAN), data)]


def kinds_of_jpeg() -> list[bytes]:
    """Every way in which Pillow writes one, of a photograph and of a flat picture."""
    made = []
    for mode, progressive, optimize, subsampling, restarts in itertools.product(
        ("RGB", "L", "CMYK"), (False, True), (False, True), (0, 1, 2), RESTARTS
    ):
        for image in (photograph(), Image.new("RGB", (40, 24), (128, 128, 128))):
            options = {"progressive": progressive, "optimize": optimize, "subsampling": subsampling, **restarts}
            made.append(encode(image.convert(mode), "JPEG", **options))
    return made


def test_whole_files_are_read_whatever_follows_their_end() -> None:
    for data in kinds_of_jpeg():
        pixels = load_image(data).tobytes()
        for trailer in (bytes(64), data, b"SEFT\xff\xd9\xff\xda"):
            assert load_image(data + trailer).tobytes() == pixels


def test_fill_bytes_comments_and_thumbnails_are_no_fault() -> None:
    data = encode(photograph(), "JPEG", progressive=True)
    thumbnail = encode(photograph(16, 16), "JPEG")
    application = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    comments = b"\xff\xfe\x00\x03a" * 500
    for more in (application, comments, b"\xff" * 1000):
        assert load_image(data[:2] + more + data[2:]).size == (61, 83)
    ends = [data[:one] + b"\xff" * 9 + data[one:] for one in scans_of(data)[1:]]
    assert all(load_image(one).size == (61, 83) for one in ends)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("restarts", RESTARTS, ids=str)
@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_cut_anywhere_in_its_data_is_refused_however_it_is_closed(
    mode: str, restarts: dict[str, int], progressive: bool
) -> None:
    chance = random.Random(f"{mode}{restarts}{progressive}")
    data = encode(photograph().convert(mode), "JPEG", quality=85, progressive=progressive, **restarts)
    whole = load_image(data).tobytes()
    first = scans_of(data)[0] + 14
    ends = [*scans_of(data)[1:], *(chance.randrange(first, len(data) - 2) for _ in range(12)), len(data) - 3]
    closings: tuple[Callable[[int], bytes], ...] = (
        lambda end: END,
        lambda end: b"",
        lambda end: bytes(len(data) - end),
        lambda end: b"\xff" + END,
    )
    for end, closing in itertools.product(ends, closings):
        cut = data[:end] + closing(end)
        try:
            assert load_image(cut).tobytes() == whole  # only what stands for nothing may be missing
        except ImageError:
            continue
        else:
            assert end >= len(data) - 8


def test_each_scan_of_a_progressive_file_is_missed() -> None:
    data = encode(photograph(), "JPEG", progressive=True)
    for scan in scans_of(data)[1:]:
        with pytest.raises(ImageError, match="truncated: its last scans are missing"):
            load_image(data[:scan] + END)


@pytest.mark.parametrize("progressive", [False, True])
def test_missing_restart_intervals_are_counted(progressive: bool) -> None:
    data = encode(photograph().convert("L"), "JPEG", restart_marker_rows=1, progressive=progressive)
    restart = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)][-1]
    with pytest.raises(ImageError, match="truncated"):
        load_image(data[:restart] + END)
    with pytest.raises(ImageError, match="truncated"):
        load_image(data[: restart + 2] + END)


def test_real_photographs_are_whole() -> None:
    files = sorted((DATA / "mjbench_quality").rglob("*.jpg"))[:12]
    if not files:
        pytest.skip("the real images are not beside this checkout")
    for file in files:
        assert load_image(file).tobytes() == Image.open(file).convert("RGB").tobytes()


# Bombs


def bomb(scans: int, side: int = 4096) -> bytes:
    """A flat picture and empty scans that each go over all of it: fourteen bytes, and milliseconds, each."""
    data = encode(Image.new("RGB", (side, side), (200, 30, 40)), "JPEG", progressive=True, quality=20)
    last = scans_of(data)[-1]
    header = data[last : last + 2 + int.from_bytes(data[last + 2 : last + 4], "big")]
    return data[:-2] + (header + bytes(4)) * scans + END


def refused_within(seconds: float, data: bytes, reason: str, **limits: int) -> None:
    started = time.process_time()
    with pytest.raises(ImageError, match=reason):
        load_image(data, limits=ImageLimits(**limits))
    assert time.process_time() - started < seconds


def test_a_bomb_of_scans_is_refused_before_it_is_decoded() -> None:
    data = bomb(8000, side=256)
    refused_within(0.2, data, "a scan that adds nothing")
    many = encode(photograph(), "JPEG", progressive=True)
    refused_within(0.2, many, "more than 7 scans", max_pixel_scans=7 * 61 * 83)
    refused_within(1.0, data[:-2] + data[-16:-2] * (2**22) + END, "adds nothing")  # 56 MiB


@pytest.mark.parametrize("stuffing", [b"\xff\xfe\x00\x02", b"\xff\xe1\x00\x03a"])
def test_a_bomb_of_segments_is_refused_before_pillow_walks_it(stuffing: bytes) -> None:
    data = encode(photograph(), "JPEG")
    refused_within(0.5, data[:2] + stuffing * (2**22) + data[2:], "more than 10000 segments")


@pytest.mark.parametrize("run", [b"\xff", b"\xff\x00", b"\xff\xd0"])
def test_long_runs_cost_no_more_than_reading_them(run: bytes) -> None:
    data = encode(photograph(), "JPEG")
    refused_within(2.0, data[:-2] + run * (2**24 // len(run)), "no end marker")


def test_a_header_that_makes_no_sense_is_refused() -> None:
    data = encode(photograph(), "JPEG")
    frame = data.find(b"\xff\xc0")
    length = 2 + int.from_bytes(data[frame + 2 : frame + 4], "big")
    header = data[frame : frame + length]
    for wrong in (header * 2, header[:2] + b"\x00\x04\x08\x00", header[:5] + bytes(4) + header[9:], b""):
        with pytest.raises(ImageError):
            load_image(data[:frame] + wrong + data[frame + length :])


def test_zeros_for_the_end_of_a_webp_are_named_and_flat_ones_are_read(tmp_path: Path) -> None:
    rough = photograph(120, 90)
    half = rough.copy()
    half.paste((0, 0, 0), (0, 30, 120, 90))
    for image, lossless in itertools.product((rough, half, Image.new("RGB", (900, 900), "white")), (True, False)):
        for method, quality in ((0, 100), (4, 80), (6, 20)):
            data = encode(image, "WEBP", lossless=lossless, method=method, quality=quality)
            assert load_image(data).size == image.size
            end = len(data) * 2 // 3
            if image is rough:
                with pytest.raises(ImageError, match=r"zeros stand|decoded"):
                    load_image(data[:end] + bytes(len(data) - end))
