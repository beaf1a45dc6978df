"""The one loader of images: what it makes of good files, and what it refuses."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from earshot.errors import DataError, EarshotError, ImageError, InputError
from earshot.images import (
    NO_IMAGE,
    ImageFolder,
    ImageLimits,
    Tolerance,
    load_image,
    read_header,
    resolve_inside,
)

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def gradient(width: int = 48, height: int = 64) -> Image.Image:
    values = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    return Image.fromarray(values.astype(np.uint8))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def red_png(width: int, height: int, rows: int, interlace: int = 0) -> bytes:
    """A PNG whose header says `height` and whose data hold `rows`, every checksum in order."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlace))
    data = chunk(b"IDAT", zlib.compress((b"\0" + b"\xff\0\0" * width) * rows))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def resized_jpeg(image: Image.Image, width: int, height: int, **options: object) -> bytes:
    """A JPEG whose header was changed to another size."""
    data = bytearray(encode(image, "JPEG", **options))
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


# What comes out


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
@pytest.mark.parametrize("kind", ["path", "bytes", "pillow"])
def test_pixels_come_through_unchanged(tmp_path: Path, format: str, kind: str) -> None:
    original = gradient()
    data = encode(original, format, lossless=True)
    (tmp_path / "a").write_bytes(data)
    source = {"path": tmp_path / "a", "bytes": data, "pillow": Image.open(io.BytesIO(data))}[kind]
    loaded = load_image(source)
    assert loaded.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(loaded), np.asarray(original))


def test_the_given_pillow_image_is_left_as_it_is() -> None:
    original = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    load_image(original).putpixel((0, 0), BLUE)
    assert original.mode == "RGBA" and original.getpixel((0, 0)) == (255, 0, 0, 0)


# A phone's picture of which the first row of pixels shows the top, the left, the bottom or the right of the scene.
@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (10, 20), (0, 0)),
        (2, (10, 20), (9, 0)),
        (3, (10, 20), (9, 19)),
        (4, (10, 20), (0, 19)),
        (5, (20, 10), (0, 0)),
        (6, (20, 10), (19, 0)),
        (7, (20, 10), (19, 9)),
        (8, (20, 10), (0, 9)),
    ],
)
def test_exif_orientation_is_applied_once(orientation: int, size: tuple[int, int], red_at: tuple[int, int]) -> None:
    image = Image.new("RGB", (10, 20), WHITE)
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    loaded = load_image(encode(image, exif=exif))
    assert loaded.size == size and loaded.getpixel(red_at) == RED
    assert load_image(loaded) == loaded  # nothing is left in it that would turn it again


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),  # 51/255 = 0.2 of black on white: 0.8 · 255 = 204
        ("LA", (0, 0), WHITE),
        ("L", 7, (7, 7, 7)),
        ("1", 1, WHITE),
        ("I;16", 40_000, (156, 156, 156)),  # 40000 / 256 = 156.25
    ],
)
def test_every_mode_becomes_rgb_on_white(mode: str, colour: object, expected: tuple[int, int, int]) -> None:
    assert load_image(encode(Image.new(mode, (8, 8), colour))).getpixel((3, 3)) == expected


def test_a_palette_with_a_transparent_colour_is_on_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert load_image(encode(image)).getpixel((0, 0)) == BLUE
    assert load_image(encode(image, transparency=1)).getpixel((0, 0)) == WHITE


# What is refused


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})],
)
def test_a_file_cut_at_any_byte_is_refused(format: str, options: dict) -> None:
    data = encode(gradient(), format, **options)
    load_image(data)
    for end in range(len(data)):
        with pytest.raises(ImageError):
            load_image(data[:end])


@pytest.mark.parametrize(("height", "rows"), [(20, 10), (10, 20), (5000, 10)])
def test_a_png_that_lies_about_its_height_is_refused(height: int, rows: int) -> None:
    load_image(red_png(10, rows, rows), limits=ImageLimits(max_aspect=1000.0))
    with pytest.raises(ImageError, match="header promises"):
        load_image(red_png(10, height, rows), limits=ImageLimits(max_aspect=1000.0))


