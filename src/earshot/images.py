"""The only place that opens an image: within limits, as one plain RGB picture, or refused with one kind of error."""

from __future__ import annotations

import io
import math
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from PIL import Image, ImageChops, ImageFile, UnidentifiedImageError

from earshot.errors import DataError, EarshotError, ImageError, InputError
from earshot.image_sizes import Refused, check_png, png_chunks, webp_without_end
from earshot.jpeg_scans import SCAN, check_scans, jpeg_segments
from earshot.paths import at_home
from earshot.types import ImageSource

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
"""The formats that are read, by Pillow's name, and the file ending of each."""

NO_IMAGE = b""
"""Stands in a pair for an image that a pair set without images does not have; `load_image` refuses it by name."""

_ORIENTATION_TAG = 0x0112
_STRIP = 256  # rows of pixels
_SHOWN = 200  # characters of a name in a message
_DECLARED = "is declared (--root DIR, data.roots, roots=)"
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image file may be.

    The defaults let through anything a text-to-image model makes. Pillow refuses images beyond its own
    `MAX_IMAGE_PIXELS` (89 million) whatever `max_pixels` is.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 50_000_000
    min_side_px: int = 8
    max_aspect: float = 20.0
    """Longer side over shorter side."""
    max_pixel_scans: int = 2_000_000_000
    """Pixels times scans of a JPEG: a progressive one goes over its pixels some ten times, and a bomb thousands."""

    @property
    def area(self) -> str:
        """The most pixels, for people: no more than there may be."""
        most = self.max_pixels
        return f"{most // 100_000 / 10:g} megapixels" if most >= 1_000_000 else f"{most} pixels"


DEFAULT_LIMITS = ImageLimits()


class ImageHeader(NamedTuple):
    """What the beginning of an image file says, within limits."""

    format: str
    width_px: int
    height_px: int


def load_image(source: ImageSource, *, limits: ImageLimits = DEFAULT_LIMITS, where: str | None = None) -> Image.Image:
    """Decodes a whole image to upright RGB: EXIF orientation applied, transparency on white, nothing but pixels kept.

    Args:
        source: A path, the bytes of an image file, or a Pillow image, which is left as it is.
        limits: What is let through; checked against the header before anything is decoded.
        where: The row or request the image belongs to, for the message of an error.

    Raises:
        ImageError: The image is missing, of another format, beyond a limit, truncated, or smaller than it says.
    """
    with _naming(source, where):
        if isinstance(source, Image.Image):
            _check_header(source, limits)
            return _upright_rgb(source)
        data = _read(source, limits)
        with _open(data) as image:
            _check_header(image, limits)
            _check_data(data, image, limits)
            if image.format == "PNG":
                _scale_colour_key(image, bits=data[24])
            return _upright_rgb(image)


def read_header(source: Path | bytes, *, limits: ImageLimits = DEFAULT_LIMITS, where: str | None = None) -> ImageHeader:
    """Checks an image file against the limits by its header alone; damage further in goes unseen.

    Raises:
        ImageError: As `load_image`, but for what only decoding shows.
    """
    with _naming(source, where), _open(_read(source, limits)) as image:
        _check_header(image, limits)
        return ImageHeader(str(image.format), image.width, image.height)


def read_file(path: Path, *, limits: ImageLimits = DEFAULT_LIMITS, where: str | None = None) -> bytes:
    """The bytes of a regular file that is no larger than an image may be; its content is not looked at.

    Raises:
        ImageError: The file is missing, not a regular file, empty or too large.
    """
    with _naming(path, where):
        return _read(path, limits)


