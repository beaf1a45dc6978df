"""Turning a published set into a pair set: sides shuffled, images copied under neutral names, everything counted."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from earshot.data.public import Importer, find_importer
from earshot.data.writer import Counts, PairSetWriter, Tell
from earshot.errors import DataError, ImageError, InputError
from earshot.files import file_hash
from earshot.images import Tolerance
from earshot.types import Pair, hash_of, other

_TOLD_EVERY = 256


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
    drawn_from: int | None
    """Of how many pairs a sample was drawn; None where all were taken."""


class Sample(NamedTuple):
    """Which pairs of a set are imported where not all are to be: those with the smallest hashes of seed and id."""

    limit: int
    seed: int
    last: int
    """The largest hash that is taken."""
    of: int
    """Pairs of the set among which it chooses."""

    def takes(self, pair: Pair) -> bool:
        return _sample_hash(pair, self.seed) <= self.last

    def record(self) -> dict[str, object]:
        return {"limit": self.limit, "seed": self.seed, "of": self.of, "rule": "smallest BLAKE2b-64 of 'seed:id'"}


def import_set(
    name: str,
    source: Path,
    out: Path,
    *,
    seed: int = 0,
    split: str | None = None,
    limit: int | None = None,
    images: bool = True,
    skip_missing: bool = False,
    tolerate: int = 0,
    revision: str | None = None,
    on_error: Callable[[DataError], None] | None = None,
    on_pair: Callable[[str, int], None] | None = None,
    tell: Tell | None = None,
) -> Imported:
    """Writes a published set as a pair set; the memory needed does not grow with it, but for 8 bytes a pair.

    Args:
        name: One of `public.IMPORTERS`.
        source: Where it lies, laid out as its importer says.
        out: A new or an empty folder, or one with a set that was never finished.
        split: Which part of the set, where the source holds several; `all` for all of the splits of parquet shards.
        limit: How many pairs at most: a sample, drawn by the seed and the pairs' ids alone, so that the sample of
            another limit holds this one or is held by it. Pairs that are bad in themselves or lack an image that may be
            missing are not drawn.
        seed: Decides, with a pair's id alone, which of its images is first; recorded in `dataset.json`.
        images: Off, the pair set is made of prompts and votes alone.
        skip_missing: Leave out pairs of which an image is missing, however many.
        tolerate: How many bad entries or pairs to leave out otherwise.
        revision: The publisher's version, for the record.
        on_error: Told of every bad entry or pair.
        on_pair: Told now and then what is being done, and with how many pairs it has been.
        tell: Hears when a set that was never finished is removed.

    Raises:
        InputError: The name is unknown, the source is not there, or `out` holds something else.
        DataError: More is bad or missing than was to be tolerated. Nothing is kept then.
    """
    importer = find_importer(name)
    tolerance = Tolerance(tolerate, on_error)
    published = importer.read(source, tolerance, split=split, images=images)
    writer = PairSetWriter(out, store_images=images, tell=tell)  # refuses a folder in use before anything is read

    def read_once_more(what: str) -> Iterator[Pair]:
        with_images = images and not published.embedded
        pairs = importer.read(source, Tolerance(tolerate), split=split, images=with_images).pairs
        return _counted((p for p in pairs if not (skip_missing and _missing_images(p))), what, on_pair)

    sample = None if limit is None else _draw_sample(read_once_more("drawing"), limit, seed)
    if images and not skip_missing and not published.embedded:
        # Counted beforehand, so that the message can say how many, and nothing is copied in vain.
        _refuse_missing(read_once_more("looking for images"), sample, tolerate)
    missing = listed_first = against = 0
    with writer:
        for pair in _counted(published.pairs, "importing", on_pair):
            if images and skip_missing and _missing_images(pair):
                missing += 1
                continue
            if sample is not None and not sample.takes(pair):
                continue
            with tolerance.item():
                writer.add(shuffle_sides(pair, seed))
                listed_first += pair.votes.majority == "first"
                against += pair.label in ("first", "second") and pair.votes.majority == other(pair.label)
        by_rule = dict(published.by_rule)
        drawn_from = None if sample is None else sample.of
        imported = Imported(writer.counts, tolerance.refused, missing, listed_first, against, by_rule, drawn_from)
        writer.info.update(_describe(importer, published.files, split, seed, revision, imported))
        if sample is not None:
            writer.info["sample"] = sample.record()
    return imported


def shuffle_sides(pair: Pair, seed: int) -> Pair:
    """The pair as it is or with its images swapped, by one bit of a hash of seed and id.

    A hash and not a running generator, so that a pair has the same sides whatever is left out before it.
    """
    digest = hashlib.blake2b(f"{seed}:{pair.id}".encode(), digest_size=1).digest()
    return pair.swapped() if digest[0] & 1 else pair


def _sample_hash(pair: Pair, seed: int) -> int:
    return hash_of(f"{seed}:{pair.id}")


def _draw_sample(pairs: Iterable[Pair], limit: int, seed: int) -> Sample:
    if limit < 1:
        raise InputError(f"limit is {limit}, expected at least 1 pair")
    hashes = np.frombuffer(array("q", (_sample_hash(pair, seed) for pair in pairs)), dtype=np.int64)
    last = np.partition(hashes, limit - 1)[limit - 1] if limit < hashes.size else np.iinfo(np.int64).max
    return Sample(limit, seed, int(last), hashes.size)


def _counted(pairs: Iterable[Pair], what: str, on_pair: Callable[[str, int], None] | None) -> Iterator[Pair]:
    number = 0
    for number, pair in enumerate(pairs, start=1):
        yield pair
        if on_pair is not None and number % _TOLD_EVERY == 0:
            on_pair(what, number)
    if on_pair is not None:
        on_pair(what, number)


def _missing_images(pair: Pair) -> list[Path]:
    return [image for image in pair.images if isinstance(image, Path) and not image.exists()]


def _refuse_missing(pairs: Iterable[Pair], sample: Sample | None, tolerate: int) -> None:
    total, missing, example = 0, 0, ""
    for pair in pairs:
        if sample is not None and not sample.takes(pair):
            continue
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
        return {"annotations": {"file": files[0].name, "sha256": file_hash(files[0])}}
    return {"shards": [_describe_shard(file) for file in files]}


def _describe_shard(shard: Path) -> dict[str, object]:
    size = shard.stat().st_size
    with shard.open("rb") as file:
        file.seek(-8, os.SEEK_END)  # its length and the magic number end a parquet file
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, os.SEEK_END)
        digest = hashlib.sha256(file.read(length)).hexdigest()
    return {"file": shard.name, "bytes": size, "footer_sha256": digest}
