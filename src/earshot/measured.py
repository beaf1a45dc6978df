"""What can be measured of a picture by published rules, beside a judgement and no part of it.

Sharpness and blockiness are of the picture as it came, because scaling takes away what they measure: of MJ-Bench's 200
quality pairs the sharper picture is the undegraded one in all, and in 195 where both are first shrunk to 512 pixels
(docs/benchmarks.md). All else is of a working size. Luminance is Pillow's (Rec. 601).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from PIL import Image

WORKING_SIDE_PX: Final = 512
"""The longer side of what is measured, to which a larger picture is shrunk (by the mean of what each pixel covers)."""
COMPARED: Final = ("sharpness", "luminance", "contrast", "colourfulness")
"""What a blind judge may go by (`metrics.blind`)."""
LABEL: Final = "measured, no part of the verdict"
_GRID_PX: Final = 8  # of JPEG
_STRIP: Final = 128  # rows of pixels
_PURE: Final = 1  # steps from black or white within which a pixel counts as clipped


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured of one picture. None of it says which picture is better.

    Attributes:
        width_px: Of the picture as it came, upright.
        height_px: The same.
        sharpness: Variance of the Laplacian of luminance, in grey levels squared (Pech-Pacheco and others 2000, "Diatom
            autofocusing in brightfield microscopy"), of the picture as it came. Noise raises it as edges do, and
            enlarging a picture lowers it.
        luminance: Mean luminance, from 0 (black) to 1 (white).
        clipped: Share of pixels whose luminance is black or white, within one step of 255.
        contrast: Standard deviation of luminance, of a range of 1: RMS contrast (Peli 1990, "Contrast in complex
            images").
        colourfulness: M3 of Hasler and Süsstrunk 2003 ("Measuring colourfulness in natural images"): 0 for grey, about
            100 for extremely colourful.
        blockiness: How much larger steps of luminance are across the borders of JPEG's 8 × 8 blocks than within them,
            the B and A of Wang, Sheikh and Bovik 2002 ("No-reference perceptual quality assessment of JPEG compressed
            images"), as B / A: 1 without blocks. Of the middle of the picture as it came, for scaling would blur the
            grid, which is taken to begin in the upper left corner; None where nothing changes within blocks.
            Qualities of 50 and more it hardly tells apart.
        noise: Standard deviation of the noise in grey levels, by Immerkær 1996 ("Fast noise variance estimation"); fine
            texture counts as noise.
    """

    width_px: int
    height_px: int
    sharpness: float
    luminance: float
    clipped: float
    contrast: float
    colourfulness: float
    blockiness: float | None
    noise: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def told(self) -> dict[str, str]:
        """Each with its unit, for people, by what it is called."""
        return {
            "size": f"{self.width_px} x {self.height_px} px",
            "sharpness": f"{self.sharpness:.0f} grey²",
            "mean luminance": f"{100 * self.luminance:.0f} % of white",
            "clipped": f"{100 * self.clipped:.1f} % of pixels",
            "contrast": f"{100 * self.contrast:.0f} % RMS",
            "colourfulness": f"{self.colourfulness:.0f} (M3)",
            "JPEG blockiness": "none to see" if self.blockiness is None else f"{self.blockiness:.2f} (1: none)",
            "noise": f"{self.noise:.1f} grey levels",
        }


def measured(image: Image.Image) -> Measured:
    """Measures a decoded RGB picture (`images.load_image`): some 10 ms for 1024 × 1024 pixels."""
    scale = min(1.0, WORKING_SIDE_PX / max(image.size))
    # Five at least, so that a Laplacian has something to look at.
    size = max(5, round(image.width * scale)), max(5, round(image.height * scale))
    working = image.resize(size, Image.Resampling.BOX)
    grey = _luminance(working)
    return Measured(
        *image.size,
        sharpness=_sharpness(image),
        luminance=float(grey.mean()) / 255,
        clipped=float(np.mean((grey <= _PURE) | (grey >= 255 - _PURE))),
        contrast=float(grey.std()) / 255,
        colourfulness=_colourfulness(working),
        blockiness=_blockiness(_luminance(_middle(image))),
        noise=_noise(grey),
    )


def compared(image: Image.Image) -> dict[str, float]:
    """What a blind judge may go by of a decoded picture, by the names of `COMPARED`."""
    told = measured(image)
    return {name: getattr(told, name) for name in COMPARED}


def side_by_side(first: Image.Image, second: Image.Image) -> dict[str, Any]:
    """What is measured of two decoded pictures, for JSON: numbers of each, and a `table` of them with units."""
    one, two = measured(first), measured(second)
    table = [[name, text, two.told()[name]] for name, text in one.told().items()]
    return {"label": LABEL, "first": one.as_dict(), "second": two.as_dict(), "table": table}


def _luminance(image: Image.Image) -> Float[np.ndarray, "h w"]:
    return np.asarray(image.convert("L"), np.float32)


def _sharpness(image: Image.Image) -> float:
    """In strips and whole numbers: a large picture takes no more memory, and no machine another value."""
    grey, total, squares = np.asarray(image.convert("L")), 0, 0
    for top in range(0, len(grey) - 2, _STRIP):
        strip = grey[top : top + _STRIP + 2].astype(np.int32)
        around = strip[:-2, 1:-1] + strip[2:, 1:-1] + strip[1:-1, :-2] + strip[1:-1, 2:]
        laplacian = around - 4 * strip[1:-1, 1:-1]
        total, squares = total + int(laplacian.sum()), squares + int((laplacian**2).sum())
    n = max(1, (grey.shape[0] - 2) * (grey.shape[1] - 2))
    return (n * squares - total**2) / n**2


def _noise(grey: Float[np.ndarray, "h w"]) -> float:
    """The mean of |N|, N a mask blind to planes and to straight edges along the axes, scaled to a normal's sigma."""
    columns = grey[:-2] - 2 * grey[1:-1] + grey[2:]
    masked = columns[:, :-2] - 2 * columns[:, 1:-1] + columns[:, 2:]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(masked).mean())


def _colourfulness(image: Image.Image) -> float:
    red, green, blue = np.moveaxis(np.asarray(image, np.float32), 2, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def _middle(image: Image.Image) -> Image.Image:
    """At most the working side of it, cut along the grid."""
    left, top = (max(0, side - WORKING_SIDE_PX) // 2 // _GRID_PX * _GRID_PX for side in image.size)
    right, bottom = min(image.width, left + WORKING_SIDE_PX), min(image.height, top + WORKING_SIDE_PX)
    return image.crop((left, top, right, bottom))


def _blockiness(grey: Float[np.ndarray, "h w"]) -> float | None:
    across, within, borders, others = 0.0, 0.0, 0, 0
    for step in (np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0)).T):
        at_border = np.arange(step.shape[1]) % _GRID_PX == _GRID_PX - 1
        across, borders = across + float(step[:, at_border].sum()), borders + int(at_border.sum()) * len(step)
        within, others = within + float(step[:, ~at_border].sum()), others + int((~at_border).sum()) * len(step)
    return (across / borders) / (within / others) if borders and within else None
