"""Thousands of pictures that are whole, cut, damaged, or none, and what becomes of them.

    python -m tests.malformed_pictures

A picture of which something is missing has to be refused, whatever stands in its place, and so has what is no picture;
a whole one has to be read. A changed bit may do either: many make another picture that is as whole as the first.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from earshot.errors import ImageError
from earshot.images import load_image

END, SCAN, SIGNATURE = b"\xff\xd9", b"\xff\xda", b"\x89PNG\r\n\x1a\n"
Expected = Literal["read", "refused", "either"]


class Made(NamedTuple):
    """A file of a kind, and what has to become of it."""

    kind: str
    data: bytes
    expected: Expected
    whole: bytes | None = None
    """Of a file that was cut: as it was before."""


def photograph(width: int, height: int, seed: int) -> Image.Image:
    grain = np.random.default_rng(seed)
    x, y = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    waves = 127 + 120 * np.sin(9 * x + 7 * y + np.array([0, 2, 4]) + seed) + grain.normal(0, 9, (height, width, 3))
    return Image.fromarray(waves.clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, bits: int = 8, colour: int = 2, before: bytes = b"", stream: bytes | None = None
) -> bytes:
    """A black PNG with any header, any chunks before its data, and any data."""
    row = 1 + -(-width * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 3) // 8)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = zlib.compress(bytes(row) * height, 9) if stream is None else stream
    return SIGNATURE + header + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpegs(seed: int) -> dict[str, bytes]:
    """One of every way in which Pillow writes a JPEG."""
    made = {}
    restarts = {"": {}, "-rows": {"restart_marker_rows": 1}, "-blocks": {"restart_marker_blocks": 3}}
    for mode, progressive, (name, options) in itertools.product(("RGB", "L", "CMYK"), (False, True), restarts.items()):
        image = photograph(61 + seed % 9, 83 - seed % 7, seed).convert(mode)
        kind = f"{mode.lower()}{'-progressive' if progressive else ''}{name}"
        made[kind] = encode(image, "JPEG", quality=85, progressive=progressive, **options)
    for sampling, optimize, quality in ((0, False, 95), (1, True, 50), (2, True, 10)):
        image = photograph(97, 64, seed)
        made[f"sampling-{sampling}"] = encode(image, "JPEG", subsampling=sampling, optimize=optimize, quality=quality)
    return made


def pngs(seed: int) -> dict[str, bytes]:
    image = photograph(53, 47, seed)
    made = {mode.lower(): encode(image.convert(mode), "PNG") for mode in ("RGB", "RGBA", "L", "LA", "1")}
    made["palette"] = encode(image.quantize(64), "PNG")
    made["palette-key"] = encode(image.quantize(16), "PNG", transparency=3)
    made["16-bit"] = encode(Image.fromarray(np.arange(53 * 47, dtype=np.uint16).reshape(47, 53) * 16), "PNG")
    return made


def webps(seed: int) -> dict[str, bytes]:
    image = photograph(64, 50, seed)
    return {
        "lossy": encode(image, "WEBP", quality=80),
        "lossless": encode(image, "WEBP", lossless=True),
        "alpha": encode(image.convert("RGBA"), "WEBP", quality=70),
        "exif": encode(image, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
    }


def flipped(data: bytes, chance: random.Random, first: int, last: int) -> bytes:
    bits = bytearray(data)
    bits[chance.randrange(first, last)] ^= 1 << chance.randrange(8)
    return bytes(bits)


def of_jpegs(chance: random.Random, seed: int) -> Iterator[Made]:
    for name, data in jpegs(seed).items():
        kind = f"jpeg-{name}"
        begin, last = data.find(SCAN) + 14, len(data) - 2
        cut = chance.randrange(begin, last)
        yield Made(kind, data, "read")
        yield Made(f"{kind}-trailer", data + chance.choice((bytes(99), data, b"SEFH\xff\xda")), "read")
        closings: dict[str, bytes] = {
            "bare": b"",
            "closed": END,
            "zeros": bytes(len(data) - cut),
            "stray": b"\xff" + END,
        }
        for how, closing in closings.items():
            yield Made(f"{kind}-cut-{how}", data[:cut] + closing, "refused", data)
        yield Made(f"{kind}-cut-header", data[: chance.randrange(2, begin)], "refused", data)
        yield Made(f"{kind}-cut-noise", data[:cut] + chance.randbytes(len(data) - cut), "either")
        yield Made(f"{kind}-hole", data[:cut] + data[min(cut + 200, last) :], "either")
        yield Made(f"{kind}-flip-data", flipped(data, chance, begin, last), "either")
        yield Made(f"{kind}-flip-header", flipped(data, chance, 2, begin), "either")
        markers = [at for at in range(begin, last) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xDA]
        if markers:
            yield Made(f"{kind}-cut-between", data[: chance.choice(markers)] + END, "refused", data)


def of_pngs(chance: random.Random, seed: int) -> Iterator[Made]:
    for name, data in pngs(seed).items():
        kind, cut = f"png-{name}", chance.randrange(1, len(data) - 12)
        at = data.find(b"IDAT") - 4
        stream = data[at + 8 : at + 8 + int.from_bytes(data[at : at + 4], "big")]
        yield Made(kind, data, "read")
        yield Made(f"{kind}-trailer", data + b"PK\x03\x04", "read")
        yield Made(f"{kind}-cut-bare", data[:cut], "refused", data)
        yield Made(f"{kind}-cut-zeros", data[:cut] + bytes(len(data) - cut), "refused", data)
        mended = chunk(b"IDAT", stream[: chance.randrange(len(stream))]) + chunk(b"IEND", b"")
        yield Made(f"{kind}-cut-mended", data[:at] + mended, "refused", data)
        rows = zlib.compress(zlib.decompress(stream)[: -1 - chance.randrange(40)])
        short = chunk(b"IDAT", rows) + chunk(b"IEND", b"")
        yield Made(f"{kind}-cut-rows", data[:at] + short, "refused", data)
        yield Made(f"{kind}-flip", flipped(data, chance, 0, len(data)), "either")


def of_webps(chance: random.Random, seed: int) -> Iterator[Made]:
    for name, data in webps(seed).items():
        kind, cut = f"webp-{name}", chance.randrange(1, len(data) - 8)
        yield Made(kind, data, "read")
        yield Made(f"{kind}-cut-bare", data[:cut], "refused", data)
        if name in ("lossy", "lossless"):
            cut = chance.randrange(20, len(data) - 32)
            yield Made(f"{kind}-cut-zeros", data[:cut] + bytes(len(data) - cut), "refused", data)
            body = data[20 : 20 + (chance.randrange(len(data) - 40) & ~1)]
            head = data[12:16] + struct.pack("<I", len(body)) + body
            yield Made(
                f"{kind}-cut-mended", b"RIFF" + struct.pack("<I", len(head) + 4) + b"WEBP" + head, "refused", data
            )
        yield Made(f"{kind}-flip", flipped(data, chance, 0, len(data)), "either")


def of_no_pictures(chance: random.Random, seed: int) -> Iterator[Made]:
    image = photograph(40, 30, seed)
    for format in (
        "GIF",
        "BMP",
        "TIFF",
        "PPM",
        "ICO",
        "TGA",
        "PCX",
        "SGI",
        "DDS",
        "JPEG2000",
        "ICNS",
        "EPS",
        "PDF",
    ):
        yield Made(f"other-{format.lower()}", encode(image, format), "refused")
    texts = {
        "empty": b"", "text": b"a red circle\n" * 9, "html": b"<html><script>1</script>", "svg": b"<svg xmlns=''/>",
        "zip": b"PK\x03\x04" + chance.randbytes(200), "pickle": b"\x80\x04cposix\nsystem\n.",
        "elf": b"\x7fELF" + bytes(99),
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "zeros": bytes(5000),
        "noise": chance.randbytes(3000),
    }  # fmt: skip
    for name, data in texts.items():
        yield Made(f"none-{name}", data, "refused")
    for name, magic in {"jpeg": b"\xff\xd8\xff", "png": SIGNATURE, "webp": b"RIFF\xff\x0f\0\0WEBPVP8 "}.items():
        yield Made(f"none-after-{name}", magic + chance.randbytes(chance.randrange(3000)), "refused")
    first, second = image, photograph(40, 30, seed + 1)
    for format in ("PNG", "WEBP", "MPO"):
        yield Made(f"two-{format.lower()}", encode(first, format, save_all=True, append_images=[second]), "refused")
    for width, height, expected in ((7, 90, "refused"), (8, 160, "read"), (8, 161, "refused"), (1, 1, "refused")):
        yield Made(f"size-{width}x{height}", encode(image.resize((width, height)), "PNG"), expected)  # type: ignore[arg-type]
    for bits, colour in ((4, 2), (16, 3), (8, 5), (8, 7), (3, 0)):
        yield Made(f"png-{bits}-bits-of-{colour}", png(20, 20, bits, colour), "refused")
    yield Made("png-no-palette", png(20, 20, 8, 3), "refused")
    yield Made("png-rows-too-many", png(20, 20, stream=zlib.compress(bytes(61 * 40))), "refused")


def bombs() -> Iterator[Made]:
    """Small files that cost much to decode, once each."""
    zeros = zlib.compress(bytes(100_000_000), 9)
    yield Made("bomb-pixels", png(50_000, 50_000, 1, 0), "refused")
    yield Made("bomb-pixels-allowed", png(7000, 7000), "read")
    yield Made("bomb-stream", png(64, 64, stream=zeros), "refused")
    for name in (b"zTXt", b"iTXt", b"iCCP"):
        text = b"x\0\1\0\0\0" if name == b"iTXt" else b"x\0\0"
        yield Made(f"bomb-{name.decode().lower()}", png(32, 32, before=chunk(name, text + zeros)), "either")
    yield Made("bomb-chunks", png(32, 32, before=chunk(b"tEXt", b"k\0v") * 4_000_000), "refused")
    flat = encode(Image.new("RGB", (4096, 4096), (200, 30, 40)), "JPEG", progressive=True, quality=20)
    at = flat.rfind(SCAN)
    scan = flat[at : at + 2 + int.from_bytes(flat[at + 2 : at + 4], "big")] + bytes(4)
    for count in (8_000, 4_000_000):
        yield Made(f"bomb-{count}-scans", flat[:-2] + scan * count + END, "refused")
    yield Made("bomb-segments", flat[:2] + b"\xff\xfe\0\3a" * 12_000_000 + flat[2:], "refused")
    yield Made("bomb-fill", flat[:-2] + b"\xff" * 60_000_000, "refused")
    large = photograph(7000, 7000, 1)
    for progressive in (False, True):
        name = f"bomb-jpeg-allowed{'-progressive' if progressive else ''}"
        yield Made(name, encode(large, "JPEG", progressive=progressive, subsampling=0), "read")


def all_files(rounds: int, seed: int = 0) -> Iterator[Made]:
    chance = random.Random(seed)
    kinds: tuple[Callable[[random.Random, int], Iterator[Made]], ...] = (of_jpegs, of_pngs, of_webps, of_no_pictures)
    for k, make in itertools.product(range(rounds), kinds):
        yield from make(chance, seed + k)


@dataclass
class Outcome:
    """What became of the files."""

    files: int = 0
    kinds: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Kinds of files that crashed, or of which something other became than had to."""
    slowest: tuple[float, str] = (0.0, "")
    """CPU seconds of the file that took longest, and its kind."""

    def try_out(self, made: Made) -> None:
        self.files += 1
        self.kinds.add(made.kind)
        started = time.process_time()
        try:
            pixels, became = load_image(made.data), "read"
        except ImageError:
            became = "refused"
        except BaseException as error:
            became = f"crashed ({type(error).__name__})"
        self.slowest = max(self.slowest, (time.process_time() - started, made.kind))
        if made.whole is not None and became == "read" and pixels.tobytes() == load_image(made.whole).tobytes():
            became = "read whole"  # what was cut off stood for nothing
        cut = "cut, " if made.whole is not None else ""
        self.counts[f"{cut}{became}"] += 1
        fine = {made.expected, "read whole"} if made.expected != "either" else {"read", "refused"}
        if became not in fine:
            self.wrong.append(f"{made.kind}: {became}, expected {made.expected}")


