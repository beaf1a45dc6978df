"""Parquet shards as the hub ships them: `data/test-00000-of-00003.parquet`, nested or alone, images embedded.

Rows are read a few at a time, and only the columns that an importer asks for. The memory needed is that of the largest
row group, whatever the number of them: a page is decoded whole, and writers put up to 1,024 images into one (measured
with PyArrow 26). The hub's are of a hundred to a thousand rows. Every shard's columns are checked before the first row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import pyarrow.parquet as pq

from earshot.data.public import Published
from earshot.data.public.annotations import Row, absent, locate, pairs_of_rows
from earshot.data.row_files import open_parquet, parquet_rows
from earshot.errors import DataError, ImageError, InputError, short
from earshot.images import NO_IMAGE, ImageFolder, Tolerance
from earshot.types import ImageSource, Pair

ALL = "all"
"""The split that stands for every split of a folder."""

_SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{3,})-of-(?P<of>\d{3,})(-[0-9a-f]+)?")


class Shard(NamedTuple):
    """One parquet file of a set."""

    file: Path
    split: str | None
    key: str
    """Split and number: what the ids of its rows begin with, wherever the file lies."""
    of: int | None
    """How many shards its split was published in; None where its name does not say."""


class Layout(NamedTuple):
    """The columns of a set's shards."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    """Embedded ones, which are required where images are wanted, and otherwise never read."""
    hints: Mapping[str, str] = MappingProxyType({})
    """What it means that one of these columns is there and a required one is not."""


Images: TypeAlias = Callable[[str], ImageSource]
"""Gives the image in a column of a row."""


def read_shards(
    source: Path,
    tolerance: Tolerance,
    layout: Layout,
    make: Callable[[Row, Images], Iterable[Pair]],
    *,
    split: str | None,
    images: bool,
    by_rule: Counter[str] | None = None,
) -> Published:
    """Opens the shards of one split; see `Published`.

    Args:
        source: A folder or a parquet file.
        tolerance: What bad rows go to.
        layout: The columns.
        make: The pairs of a row.
        split: Which split, as `find_shards` takes it.
        images: Off, no image is read.
        by_rule: What `make` counts of the rows that it leaves out.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, or a column is missing.
    """
    shards, by_rule = find_shards(source, split), Counter() if by_rule is None else by_rule
    present = column_names(shards, layout.required, layout.hints)
    if images:
        bare = {layout.required[0]: "if this is the set without images, add --no-images"}
        column_names(shards, layout.images, {**layout.hints, **bare})
    if missing := shards_absent(shards):
        by_rule["shards_absent"] = missing
    folder = ImageFolder(source if source.is_dir() else source.parent)
    columns = [*layout.required, *(column for column in layout.optional if column in present)]
    rows = read_rows(shards, columns, layout.images, images)
    pairs = pairs_of_rows(
        rows, tolerance, lambda row: make(row, lambda column: embedded_image(row, column, folder, images))
    )
    return Published(tuple(shard.file for shard in shards), pairs, embedded=bool(layout.images), by_rule=by_rule)


