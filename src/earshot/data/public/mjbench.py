"""MJ-Bench, image quality: `captions_*.json`, a list of `{caption, image_0, image_1, label_0}`, beside `examples*/`.

`image_1` is a degraded copy of `image_0`, so that `label_0` is 1 throughout: a preference by construction, which
nobody was asked for. The copies are named for it (`human_0_edited_face.jpg`), which the pair set's names are not.
"""

from __future__ import annotations

from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import (
    Row,
    fields,
    find_file,
    locate,
    no_split,
    pairs_of_rows,
    read_list,
    text_field,
)
from earshot.errors import DataError
from earshot.images import ImageFolder, Tolerance
from earshot.types import Pair, Votes


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens one subset; see `Published`.

    Raises:
        InputError: There is no such folder, or a split was asked for.
        DataError: It holds no captions file or several, or not one folder of images.
    """
    no_split(split, "mjbench")
    captions = find_file(Path(source), "captions_*.json")
    folders = sorted(folder for folder in captions.parent.glob("examples*") if folder.is_dir())
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders)
        raise DataError(f"{captions.parent}: expected one examples* folder, found {names}; move the others away")
    folder = ImageFolder(folders[0] if folders else captions.parent)
    subset = captions.stem.removeprefix("captions_")
    rows = (
        Row(f"{captions.name}: entry {number}", f"{subset}-{number:04d}", entry)
        for number, entry in enumerate(read_list(captions))
    )
    return Published((captions,), pairs_of_rows(rows, tolerance, lambda row: [_pair(row, folder)]))


def _pair(row: Row, folder: ImageFolder) -> Pair:
    entry = fields(row, "caption", "image_0", "image_1", "label_0")
    prompt = text_field(entry, "caption", row.place)
    first, second = (locate(folder, entry[name], row.place) for name in ("image_0", "image_1"))
    label = entry["label_0"]
    if isinstance(label, bool) or label not in (0, 1):
        raise DataError(f"{row.place}: label_0 is {label!r}, expected 0 or 1; mend the entry or tolerate it")
    return Pair(row.key, prompt, first, second, Votes(float(label), float(1 - label)), source="mjbench")
