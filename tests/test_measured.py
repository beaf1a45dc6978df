"""What is measured of a picture follows its published rule: on made pictures with known truth, and on real ones."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from earshot.images import load_image
from earshot.measured import LABEL, Measured, measured, side_by_side

SIDE = 512


def made(side_px: int = SIDE) -> Image.Image:
    """A colour gradient with discs: edges, planes and no noise."""
    y, x = np.mgrid[:side_px, :side_px] / side_px
    pixels = np.stack([60 + 120 * x, 60 + 120 * y, 160 - 80 * x], axis=2)
    for k, (cx, cy) in enumerate(np.random.default_rng(0).random((60, 2))):
        pixels[(x - cx) ** 2 + (y - cy) ** 2 < 0.002] = (200, 60 + 3 * k, 80)
    return Image.fromarray(pixels.round().astype(np.uint8))


def blurred(image: Image.Image, radius: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def noisy(image: Image.Image, sigma: float) -> Image.Image:
    grain = np.random.default_rng(0).normal(0, sigma, (*image.size[::-1], 1))
    return Image.fromarray((np.asarray(image, float) + grain).round().clip(0, 255).astype(np.uint8))


def as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return load_image(file.getvalue())


def gamma(image: Image.Image, power: float) -> Image.Image:
    return image.point([round(255 * (v / 255) ** power) for v in range(256)] * 3)


Degrade = Callable[[Image.Image, float], Image.Image]
ORDERS: dict[str, tuple[Degrade, tuple[float, ...], Callable[[Measured], float | None], int]] = {
    "sharpness": (blurred, (0, 1, 2, 4), lambda m: m.sharpness, -1),
    "noise": (noisy, (0, 4, 8, 16), lambda m: m.noise, 1),
    "blockiness": (lambda i, q: as_jpeg(i, int(q)), (50, 25, 10), lambda m: m.blockiness, 1),
    "luminance": (gamma, (0.5, 0.8, 1.25, 2.0), lambda m: m.luminance, -1),
    "colourfulness": (
        lambda i, s: Image.blend(i, i.convert("L").convert("RGB"), s), (0, 0.4, 0.8), lambda m: m.colourfulness, -1,
    ),
    "contrast": (
        lambda i, s: Image.blend(i, Image.new("RGB", i.size, "grey"), s), (0, 0.4, 0.8), lambda m: m.contrast, -1,
    ),
}  # fmt: skip


def in_order(image: Image.Image, name: str) -> bool:
    degrade, steps, of, sign = ORDERS[name]
    values = [float(of(measured(degrade(image, step))) or 0) for step in steps]
    return bool(np.all(sign * np.diff(values) > 0))


@pytest.mark.parametrize("name", ORDERS)
def test_a_made_picture_that_is_degraded_step_by_step_is_measured_in_that_order(name: str) -> None:
    assert in_order(made(), name)


@pytest.mark.parametrize("sigma", [2.0, 5.0, 10.0, 20.0])
def test_noise_is_near_the_true_sigma(sigma: float) -> None:
    grey = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
    assert measured(noisy(grey, sigma)).noise == pytest.approx(sigma, rel=0.05)
    assert measured(noisy(made(), sigma)).noise == pytest.approx(sigma, rel=0.15, abs=0.7)  # edges count as noise


def test_plain_pictures_have_the_values_that_the_rules_give_by_hand() -> None:
    half = np.zeros((SIDE, SIDE, 3), np.uint8)
    half[:, SIDE // 2 :] = 255
    told = measured(Image.fromarray(half))
    # Half black and half white: mean 1/2, deviation 1/2, all clipped, no colour.
    assert (told.luminance, told.contrast, told.clipped, told.colourfulness) == (0.5, 0.5, 1.0, 0.0)
    # |∇²| is 255 in the two columns at the edge and 0 in the other 508 of 510: 255² · 2 / 510 = 255.
    assert told.sharpness == pytest.approx(255)
    red = measured(Image.new("RGB", (40, 30), (255, 0, 0)))
    # rg = 255, yb = 127.5, neither spread: 0.3 · √(255² + 127.5²) = 85.53; luma of red is 76 of 255.
    assert red.colourfulness == pytest.approx(85.53, abs=0.01)
    assert (red.width_px, red.height_px, red.luminance) == (40, 30, pytest.approx(76 / 255))
    assert (red.sharpness, red.noise, red.contrast, red.blockiness) == (0.0, 0.0, 0.0, None)


@pytest.mark.parametrize("size", [(8, 8), (8, 160), (160, 8), (513, 511), (1, 1)])
def test_any_size_is_measured_and_nothing_is_no_number(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    told = measured(Image.fromarray(pixels)).as_dict()
    assert all(np.isfinite(value) for value in told.values() if value is not None)


def test_a_larger_copy_of_a_picture_is_measured_like_it() -> None:
    small, large = measured(made()), measured(made(4 * SIDE))
    assert large.width_px == 4 * small.width_px
    assert large.colourfulness == pytest.approx(small.colourfulness, rel=0.02)
    assert large.luminance == pytest.approx(small.luminance, rel=0.02)


def test_sharpness_is_of_the_whole_picture_as_it_came() -> None:
    grain = noisy(made(300), 8)
    grey = np.asarray(grain.convert("L"), float)
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    assert measured(grain).sharpness == pytest.approx(laplacian.var())
    large = noisy(made(4 * SIDE), 8)
    shrunk = large.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    assert measured(large).sharpness > 4 * measured(shrunk).sharpness  # the grain, which shrinking takes away


def test_two_pictures_stand_side_by_side_with_units_in_eighty_columns() -> None:
    told = side_by_side(made(), blurred(made(), 4))
    assert told["label"] == LABEL and told["first"]["sharpness"] > told["second"]["sharpness"]
    assert len(told["table"]) == 8 and all(len("  {:<16} {:<20} {}".format(*row)) <= 80 for row in told["table"])


@pytest.mark.parametrize("name", ORDERS)
def test_real_pictures_that_are_degraded_are_measured_in_order(name: str, shared_data: Path) -> None:
    files = [
        *sorted(shared_data.glob("imagereward/*.webp")),
        *sorted(shared_data.glob("mjbench_quality/*/*/*.jpg"))[::40],
    ]
    right = [in_order(load_image(file), name) for file in files]
    assert len(files) >= 8
    assert np.mean(right) >= 0.9, f"{np.mean(right):.0%} of {len(files)}"