@pytest.mark.parametrize("options", [{"bits": 1}, {"bits": 2}, {}])
def test_packed_pixels_of_odd_widths_are_counted_right(options: dict) -> None:
    image = Image.new("P", (13, 9), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert load_image(encode(image, **options)).getpixel((12, 8)) == RED


def test_an_interlaced_png_is_counted_pass_by_pass() -> None:
    # 9 x 9: the seven passes hold 2·2, 1·2, 3·1, 2·3, 5·2, 4·5, 9·4 pixels (81 in all) in 2+2+1+3+2+5+4 = 19 rows
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 1))
    passes = ((2, 2), (1, 2), (3, 1), (2, 3), (5, 2), (4, 5), (9, 4))
    rows = b"".join((b"\0" + b"\xff\0\0" * columns) * count for columns, count in passes)
    for raw, sound in ((rows, True), (rows[:-1], False), (rows + b"\0", False)):
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
        if sound:
            assert load_image(data).getpixel((8, 8)) == RED
        else:
            with pytest.raises(ImageError):
                load_image(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}, {"subsampling": 0}]
)
def test_a_jpeg_that_lies_about_its_size_is_refused(mode: str, options: dict) -> None:
    image = gradient().convert(mode)
    assert load_image(resized_jpeg(image, 48, 64, **options)).size == (48, 64)
    for size in ((48, 80), (64, 64), (2000, 2000)):
        with pytest.raises(ImageError, match="header promises"):
            load_image(resized_jpeg(image, *size, **options))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_that_ends_in_grey_is_not_taken_for_a_liar(options: dict) -> None:
    image = gradient()
    image.paste((128, 128, 128), (0, 16, 48, 64))
    assert load_image(encode(image, "JPEG", **options)).getpixel((47, 63)) == (128, 128, 128)
    assert load_image(encode(Image.new("RGB", (48, 64), (128, 128, 128)), "JPEG", **options)).size == (48, 64)


def test_a_bomb_is_refused_by_its_header() -> None:
    for side in (9000, 30_000):  # within and beyond what Pillow itself would open
        with pytest.raises(ImageError):
            load_image(red_png(side, side, 1))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ImageLimits(max_bytes=100), "more than 100 bytes"),
        (ImageLimits(max_pixels=48 * 64 - 1), "at most 3071 pixels;"),
        (ImageLimits(min_side_px=49), "sides of at least 49"),
        (ImageLimits(max_aspect=1.3), r"at most 1 : 1\.3"),
    ],
)
def test_each_limit_is_held_and_named(limits: ImageLimits, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        load_image(encode(gradient()), limits=limits)


def test_a_limit_just_reached_is_let_through() -> None:
    data = encode(gradient())
    limits = ImageLimits(max_bytes=len(data), max_pixels=48 * 64, min_side_px=48, max_aspect=64 / 48)
    assert load_image(data, limits=limits).size == (48, 64)


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "ICO"])
def test_other_formats_are_refused_whatever_the_name_says(tmp_path: Path, format: str) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(encode(gradient(), format))
    with pytest.raises(ImageError, match=r"picture\.png: is no JPEG or PNG or WEBP"):
        load_image(file)
    with Image.open(file) as opened, pytest.raises(ImageError, match="expected JPEG or PNG or WEBP"):
        load_image(opened)


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_is_refused(format: str) -> None:
    data = encode(Image.new("RGB", (9, 9), RED), format, save_all=True, append_images=[Image.new("RGB", (9, 9), BLUE)])
    with pytest.raises(ImageError, match="holds 2 frames"):
        load_image(data)