def find_shards(source: Path, split: str | None = None, *, suffixes: Sequence[str] = (".parquet",)) -> list[Shard]:
    """The shards of one split in a folder or anywhere below it, in their order; or the one file given.

    Args:
        source: A folder or a parquet file.
        split: Which split; `all` for all of them. None will do where there is but one.
        suffixes: What shards end in.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There is no shard, there are several splits and none was chosen, or two shards of one number.
    """
    if not source.exists():
        raise InputError(f"{source}: is no file or folder; expected a published set, check the path")
    files = [source] if source.is_file() else _files(source, suffixes)
    if not files:
        raise DataError(
            f"{source}: holds no *{' or *'.join(suffixes)}, nor does a folder in it; give the folder of the shards"
        )
    shards = sorted((_shard(file) for file in files), key=lambda shard: (shard.split or "", shard.key, shard.file))
    splits = sorted({shard.split or "" for shard in shards})
    if split is None and len(splits) > 1:
        names = ", ".join(name or "unnamed" for name in splits)
        raise DataError(f"{source}: holds several splits ({names}); choose with --split NAME, or --split {ALL}")
    if split not in (None, ALL):
        if split not in splits:
            raise InputError(f"{source}: holds no split {split!r}; choose from {', '.join(filter(None, splits))}")
        shards = [shard for shard in shards if shard.split == split]
    _refuse_twins(shards)
    return shards


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    files = [file for suffix in suffixes for file in folder.rglob(f"*{suffix}")]
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _shard(file: Path) -> Shard:
    if match := _SHARD.fullmatch(file.stem):
        return Shard(file, match["split"], f"{match['split']}-{match['number']}", int(match["of"]))
    if file.stem.isdigit():  # the hub's own conversion: default/train/0000.parquet
        return Shard(file, file.parent.name, f"{file.parent.name}-{file.stem}", None)
    split = re.fullmatch(r"(train|validation|test)\w*", file.stem)
    return Shard(file, split and split[0], file.stem, None)


def _refuse_twins(shards: Sequence[Shard]) -> None:
    seen: dict[str, Path] = {}
    for shard in shards:
        if shard.key in seen:
            raise DataError(f"{shard.file}: is shard {shard.key} as {seen[shard.key]} is; move one of them away")
        seen[shard.key] = shard.file


def shards_absent(shards: Sequence[Shard]) -> int:
    """How many shards, by the names of those that are there, are not."""
    published = {shard.split: shard.of for shard in shards if shard.of is not None}
    present = Counter(shard.split for shard in shards if shard.of is not None)
    return sum(max(of - present[split], 0) for split, of in published.items())


def column_names(shards: Sequence[Shard], required: Sequence[str], hints: Mapping[str, str]) -> set[str]:
    """The columns that every shard has, the required ones among them; nothing but the files' footers is read.

    Args:
        shards: At least one.
        required: What there must be.
        hints: What it means that one of these columns is there instead.

    Raises:
        DataError: A file is no parquet file, or lacks a required column.
    """
    common: set[str] | None = None
    for shard in shards:
        with open_shard(shard.file) as file:
            present = set(file.schema_arrow.names)
        if missing := [name for name in required if name not in present]:
            raise absent(missing, present, str(shard.file), hints)
        common = present if common is None else common & present
    return common or set()


def open_shard(file: Path) -> AbstractContextManager[pq.ParquetFile]:
    """Opens a shard for reading in a stream.

    Raises:
        DataError: It is no complete parquet file, or damaged further in.
    """
    return open_parquet(file, "get it again, 'git lfs pull' if it is a pointer")


def read_rows(
    shards: Sequence[Shard], columns: Sequence[str], image_columns: Sequence[str], images: bool
) -> Iterator[Row]:
    """Each row of each shard, with only these columns; without images, their columns are never read.

    Raises:
        DataError: A file is damaged further in.
    """
    wanted = [*columns, *image_columns] if images else list(columns)
    for shard in shards:
        with open_shard(shard.file) as file:
            for number, values in enumerate(parquet_rows(file, wanted, name=shard.file), start=1):
                yield Row(f"{shard.file.name} row {number}", f"{shard.key}-{number}", values, shard.split)


def embedded_image(row: Row, column: str, folder: ImageFolder, images: bool) -> ImageSource:
    """The image in a column: its bytes as they are, or in the hub's struct of bytes and path, or the path in that.

    Raises:
        ImageError: There is nothing, or a path that leaves the folder.
    """
    if not images:
        return NO_IMAGE
    value: Any = row.values[column]
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (value, None)
    if isinstance(data, bytes) and data:
        return data
    if data is None and isinstance(path, str) and path:
        return locate(folder, path, f"{row.place}, {column}")
    raise ImageError(
        f"{row.place}: {column} is {short(value)}, expected an image's bytes or the path of one; "
        "get the shard again or tolerate the row"
    )
