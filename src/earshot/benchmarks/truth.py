"""The truth that answers are compared with, as flat arrays: of a pair set, or of a publisher's own files.

An importer shuffles the sides of a pair set, so a row of it and the publisher's row may name the same image first and
second. Three things stay the same and are what answers are joined by: the pair's id; an image's name (in a pair set
it is made of the image's content, in published files it is the publisher's path); an image's place in the
publisher's list of a prompt's images.

Axes: p pairs.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from earshot.benchmarks.answers import Labelled, Origin
from earshot.benchmarks.joining import refuse_repeats
from earshot.data.public import find_importer
from earshot.data.rows import check_row, iter_rows
from earshot.errors import DataError, InputError
from earshot.images import Tolerance, read_file
from earshot.predictions.table import LABEL_CODES
from earshot.types import ImageSource, Side, Votes, hash_of

Key = Literal["id", "image", "prompt_image", "sha256", "place"]
"""What answers are joined by: a pair's id; an image's name, alone or with its prompt; the SHA-256 of its bytes; or its
place in its prompt's list."""

_EXAMPLES = 2
SHA256_DIGITS = 32
"""How many hexadecimal digits of an image's SHA-256 a pair set keeps in its name."""


@dataclass(frozen=True, kw_only=True)
class Truth(Labelled):
    """What people said, and by what the images of the pairs are known."""

    where: str
    """What to call it in messages."""
    first_key: Int[np.ndarray, " p"]
    """Hash of what the first image is known by; 0 where answers are joined by the pair's id."""
    second_key: Int[np.ndarray, " p"]
    known: tuple[str, ...]
    """What the images are known by (`known_as`), each once; where answers are joined by something else than images'
    names, a few examples of it."""


class TruthRow(NamedTuple):
    """What people said of one pair."""

    id: str
    cluster: str
    label: str | None
    majority: Side | None
    """The side with more votes; None where there is none."""
    origin: Origin | None
    names: tuple[str, str] = ("", "")
    """What its images are known by, unless answers are joined by the pair's id."""


def truth_of_pairset(folder: Path, *, key: Key = "id") -> Truth:
    """The truth of a pair set.

    Args:
        folder: The pair set; it need not have images unless they are what answers are joined by.
        key: What answers are joined by.

    Raises:
        InputError: There is no such folder.
        DataError: It holds no pair set, a bad row, or not what the join needs.
    """
    if key == "place":
        raise InputError(
            f"{folder}: a pair set does not keep the publisher's lists, by which these scores are ordered; give the "
            "publisher's file (--annotations) instead"
        )

    def rows() -> Iterator[TruthRow]:
        for number, row in enumerate(iter_rows(folder), start=1):
            check_row(row, f"{folder} row {number}", require_images=key != "id")
            names = (row.get("first_file_name") or "", row.get("second_file_name") or "")
            if key == "sha256":
                names = (_digits(names[0], folder), _digits(names[1], folder))
            votes = Votes(float(row["votes_first"]), float(row["votes_second"]))
            origin = Origin(row["source"], row.get("split")) if row.get("source") else None
            cluster = row.get("prompt_id") or row["prompt"]
            yield TruthRow(row["id"], cluster, row.get("label"), votes.majority, origin, names)

    return collect_truth(rows(), str(folder), key)


def truth_of_published(name: str, source: Path, *, key: Key = "id") -> Truth:
    """The truth of a publisher's own files, in the published sides and before any import.

    Args:
        name: Of the set, as `earshot data import` takes it.
        source: The publisher's file or folder.
        key: What answers are joined by.

    Raises:
        InputError: No importer has that name, or there is no such file.
        DataError: The files are not laid out as published.
    """
    # Joined by the pair's id, nobody asks for images, which may be hundreds of gigabytes inside the files.
    published = find_importer(name).read(Path(source), Tolerance(0), images=key != "id")
    root = source if source.is_dir() else source.parent
    places: dict[str, dict[str, int]] = {}

    def rows() -> Iterator[TruthRow]:
        for pair in published.pairs:
            names = (_name(pair.first, root, key), _name(pair.second, root, key))
            if key == "place":
                seen = places.setdefault(pair.cluster, {})
                names = (str(seen.setdefault(names[0], len(seen))), str(seen.setdefault(names[1], len(seen))))
            origin = Origin(pair.source, pair.split) if pair.source else None
            yield TruthRow(pair.id, pair.cluster, pair.label, pair.votes.majority, origin, names)

    return collect_truth(rows(), str(source), key)


def known_as(key: Key, name: str, prompt: str | None = None) -> str:
    """The text whose hash an image is found by: its name, behind that of its prompt where one belongs to it."""
    return name if prompt is None or key in ("image", "sha256") else f"{prompt}\0{name}"


def collect_truth(rows: Iterable[TruthRow], where: str, key: Key) -> Truth:
    """The rows as flat arrays.

    Raises:
        DataError: There are none, or a pair comes twice.
    """
    columns: dict[str, array[Any]] = {name: array("q") for name in ("id", "cluster", "first", "second")}
    columns |= {"label": array("b"), "majority": array("b")}
    prompts: dict[str, int] = {}
    known: dict[str, None] = {}
    origins: set[Origin | None] = set()
    for row in rows:
        texts = [row.id] if key == "id" else [known_as(key, name, row.cluster) for name in row.names]
        if key in ("image", "prompt_image") or len(known) < _EXAMPLES:
            known.update(dict.fromkeys(texts))
        origins.add(row.origin)
        keys = (0, 0) if key == "id" else map(hash_of, texts)
        values = (hash_of(row.id), prompts.setdefault(row.cluster, len(prompts)), *keys)
        values += (LABEL_CODES[row.label], LABEL_CODES[row.majority or "tie"])
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    if not columns["id"]:
        raise DataError(f"{where}: holds no pairs, expected at least one; check the path")
    dtypes = {"q": np.int64, "b": np.int8}
    a = {name: np.array(column, dtype=dtypes[column.typecode]) for name, column in columns.items()}
    refuse_repeats(a["id"], where)
    return Truth(
        where=where,
        origin=origins.pop() if len(origins) == 1 else None,
        known=tuple(known),
        pair_hash=a["id"],
        cluster=a["cluster"],
        n_clusters=len(prompts),
        label=a["label"],
        majority=a["majority"],
        first_key=a["first"],
        second_key=a["second"],
    )


def _digits(name: str, folder: Path) -> str:
    stem = Path(name).stem
    if len(stem) != SHA256_DIGITS or not set(stem) <= set("0123456789abcdef"):
        raise DataError(f"{folder}: image {name!r} is not named by its SHA-256, as an import names it; give scores by "
                        "`image`, the name in the set")  # fmt: skip
    return stem


def _name(image: ImageSource, root: Path, key: Key) -> str:
    """What a published image is known by: its path from the published folder, or its content."""
    if key == "id":
        return ""
    if isinstance(image, Path) and key != "sha256":
        return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.as_posix()
    if isinstance(image, Path):
        return sha256(read_file(image)).hexdigest()[:SHA256_DIGITS]
    if isinstance(image, bytes) and key in ("sha256", "place"):
        return sha256(image).hexdigest()[:SHA256_DIGITS]
    raise InputError(f"{root}: its images stand in the annotations themselves and have no names; tell scores by "
                     "`sha256`")  # fmt: skip