@contextmanager
def _naming(source: ImageSource, where: str | None) -> Iterator[None]:
    """Turns whatever goes wrong with an image into one ImageError that says which image, and in which row."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise EarshotError("ImageFile.LOAD_TRUNCATED_IMAGES is on, so damaged images would pass; set it to False")
    try:
        yield
    except (MemoryError, EarshotError):
        raise
    # Parsers meet hostile bytes here, and Pillow's raise a dozen kinds of exception for them.
    except Exception as error:
        names = [where or "", str(source) if isinstance(source, Path) else ""]
        place = ": ".join(printable(name) for name in names if name) or "image"
        found = str(error) if isinstance(error, Refused) else f"cannot be decoded ({printable(str(error))})"
        raise ImageError(f"{place}: {found}") from error


def printable(text: str) -> str:
    """The text on one line: control characters and lone surrogates escaped, so that a file name cannot forge output."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _read(source: Path | bytes, limits: ImageLimits) -> bytes:
    if isinstance(source, Path):
        try:
            # Without waiting, for a named pipe would never answer.
            descriptor = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise Refused("is not a regular file; expected an image")
                data = file.read(limits.max_bytes + 1)
        except FileNotFoundError as error:
            raise Refused("is missing; put the image there or drop the row") from error
        except OSError as error:
            raise Refused(f"cannot be read ({error.strerror})") from error
    else:
        data = source
    if not data:
        empty = "is empty" if isinstance(source, Path) else "is not there; this pair has no image"
        raise Refused(f"{empty}; expected the bytes of an image")
    if len(data) > limits.max_bytes:
        raise Refused(f"has more than {limits.max_bytes} bytes, which is the limit; shrink the image")
    return data


def _open(data: bytes) -> Image.Image:
    # Pillow goes through them one by one.
    if data.startswith(b"\xff\xd8"):
        next((one for one in jpeg_segments(data) if one.marker == SCAN), None)
    elif data.startswith(b"\x89PNG"):
        next((kind for kind, _ in png_chunks(data) if kind == b"IDAT"), None)
    try:
        return Image.open(io.BytesIO(data), formats=tuple(SUFFIXES))
    except UnidentifiedImageError as error:
        begin = data[:8].hex(" ")
        raise Refused(f"is no {' or '.join(SUFFIXES)} (it begins {begin}); convert the image") from error


