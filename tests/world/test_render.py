"""Pictures: the same bytes from the same seed, faults that a mean shows, styles that differ."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from earshot.world.render import render
from earshot.world.scene import COLOURS, FAULTS, SHAPES, Fault, Picture, Scene, Thing

RED_CIRCLE = Thing("large", "red", "circle")
SCENE = Scene(RED_CIRCLE, Thing("small", "blue", "star"))


def pixels(scene: Scene = SCENE, fault: Fault = "clean", seed: int = 0, **options) -> np.ndarray:
    image = render(Picture(scene, fault), np.random.default_rng(seed), **options)
    return np.asarray(image, dtype=float)


@pytest.mark.parametrize("style", ["flat", "sketch"])
@pytest.mark.parametrize("size_px", [16, 56, 91])
def test_the_same_seed_gives_the_same_square_rgb_picture(style, size_px) -> None:
    one, two = (render(Picture(SCENE, "dark"), np.random.default_rng(3), size_px=size_px, style=style) for _ in "ab")
    assert (one.mode, one.size) == ("RGB", (size_px, size_px))
    assert one.tobytes() == two.tobytes()
    other = render(Picture(SCENE, "dark"), np.random.default_rng(4), size_px=size_px, style=style)
    assert other.tobytes() != one.tobytes()


@pytest.mark.parametrize("style", ["flat", "sketch"])
def test_faults_change_the_mean_as_stated(style) -> None:
    clean = pixels(style=style).mean(axis=(0, 1))
    # Whole numbers are cut off, so that up to 1 is lost.
    assert pixels(fault="dark", style=style).mean(axis=(0, 1)) == pytest.approx(0.45 * clean, abs=1)
    assert pixels(fault="tinted", style=style).mean(axis=(0, 1)) == pytest.approx([0.55, 1, 0.6] * clean, abs=1)
    assert pixels(fault="pale", style=style).mean(axis=(0, 1)) == pytest.approx(
        0.35 * clean + 146.25, abs=1
    )  # 0.65·225


def test_the_fault_alone_changes_with_the_fault() -> None:
    seen = {fault: pixels(fault=fault) for fault in FAULTS}
    assert np.abs(np.floor(seen["clean"] * 0.45 + 1e-3) - seen["dark"]).max() <= 1  # the same things at the same places


def test_styles_differ_in_ground_and_outline() -> None:
    flat, sketch = pixels(Scene(None, None)), pixels(Scene(None, None), style="sketch")
    assert np.ptp(flat, axis=(0, 1)).max() == 0  # one tone
    assert sketch[-1].mean() - sketch[0].mean() > 40  # a gradient from 190 to 245
    assert np.abs(pixels() - pixels(style="sketch")).mean() > 5


@pytest.mark.parametrize("style", ["flat", "sketch"])
def test_what_stands_left_is_drawn_left(style) -> None:
    empty = pixels(Scene(None, None), style=style)
    left = np.abs(pixels(Scene(RED_CIRCLE, None), style=style) - empty).sum(axis=2)
    right = np.abs(pixels(Scene(None, RED_CIRCLE), style=style) - empty).sum(axis=2)
    assert left[:, :28].sum() > 0 == left[:, 28:].sum()
    assert right[:, 28:].sum() > 0 == right[:, :28].sum()


def test_large_covers_more_than_small() -> None:
    for shape in SHAPES:
        areas = [
            (np.abs(pixels(Scene(Thing(size, "blue", shape), None)) - pixels(Scene(None, None))).sum(axis=2) > 0).sum()
            for size in ("small", "large")
        ]
        assert areas[1] > 1.5 * areas[0]


def test_every_thing_looks_different() -> None:
    things = [Thing(size, colour, shape) for size in ("small", "large") for colour in COLOURS for shape in SHAPES]
    assert len({pixels(Scene(thing, None)).tobytes() for thing in things}) == 48


def test_the_middle_of_a_thing_has_its_colour() -> None:
    image = Image.fromarray(pixels(Scene(RED_CIRCLE, None), seed=1, size_px=112).astype(np.uint8))
    red, green, blue = image.getpixel((round(112 * 0.27), 56))
    assert red - max(green, blue) > 100  # (220, 40, 40), each within 15
