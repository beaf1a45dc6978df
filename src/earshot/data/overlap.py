"""What a training set and a test set share: the same image file, nearly the same picture, the same prompt.

Three keys of 64 bits each, so that a set of a million pairs takes some tens of megabytes: of an image's bytes (SHA-256,
its first 64 bits), of what it looks like (a perceptual hash), of its prompt as normalised. Pictures are near when at
most `distance` bits of their perceptual hashes differ; they are found without comparing every two (`near_pairs`).

Axes: n hashes of the test set, m of the training set, k matches, i images.
"""

import hashlib
import os
import unicodedata
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int, UInt64

from earshot.data.looks import near_pairs, perceptual_hash
from earshot.data.pairset import read_pairs
from earshot.errors import DataError
from earshot.files import read_jsonl, write_jsonl
from earshot.images import load_image, read_file
from earshot.types import hash_of

Kind = Literal["image", "near", "prompt"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DISTANCE = 6
"""Bits of 64 that may differ; benchmarks/README.md has what each distance finds and takes by mistake."""

MOST_MATCHES = 5
"""Of one kind and image, that are listed of a pair; all are counted."""

_SIDES = ("first", "second", "original")


@dataclass(frozen=True)
class Fingerprints:
    """A set's images and prompts as 64-bit keys."""

    ids: Sequence[str]
    image: Int[np.ndarray, "three p"]
    """The number of each pair's first and second image and of its original, below; -1 where the pair has none."""
    sha256: UInt64[np.ndarray, " i"]
    looks: UInt64[np.ndarray, " i"]
    prompt: UInt64[np.ndarray, " p"]


class Match(NamedTuple):
    """Something a test pair shares with a training pair."""

    kind: Kind
    train_id: str
    side: str | None
    """Of the test pair's image; None of a prompt."""
    train_side: str | None
    distance: int
    """Bits that differ; 0 where bytes or prompts are the same."""


class Overlap(NamedTuple):
    """A test pair that shares something with the training set."""

    id: str
    kinds: tuple[Kind, ...]
    n_matches: int
    matches: tuple[Match, ...]
    """The first few of each kind."""

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON Lines file."""
        return {**self._asdict(), "matches": [m._asdict() for m in self.matches]}


def normalised_prompt(prompt: str) -> str:
    """A prompt without what does not change what is asked for: case, width of letters, spaces, punctuation.

    NFKC, then case folded, punctuation to spaces, spaces joined. A prompt of punctuation alone keeps it.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", prompt).casefold())
    words = "".join(" " if unicodedata.category(c).startswith("P") else c for c in folded).split()
    return " ".join(words) if words else " ".join(folded.split())


def fingerprint(
    folder: Path,
    *,
    kinds: Sequence[Kind] = KINDS,
    workers: int | None = None,
    roots: Sequence[Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Fingerprints:
    """The keys of a pair set; every image is read once, however many pairs it is in.

    Args:
        folder: The pair set; without images it has prompts only.
        kinds: What will be compared: pictures are decoded for `near`, files read for `image`.
        workers: Threads that decode; None is one a processor.
        roots: Further folders in which images may lie.
        progress: Called with the number of images done and that of all.

    Raises:
        InputError: There is no such folder.
        DataError: It holds no pair set, or an image is refused.
    """
    ids: list[str] = []
    prompts, sides = array("Q"), [array("q") for _ in _SIDES]
    numbers: dict[Path, int] = {}
    with_images = "image" in kinds or "near" in kinds
    for pair in read_pairs(folder, require_images=False, roots=roots):
        ids.append(pair.id)
        prompts.append(_first_64_bits(normalised_prompt(pair.prompt).encode("utf-8", "surrogatepass")))
        for numbers_of_side, source in zip(sides, (pair.first, pair.second, pair.original), strict=True):
            known = with_images and isinstance(source, Path)
            numbers_of_side.append(numbers.setdefault(source, len(numbers)) if known else -1)  # type: ignore[arg-type]
    sha256, looks = array("Q"), array("Q")
    for done, (digest, look) in enumerate(_keys_of_images(numbers, "near" in kinds, workers), start=1):
        sha256.append(digest)
        looks.append(look)
        if progress is not None:
            progress(done, len(numbers))
    return Fingerprints(
        ids=ids,
        image=np.array([np.array(side, dtype=np.int64) for side in sides]),
        sha256=np.array(sha256, dtype=np.uint64),
        looks=np.array(looks, dtype=np.uint64),
        prompt=np.array(prompts, dtype=np.uint64),
    )


def _keys_of_images(paths: Iterable[Path], looks: bool, workers: int | None) -> Iterator[tuple[int, int]]:
    def keys(path: Path) -> tuple[int, int]:
        data = read_file(path)
        look = perceptual_hash(load_image(data, where=str(path))) if looks else 0
        return _first_64_bits(data), look

    waiting = iter(paths)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        # In portions, because a pool takes all of its work at once and a million paths need not wait there.
        while portion := list(islice(waiting, 1024)):
            yield from pool.map(keys, portion)


def _first_64_bits(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def find_overlap(
    train: Fingerprints, test: Fingerprints, *, kinds: Sequence[Kind] = KINDS, distance: int = DISTANCE
) -> Iterator[Overlap]:
    """Yields the test pairs that share something with the training set, in their order.

    An image whose very bytes are in the training set is told as `image` and, of the same training image, not as
    `near` as well.

    Args:
        train: Of the training set.
        test: Of the test set.
        kinds: What to compare.
        distance: Bits in which the perceptual hashes of near pictures may differ, 0 to 15.

    Raises:
        InputError: The distance is outside its range.
    """
    pairs_of_train = _PairsOf(train)
    same = _Near(test.sha256, train.sha256, 0) if "image" in kinds else None
    near = _Near(test.looks, train.looks, distance) if "near" in kinds else None
    prompts = _Near(test.prompt, train.prompt, 0) if "prompt" in kinds else None
    for number, identity in enumerate(test.ids):
        counts: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        matches: list[Match] = []
        for side, image in zip(_SIDES, test.image[:, number].tolist(), strict=True):
            if same is not None and image >= 0:
                counts["image"] += pairs_of_train.match("image", side, same.of(image), matches)
            if near is not None and image >= 0:
                members, distances = near.of(image)
                others = train.sha256[members] != test.sha256[image]
                group = _Group(members[others], distances[others])
                counts["near"] += pairs_of_train.match("near", side, group, matches)
        if prompts is not None:
            asked = prompts.of(number).members
            counts["prompt"] = len(asked)
            matches += (Match("prompt", train.ids[i], None, None, 0) for i in asked[:MOST_MATCHES].tolist())
        if any(counts.values()):
            yield Overlap(identity, tuple(k for k in KINDS if counts[k]), sum(counts.values()), tuple(matches))


class _Group(NamedTuple):
    """The training set's numbers that match one key of the test set, the nearest first."""

    members: Int[np.ndarray, " k"]
    distances: Int[np.ndarray, " k"]


class _Near:
    """Keys that differ in few bits, looked up when asked for: a prompt that a million pairs share is no table of their
    products."""

    def __init__(self, test: UInt64[np.ndarray, " n"], train: UInt64[np.ndarray, " m"], distance: int) -> None:
        test_keys, self._key = np.unique(test, return_inverse=True)
        train_keys, train_key = np.unique(train, return_inverse=True)
        if distance > 0:
            one, two, bits = near_pairs(test_keys, train_keys, distance)
        else:
            _, one, two = np.intersect1d(test_keys, train_keys, assume_unique=True, return_indices=True)
            bits = np.zeros_like(one)
        order = np.lexsort((two, bits, one))
        self._one, self._two, self._bits = one[order], two[order], bits[order]
        self._numbers = np.argsort(train_key, kind="stable")
        self._starts = np.searchsorted(train_key[self._numbers], np.arange(len(train_keys) + 1))

    def of(self, number: int) -> _Group:
        low, high = np.searchsorted(self._one, [self._key[number], self._key[number] + 1])
        groups = [self._numbers[self._starts[key] : self._starts[key + 1]] for key in self._two[low:high]]
        members = np.concatenate([*groups, np.zeros(0, dtype=np.int64)])
        return _Group(members, np.repeat(self._bits[low:high], [len(group) for group in groups]))


class _PairsOf:
    """The training pairs that an image is in."""

    def __init__(self, train: Fingerprints) -> None:
        self._ids = train.ids
        images = train.image.ravel()
        self._order = np.argsort(images, kind="stable")
        self._images = images[self._order]

    def match(self, kind: Kind, side: str, group: _Group, matches: list[Match]) -> int:
        """Adds the first few to the list; returns how many there are in all."""
        low, high = (np.searchsorted(self._images, group.members, side=s) for s in ("left", "right"))
        left = MOST_MATCHES
        for a, b, distance in zip(low.tolist(), high.tolist(), group.distances.tolist(), strict=True):
            if left <= 0:
                break
            for place in self._order[a : min(b, a + left)].tolist():
                train_side, pair = divmod(place, len(self._ids))
                matches.append(Match(kind, self._ids[pair], side, _SIDES[train_side], distance))
            left -= b - a
        return int((high - low).sum())


def count_overlap(found: Iterable[Overlap], out: Path | None = None) -> dict[str, int]:
    """How many test pairs share something, `pairs`, and how many by each kind.

    Args:
        found: The pairs.
        out: Where to write them, a row each; a file that is there is replaced.
    """
    counts = dict.fromkeys(("pairs", *KINDS), 0)

    def rows() -> Iterator[dict[str, Any]]:
        for overlap in found:
            for name in ("pairs", *overlap.kinds):
                counts[name] += 1
            yield overlap.record()

    if out is None:
        deque(rows(), maxlen=0)
    else:
        write_jsonl(out, rows())
    return counts


def read_overlapping(path: Path) -> Int[np.ndarray, " n"]:
    """The test pairs that a list of `count_overlap` names, as hashes of their ids (`types.hash_of`).

    Raises:
        InputError: There is no such file.
        DataError: A row has no id.
    """
    hashes = array("q")
    for number, row in enumerate(read_jsonl(path, allow_cut=False), start=1):
        if not isinstance(row.get("id"), str):
            raise DataError(f"{path}:{number}: id is {row.get('id')!r}, expected a pair's id; 'earshot data overlap' "
                            "writes such files")  # fmt: skip
        hashes.append(hash_of(row["id"]))
    return np.array(hashes, dtype=np.int64)