def test_a_jpeg_with_a_second_picture_is_refused() -> None:
    data = encode(gradient(), "MPO", save_all=True, append_images=[gradient()])
    with pytest.raises(ImageError, match="holds 2 frames"):
        load_image(data)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.png").touch()
    for source, reason in (
        (tmp_path / "none.png", "is missing"),
        (tmp_path, "cannot be read|not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "empty.png", "is empty"),
        (NO_IMAGE, "this pair has no image"),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded|is no"),
    ):
        with pytest.raises(ImageError, match=reason):
            load_image(source)


def test_a_refusal_names_the_row_and_the_file_on_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a\nb\x1b[31m.png"
    file.write_bytes(b"no picture")
    with pytest.raises(ImageError) as caught:
        load_image(file, where="metadata.jsonl:41")
    message = str(caught.value)
    assert message.startswith("metadata.jsonl:41: ") and r"a\nb\x1b[31m.png: is no" in message
    assert message.isprintable()


def test_a_switch_that_lets_truncated_files_through_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(EarshotError, match="LOAD_TRUNCATED_IMAGES"):
        load_image(encode(gradient()))


@settings(max_examples=150)
@given(format=st.sampled_from(["JPEG", "PNG", "WEBP"]), data=st.data())
def test_damaged_bytes_give_a_picture_or_an_image_error(format: str, data: st.DataObject) -> None:
    file = bytearray(encode(gradient(), format))
    for position in data.draw(st.lists(st.integers(0, len(file) - 1), min_size=1, max_size=6)):
        file[position] = data.draw(st.integers(0, 255))
    try:
        assert load_image(bytes(file)).mode == "RGB"
    except ImageError as error:
        assert str(error).isprintable()


def test_a_header_is_read_without_its_data() -> None:
    assert read_header(red_png(10, 20, 1)) == ("PNG", 10, 20)
    with pytest.raises(ImageError, match="at least 11"):
        read_header(red_png(10, 20, 1), limits=ImageLimits(min_side_px=11))


def test_real_photographs_are_read() -> None:
    folder = DATA / "imagereward"
    if not folder.is_dir():
        pytest.skip("the real images are not beside this checkout")
    sizes = [load_image(folder / f"{n}.webp").size for n in (1, 2, 3, 4)]
    assert all(min(size) >= 256 for size in sizes)


# Paths


def test_a_path_inside_the_folder_is_resolved(tmp_path: Path) -> None:
    assert resolve_inside(tmp_path, "images/0a/x..y.png") == tmp_path / "images/0a/x..y.png"


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../secret.png", "images/../../x.png", "a\0b", "..", "\\\\host\\x", "C:\\x", "a\\..\\b"]
)
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="row 3"):
        resolve_inside(tmp_path, name, where="row 3")


