"""Turning a published set into a pair set: sides shuffled, images copied under neutral names, everything counted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from earshot.data.public import Importer, find_importer
from earshot.data.writer import Counts, PairSetWriter
from earshot.errors import DataError, ImageError
from earshot.images import Tolerance
from earshot.types import Pair, other


class Imported(NamedTuple):
    """What came of an import."""

    counts: Counts
    refused: int
    """Bad entries and pairs that were tolerated."""
    missing: int
    """Pairs left out because an image of theirs is not there."""
    listed_first_preferred: int
    """Strict pairs whose better image is the one the publisher lists first."""
    label_against_votes: int
    """Pairs whose label names the side that fewer of the votes are for."""
    by_rule: Mapping[str, int]
    """What the importer counted by its own rules, such as rows without a label that it left out."""


def import_set(
    name: str,
    source: Path,
    out: Path,
    *,
    seed: int = 0,
    split: str | None = None,
    images: bool = True,
    skip_missing: bool = False,
    tolerate: int = 0,
    revision: str | None = None,
    on_error: Callable[[DataError], None] | None = None,
    on_pair: Callable[[int], None] | None = None,
) -> Imported:
    """Writes a published set as a pair set.

    Args:
        name: One of `public.IMPORTERS`.
        source: Where it lies, laid out as its importer says.
        out: A new or an empty folder.
        split: Which part of the set, where the source holds several; `all` for all of the splits of parquet shards.
        seed: Decides, with a pair's id alone, which of its images is first; recorded in `dataset.json`.
        images: Off, the pair set is made of prompts and votes alone.
        skip_missing: Leave out pairs of which an image is missing, however many.
        tolerate: How many bad entries or pairs to leave out otherwise.
        revision: The publisher's version, for the record.
        on_error: Told of every bad entry or pair.
        on_pair: Told after each pair how many have been written.

    Raises:
        InputError: The name is unknown, the source is not there, or `out` holds something.
        DataError: More is bad or missing than was to be tolerated. Nothing is kept then.
    """
    importer = find_importer(name)
    tolerance = Tolerance(tolerate, on_error)
    published = importer.read(source, tolerance, split=split, images=images)
    if images and not skip_missing and not published.embedded:
        # Counted beforehand, so that the message can say how many, and nothing is copied in vain.
        _refuse_missing(importer.read(source, Tolerance(tolerate), split=split).pairs, tolerate)
    missing = listed_first = against = 0
    with PairSetWriter(out, store_images=images) as writer:
        for pair in published.pairs:
            if images and skip_missing and _missing_images(pair):
                missing += 1
                continue
            with tolerance.item():
                writer.add(shuffle_sides(pair, seed))
                listed_first += pair.votes.majority == "first"
                against += pair.label in ("first", "second") and pair.votes.majority == other(pair.label)
                if on_pair is not None:
                    on_pair(writer.counts.pairs)
        by_rule = dict(published.by_rule)
        imported = Imported(writer.counts, tolerance.refused, missing, listed_first, against, by_rule)
        writer.info.update(_describe(importer, published.files, split, seed, revision, imported))
    return imported


def shuffle_sides(pair: Pair, seed: int) -> Pair:
    """The pair as it is or with its images swapped, by one bit of a hash of seed and id.

    A hash and not a running generator, so that a pair has the same sides whatever is left out before it.
    """
    digest = hashlib.blake2b(f"{seed}:{pair.id}".encode(), digest_size=1).digest()
    return pair.swapped() if digest[0] & 1 else pair


def _missing_images(pair: Pair) -> list[Path]:
    return [image for image in (pair.first, pair.second) if isinstance(image, Path) and not image.exists()]


def _refuse_missing(pairs: Iterable[Pair], tolerate: int) -> None:
    total, missing, example = 0, 0, ""
    for pair in pairs:
        total += 1
        if paths := _missing_images(pair):
            missing += 1
            example = example or f"pair {pair.id!r}: {paths[0]}"
    if missing > tolerate:
        raise ImageError(
            f"{example} is missing, and so are images of {missing} of {total} pairs; put them there, "
            "or use --skip-missing (leave such pairs out) or --no-images (annotations alone)"
        )


def _describe(
    importer: Importer, files: tuple[Path, ...], split: str | None, seed: int, revision: str | None, imported: Imported
) -> dict[str, object]:
    strict = imported.counts.strict
    return {
        "name": importer.name,
        "title": importer.title,
        "origin": importer.origin,
        "licence": importer.licence,
        "revision": revision,
        "split": split,
        **_describe_files(files),
        "shuffle_seed": seed,
        "shuffle": "sides swapped where the first byte of BLAKE2b-8('seed:id') is odd",
        "published_first_preferred": imported.listed_first_preferred / strict if strict else None,
        "label_against_votes": imported.label_against_votes,
        "left_out": {"refused": imported.refused, "missing_images": imported.missing},
        "counted_by_rule": dict(imported.by_rule),
    }


def _describe_files(files: tuple[Path, ...]) -> dict[str, object]:
    """The annotations by their hash; shards, which may be too large to read twice, by the hash of their footers."""
    if files[0].suffix != ".parquet":
        with files[0].open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"annotations": {"file": files[0].name, "sha256": digest}}
    return {"shards": [_describe_shard(file) for file in files]}


def _describe_shard(shard: Path) -> dict[str, object]:
    size = shard.stat().st_size
    with shard.open("rb") as file:
        file.seek(-8, os.SEEK_END)  # its length and the magic number end a parquet file
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, os.SEEK_END)
        digest = hashlib.sha256(file.read(length)).hexdigest()
    return {"file": shard.name, "bytes": size, "footer_sha256": digest}