def cost_of(data: bytes) -> tuple[str, float, float]:
    """What becomes of a file, CPU seconds, and MiB of memory beside the file's own."""
    load_image(png(8, 8))
    before, started = peak_mib(), time.process_time()
    try:
        load_image(data)
        became = "read"
    except ImageError:
        became = "refused"
    return became, time.process_time() - started, peak_mib() - before


def peak_mib() -> float:
    """The most memory that this process has had, as Linux tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="of 359 files, each of another kind")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    outcome = Outcome()
    for made in all_files(asked.rounds, asked.seed):
        outcome.try_out(made)
    print(f"{outcome.files:,} files, the slowest in {outcome.slowest[0] * 1e3:.0f} ms of CPU ({outcome.slowest[1]})")
    for made in bombs():
        outcome.try_out(made)
        # In a process of its own, whose peak of memory nothing else has raised.
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            became, seconds, memory = alone.submit(cost_of, made.data).result()
        print(f"{made.kind}: {len(made.data):,} bytes, {became} in {seconds:.2f} s of CPU with {memory:.0f} MiB")
    print(f"{outcome.files:,} files of {len(outcome.kinds)} kinds: {dict(outcome.counts)}; {len(outcome.wrong)} wrong")
    print("\n".join(outcome.wrong))
    return bool(outcome.wrong)


if __name__ == "__main__":
    sys.exit(main())