def test_a_link_may_stay_in_the_folder_but_not_leave_it(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"")
    (root / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    (root / "in.png").symlink_to(root / "images" / "a.png")
    (tmp_path / "alias").symlink_to(root)
    for name in ("out.png", "up/secret.png"):
        with pytest.raises(ImageError, match="leaves"):
            resolve_inside(root, name)
    assert resolve_inside(root, "in.png") == root / "in.png"
    assert resolve_inside(tmp_path / "alias", "images/a.png") == tmp_path / "alias" / "images/a.png"


def linked(root: Path, target: Path) -> Path:
    """A set whose folder of images is a link, and one of whose images is."""
    root.mkdir(parents=True)
    target.mkdir(parents=True)
    (target / "a.png").write_bytes(encode(gradient()))
    (root / "images").symlink_to(target)
    (root / "one.png").symlink_to(target / "a.png")
    return root


def test_a_link_may_lead_into_a_declared_folder_and_nowhere_else(tmp_path: Path) -> None:
    root = linked(tmp_path / "set", tmp_path / "scratch" / "images")
    (tmp_path / "secret.png").write_bytes(encode(gradient()))
    (root / "secret.png").symlink_to(tmp_path / "secret.png")
    declared = ImageFolder(root, [tmp_path / "scratch"])
    for name in ("images/a.png", "one.png", str(tmp_path / "scratch/images/a.png")):
        assert load_image(declared.find(name)).size == (48, 64)
        with pytest.raises(ImageError, match=r"in(to)? a folder that is declared \(--root DIR, data.roots, roots=\)"):
            ImageFolder(root).find(name, where="row 3")
    for name in ("secret.png", str(tmp_path / "secret.png"), "images/../../secret.png", "/etc/passwd"):
        with pytest.raises(ImageError):
            declared.find(name)
    with pytest.raises(InputError, match="is no folder"):
        ImageFolder(root, [tmp_path / "nowhere"])


def test_a_link_that_is_turned_round_after_it_passed_is_followed_again(tmp_path: Path) -> None:
    root = linked(tmp_path / "set", tmp_path / "scratch")
    (tmp_path / "secret.png").write_bytes(encode(gradient()))
    folder = ImageFolder(root, [tmp_path / "scratch"])
    folder.find("one.png")
    (root / "one.png").unlink()
    (root / "one.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ImageError, match="leaves"):
        folder.find("one.png")


def test_the_hubs_cache_is_read_through_its_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = linked(tmp_path / "hub/datasets--a--b/snapshots/0f", tmp_path / "hub/datasets--a--b/blobs")
    assert ImageFolder(snapshot).find("one.png") == snapshot / "one.png"
    copy = linked(tmp_path / "copy", tmp_path / "cache/hub/datasets--a--b/blobs")
    with pytest.raises(ImageError, match="leaves"):
        ImageFolder(copy).find("one.png")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    assert ImageFolder(copy).find("one.png") == copy / "one.png"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    with pytest.raises(ImageError, match="leaves"):
        ImageFolder(copy).find("one.png")


# Tolerance


def test_a_job_bears_as_many_bad_items_as_it_was_told() -> None:
    recorded: list[str] = []
    tolerance = Tolerance(2, on_error=lambda error: recorded.append(str(error)))
    for name in ("one", "two"):
        with tolerance.item():
            raise ImageError(name)
    with pytest.raises(ImageError, match=r"three \(bad item 3; at most 2"), tolerance.item():
        raise ImageError("three")
    assert recorded == ["one", "two", "three"] and tolerance.refused == 3


def test_without_tolerance_the_first_error_is_raised_as_it_is() -> None:
    with pytest.raises(DataError, match=r"^one$"), Tolerance().item():
        raise DataError("one")


def test_only_bad_data_is_tolerated() -> None:
    with pytest.raises(ZeroDivisionError), Tolerance(9).item():
        _ = 1 / 0


def png(samples: np.ndarray, bits: int, key: tuple[int, ...]) -> bytes:
    """A PNG of grey or coloured samples at a depth, in which one colour is transparent."""
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    if bits == 16:
        lines = rows.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        spread = (rows[..., None] >> np.arange(bits)[::-1]) & 1
        lines = np.packbits(spread.reshape(height, -1).astype(np.uint8), axis=1)
    data = b"".join(b"\0" + line.tobytes() for line in lines)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, bits, 2 if samples.ndim == 3 else 0, 0, 0, 0)
    parts = [
        (b"IHDR", head),
        (b"tRNS", struct.pack(f">{len(key)}H", *key)),
        (b"IDAT", zlib.compress(data)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_white_at_every_depth(bits: int) -> None:
    key, other = (1 << bits) // 2, 0
    samples = np.full((16, 16), other)
    samples[:, 8:] = key
    pixels = np.asarray(load_image(png(samples, bits, (key,))))
    assert (pixels[:, 8:] == 255).all() and (pixels[:, :8] == 0).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_is_white_at_every_depth(bits: int) -> None:
    key = (3 << bits - 8, 200 << bits - 8, 0)
    samples = np.zeros((16, 16, 3), dtype=int)
    samples[:, 8:] = key
    pixels = np.asarray(load_image(png(samples, bits, key)))
    assert (pixels[:, 8:] == 255).all() and (pixels[:, :8] == 0).all()


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_whose_range_nobody_tells_are_refused(mode: str) -> None:
    with pytest.raises(ImageError, match=rf"has pixels of 32 bits \(mode {mode}\)"):
        load_image(Image.new(mode, (16, 16)))


def test_a_png_without_the_palette_its_pixels_point_to_is_refused() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 3, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(10) * 9)) + chunk(b"IEND", b"")
    palette = chunk(b"PLTE", b"\xff\0\0")
    assert load_image(b"\x89PNG\r\n\x1a\n" + header + palette + data).getpixel((0, 0)) == RED
    for other in (b"", chunk(b"PLTE", b"")):
        with pytest.raises(ImageError):
            load_image(b"\x89PNG\r\n\x1a\n" + header + other + data)


def test_a_png_of_a_million_chunks_is_refused_before_pillow_walks_it() -> None:
    data = red_png(10, 10, 10)
    with pytest.raises(ImageError, match="more than 100000 chunks"):
        load_image(data[:33] + chunk(b"tEXt", b"k\0v") * 1_000_000 + data[33:])