def _check_header(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    frames = getattr(image, "n_frames", 1)
    # More frames are an animation, or a photograph with a second picture beside it; only the first would be seen.
    if frames > 1:
        raise Refused(f"holds {frames} frames, expected at most 1; take one of them")
    if image.mode in ("F", "I"):
        raise Refused(
            f"has pixels of 32 bits (mode {image.mode}), whose range nobody tells; make them 8 or 16 bits wide"
        )
    if image.format is not None and image.format not in SUFFIXES:
        raise Refused(f"is {image.format}, expected {' or '.join(SUFFIXES)}; convert the image")
    if min(width, height) < limits.min_side_px:
        raise Refused(f"is {width} x {height} pixels, expected sides of at least {limits.min_side_px}")
    if width * height > limits.max_pixels:
        raise Refused(f"is {width} x {height} pixels, expected at most {limits.area}; shrink the image")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise Refused(f"is {width} x {height} pixels, expected at most 1 : {limits.max_aspect:g}; crop the image")


def _check_data(data: bytes, image: Image.Image, limits: ImageLimits) -> None:
    """Decodes the image, and refuses a file whose data do not fill the size in its header, or cost too much."""
    others: list[bytes] = []
    if image.format == "PNG":
        check_png(data)
    elif image.format in ("JPEG", "MPO"):
        others = check_scans(data, max_pixel_scans=limits.max_pixel_scans)
    image.load()
    if not all(_same_pixels(image, other) for other in others):
        raise Refused("is truncated: its data end before the size its header promises is filled; get the file again")
    if image.format == "WEBP" and (shorter := webp_without_end(data)) is not None and _decodes(shorter):
        raise Refused("is truncated: zeros stand where its data should; get the file again")


def _same_pixels(image: Image.Image, data: bytes) -> bool:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as other:
        other.load()
        strips = ((0, top, image.width, min(top + _STRIP, image.height)) for top in range(0, image.height, _STRIP))
        return not any(ImageChops.difference(image.crop(strip), other.crop(strip)).getbbox() for strip in strips)


def _decodes(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
            image.load()
    except (OSError, ValueError):
        return False
    return True


def _scale_colour_key(image: Image.Image, *, bits: int) -> None:
    """Brings the colour that a PNG calls transparent to the depth that its pixels are decoded to.

    Args:
        image: As Pillow has decoded it.
        bits: Of a sample in the file, from its header.
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and image.mode in ("1", "L") and bits < 8:
        image.info["transparency"] = key * 255 // ((1 << bits) - 1)
    elif isinstance(key, tuple) and bits == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    if image.mode.startswith("I;16"):  # Pillow would clip at 255 instead of scaling
        grey = np.asarray(image)
        shown = np.where(grey == image.info.get("transparency", -1), 255, grey >> 8)
        rgb = Image.fromarray(shown.astype(np.uint8)).convert("RGB")
    elif image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    else:
        rgb = image.convert("RGB")
    if turn is not None:
        rgb = rgb.transpose(turn)
    # A fresh picture, because the old one still carries the orientation, which the next reader would apply again.
    pixels = Image.new("RGB", rgb.size)
    pixels.paste(rgb)
    return pixels


def resolve_inside(root: Path, relative: str, *, where: str | None = None, roots: Sequence[Path] = ()) -> Path:
    """The path of a file named in a row, which must lie in the folder, links followed. It need not exist.

    A link may also lead into one of `roots`, into the hub's cache, and from a snapshot of the hub to its `blobs`; an
    absolute path may lie there.

    Args:
        root: The folder.
        relative: The name in the row.
        where: The row, for the message of an error.
        roots: Further folders in which files may lie, as the user has declared.

    Raises:
        ImageError: The name is empty, holds `..` or a null byte, or is an absolute path or a link that leads elsewhere.
    """
    shown = repr(printable(relative[:_SHOWN] + "..." * (len(relative) > _SHOWN)))
    name = f"{printable(where)}: {shown}" if where is not None else shown
    if not relative or "\0" in relative:
        raise ImageError(f"{name} is no file name; expected a path relative to {root}")
    if ".." in relative.replace("\\", "/").split("/"):
        raise ImageError(f"{name} holds '..'; expected a path that stays in {root}")
    try:
        place = Path(os.path.realpath(root / relative))
        folders = [Path(os.path.realpath(folder)) for folder in (root, *roots)]
        inside = any(place.is_relative_to(folder) for folder in (*folders, *_of_the_hub(folders[0])))
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be followed ({error}); expected a file in {root}") from error
    if relative.startswith("\\") or relative[1:2] == ":" or (relative.startswith("/") and not inside):
        raise ImageError(
            f"{name} is an absolute path; expected one relative to {root}, or in a folder that {_DECLARED}"
        )
    if not inside:
        raise ImageError(
            f"{name} is a link that leaves {root}; copy the file into it, or into a folder that {_DECLARED}"
        )
    return root / relative


def _of_the_hub(root: Path) -> Iterator[Path]:
    """Where the hub's client keeps files that it links to: its cache, and `blobs` beside `snapshots/REVISION`."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    yield Path(os.path.realpath(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub"))
    for folder in (root, *root.parents):
        if folder.parent.name == "snapshots":
            yield folder.parent.parent / "blobs"


def declared_roots(roots: Sequence[str | Path]) -> tuple[Path, ...]:
    """The folders in which a user says that files of a set may lie.

    Raises:
        InputError: One of them is no folder.
    """
    folders = tuple(at_home(Path(root)) for root in roots)
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"{folder}: is no folder, expected one in which a set's images lie; check --root, data.roots"
            )
    return folders


class ImageFolder:
    """Finds the images that rows name in one folder, by `resolve_inside`.

    A file may also lie in one of `roots`, which the user declares: behind a link, or by its absolute path.

    Following every link costs a dozen system calls an image. A subfolder that has passed is not followed again, so
    that a million rows are found with one call each.
    """

    def __init__(self, root: Path, roots: Sequence[str | Path] = ()) -> None:
        self.root = Path(root)
        self.roots = declared_roots(roots)
        self._sound: set[str] = set()

    def find(self, relative: str, *, where: str | None = None) -> Path:
        """The path of an image.

        Raises:
            ImageError: It is missing, no file, or outside the folder.
        """
        parent, _, last = relative.rpartition("/")
        path = self.root / relative
        try:
            if parent in self._sound and last not in ("", ".", "..") and stat.S_ISREG(path.lstat().st_mode):
                return path
        except (OSError, ValueError):
            pass  # the long way says what is wrong
        resolve_inside(self.root, relative, where=where, roots=self.roots)
        if not _is_file(path):
            place = f"{printable(where)}: " if where is not None else ""
            raise ImageError(f"{place}{printable(str(path))} is missing; put the image there or drop the row")
        self._sound.add(parent)
        return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


class Tolerance:
    """Counts bad items, and stops a job only once there are more of them than it was told to bear.

    Example:
        tolerance = Tolerance(10, on_error=errors.append)
        for pair in pairs:
            with tolerance.item():
                judge(load_image(pair.first, where=pair.id))  # an ImageError skips this pair, the eleventh is raised
    """

    def __init__(self, limit: int = 0, on_error: Callable[[DataError], None] | None = None) -> None:
        if limit < 0:
            raise DataError(f"{limit} bad items cannot be tolerated; expected 0 or more")
        self.limit = limit
        self.refused = 0
        """How many items have been refused so far."""
        self._on_error = on_error
        self._lock = threading.Lock()  # images are decoded in threads

    def refuse(self, error: DataError) -> None:
        """Records a bad item.

        Raises:
            DataError: The error itself, once there are more than `limit`.
        """
        with self._lock:
            self.refused += 1
            refused = self.refused
            if self._on_error is not None:
                self._on_error(error)
        if refused > self.limit:
            if self.limit == 0:
                raise error
            raise type(error)(f"{error} (bad item {refused}; at most {self.limit} were to be tolerated)") from error

    @contextmanager
    def item(self) -> Iterator[None]:
        """Wraps the work on one item: a DataError in it (an ImageError is one) goes to `refuse`."""
        try:
            yield
        except DataError as error:
            self.refuse(error)


ImageBackend: TypeAlias = Literal["pil", "torchvision"]


@dataclass(frozen=True, slots=True)
class Sight:
    """How images are made ready for a model; None leaves it to the model, or to whoever asks it.

    Attributes:
        min_pixels: Smaller images are enlarged to so many pixels (width × height).
        max_pixels: Larger images are shrunk to so many.
        image_backend: Whose image processor it is, Pillow's or torchvision's, where transformers has both for a family.

    Raises:
        InputError: The lower limit is above the upper one, or there is no such backend.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    image_backend: ImageBackend | None = None

    def __post_init__(self) -> None:
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise InputError(f"min_pixels {self.min_pixels} is above max_pixels {self.max_pixels}")
        if self.image_backend not in (None, *get_args(ImageBackend)):
            raise InputError(f"image_backend is {self.image_backend!r}, expected pil or torchvision")

    def filled(self, other: Sight) -> Sight:
        """The same, with another's where this leaves it open; another's limit that crosses one of these gives way."""
        lower, upper = self.min_pixels or other.min_pixels, self.max_pixels or other.max_pixels
        if lower is not None and upper is not None and lower > upper:
            lower = upper = self.min_pixels or upper
        return Sight(lower, upper, self.image_backend or other.image_backend)

    def told(self) -> dict[str, Any]:
        """What is not left open, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


AS_IT_IS = Sight()
"""Nothing is asked of images."""


def scaled(image: Image.Image, sight: Sight) -> Image.Image:
    """A decoded image between limits of pixels (width × height), its aspect ratio kept; one within them as it is."""
    area = image.width * image.height
    if sight.max_pixels is not None and area > sight.max_pixels:
        scale = math.sqrt(sight.max_pixels / area)
        size = max(1, math.floor(image.width * scale)), max(1, math.floor(image.height * scale))
    elif sight.min_pixels is not None and area < sight.min_pixels:
        scale = math.sqrt(sight.min_pixels / area)
        size = math.ceil(image.width * scale), math.ceil(image.height * scale)
    else:
        return image
    return image.resize(size, Image.Resampling.BICUBIC)
