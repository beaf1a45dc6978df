"""MJ-Bench, image quality: `captions_*.json`, a list of `{caption, image_0, image_1, label_0}`, beside `examples*/`.

`image_1` is a degraded copy of `image_0`, so that `label_0` is 1 throughout: a preference by construction, which
nobody was asked for. The copies are named for it (`human_0_edited_face.jpg`), which the pair set's names are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from earshot.data.public import Published
from earshot.data.public.annotations import find_file, read_list, text_field
from earshot.errors import DataError
from earshot.images import Tolerance, resolve_inside
from earshot.types import Pair, Votes


def read(source: Path, tolerance: Tolerance) -> Published:
    """Opens one subset; see `Published`.

    Raises:
        InputError: There is no such folder.
        DataError: It holds no captions file or several, or not one folder of images.
    """
    captions = find_file(Path(source), "captions_*.json")
    folders = sorted(folder for folder in captions.parent.glob("examples*") if folder.is_dir())
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise DataError(f"{captions.parent}: expected one examples* folder, found {names}; move the others away")
    images = folders[0] if folders else captions.parent
    return Published(captions, _pairs(captions, images, read_list(captions), tolerance))


def _pairs(captions: Path, images: Path, entries: list[Any], tolerance: Tolerance) -> Iterator[Pair]:
    subset = captions.stem.removeprefix("captions_")
    for number, entry in enumerate(entries):
        place = f"{captions.name}: entry {number}"
        try:
            pair = _pair(f"{subset}-{number:04d}", entry, images, place)
        except DataError as error:
            tolerance.refuse(error)
            continue
        yield pair


def _pair(identity: str, entry: Any, images: Path, place: str) -> Pair:
    prompt = text_field(entry, "caption", place)
    first, second = (
        resolve_inside(images, text_field(entry, name, place), where=place) for name in ("image_0", "image_1")
    )
    label = entry.get("label_0")
    if isinstance(label, bool) or label not in (0, 1):
        raise DataError(f"{place}: label_0 is {label!r}, expected 0 or 1; mend the entry or tolerate it")
    return Pair(identity, prompt, first, second, Votes(float(label), float(1 - label)), source="mjbench")
