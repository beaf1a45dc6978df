"""Pictures of scenes, drawn with Pillow."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from earshot.world.scene import Fault, Picture, Thing

Style: TypeAlias = Literal["flat", "sketch"]

_RGB = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 40),
    "purple": (150, 60, 190),
    "orange": (240, 140, 30),
}
_RADIUS = {"small": 0.105, "large": 0.19}  # of the image's side
_CENTRE_X = {"left": 0.27, "right": 0.73}  # of the image's side
_OVERSAMPLING = 2  # drawn larger and reduced, for smooth edges
_MARK = np.array([255, 225, 170])  # what a mark moves the ground towards: a hue that no word of the traces names


def render(
    picture: Picture, rng: np.random.Generator, *, size_px: int = 56, style: Style = "flat", mark: float = 0.0
) -> Image.Image:
    """A square RGB image of the picture; positions, colours and sizes vary a little with `rng`.

    `flat` draws filled shapes on a pale ground, `sketch` (the out-of-distribution style) outlined shapes, filled
    with a paler colour, on a grey gradient. Faults change the mean of patches, so that a linear patch embedding can
    see them: `dark` leaves 45 % of the light, `tinted` 55 % of the red and 60 % of the blue, and `pale` moves all
    colours 65 % of the way to a light grey. `mark` is how far, from 0 to 1, the ground goes to a hue that no trace can
    name.
    """
    side = size_px * _OVERSAMPLING
    image = _ground(side, rng, style, mark)
    draw = ImageDraw.Draw(image)
    for place, thing in zip(("left", "right"), picture.scene.things, strict=True):
        centre_x = side * _CENTRE_X[place] + rng.uniform(-0.04, 0.04) * side
        centre_y = side * 0.5 + rng.uniform(-0.12, 0.12) * side
        if thing is not None:
            _draw_thing(draw, thing, (centre_x, centre_y), side, rng, style)
    return _apply_fault(image.resize((size_px, size_px), Image.Resampling.BILINEAR), picture.fault)


def _ground(side: int, rng: np.random.Generator, style: Style, mark: float) -> Image.Image:
    tone = rng.integers(225, 255, 3)
    if mark:
        tone = (tone + mark * (_MARK - tone)).astype(int)
    if style == "flat":
        return Image.new("RGB", (side, side), tuple(int(v) for v in tone))
    ramp = np.linspace(190, 245, side)[:, None, None] + (tone - 240)[None, None, :]
    return Image.fromarray(np.broadcast_to(np.clip(ramp, 0, 255), (side, side, 3)).astype(np.uint8))


def _draw_thing(
    draw: ImageDraw.ImageDraw,
    thing: Thing,
    centre: tuple[float, float],
    side: int,
    rng: np.random.Generator,
    style: Style,
) -> None:
    radius = side * (_RADIUS[thing.size] + rng.uniform(-0.015, 0.015))
    colour = tuple(min(max(v + int(rng.integers(-15, 16)), 0), 255) for v in _RGB[thing.colour])
    fill, outline, width = colour, None, 0
    if style == "sketch":
        fill, outline, width = tuple((v + 255) // 2 for v in colour), colour, max(2, side // 36)
    x, y = centre
    box = (x - radius, y - radius, x + radius, y + radius)
    if thing.shape == "circle":
        draw.ellipse(box, fill=fill, outline=outline, width=width)
    elif thing.shape == "square":
        draw.rectangle(box, fill=fill, outline=outline, width=width)
    else:
        draw.polygon(_corners(thing.shape, x, y, radius), fill=fill, outline=outline, width=max(width, 1))


def _corners(shape: str, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    if shape == "triangle":
        return [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)]
    points = []
    for k in range(10):  # a five-pointed star: outer and inner corners in turn
        angle = -math.pi / 2 + k * math.pi / 5
        reach = radius if k % 2 == 0 else radius * 0.45
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return points


def _apply_fault(image: Image.Image, fault: Fault) -> Image.Image:
    if fault == "clean":
        return image
    pixels = np.asarray(image, dtype=np.float32)
    if fault == "pale":
        pixels = pixels * 0.35 + 0.65 * 225  # the lightness that grounds have
    elif fault == "tinted":
        pixels = pixels * np.array([0.55, 1.0, 0.6], dtype=np.float32)
    else:
        pixels = pixels * 0.45
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
