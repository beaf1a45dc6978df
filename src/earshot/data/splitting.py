"""Cutting a pair set into training, validation and test sets that share no prompt, or no picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from earshot.data.overlap import Fingerprints, fingerprint
from earshot.data.pairset import read_pairs
from earshot.data.rows import find_metadata, read_info
from earshot.data.writer import OF_THE_WHOLE, PairSetWriter, Tell, beside_of, copy_beside, is_made
from earshot.errors import InputError
from earshot.files import file_hash
from earshot.types import hash_of

By = Literal["prompt", "pair", "image"]
BY: tuple[By, ...] = get_args(By)

REST = "train"
"""The part that gets what the others do not."""


class Part(NamedTuple):
    """A set that was cut from another."""

    name: str
    pairs: int
    groups: int
    """Prompts, pairs, or groups of pairs that share pictures."""
    share: float
    """Of all pairs."""


def split_set(
    folder: Path,
    out: Path,
    sizes: Mapping[str, str],
    *,
    by: By = "prompt",
    seed: int = 0,
    tell: Tell | None = None,
    on_pair: Callable[[str, int], None] | None = None,
) -> list[Part]:
    """Writes the parts of a pair set as pair sets: `train`, and one for each size, folders of `out`.

    Pairs of one group are never parted: those of one prompt (case, spaces, punctuation and Unicode forms aside), or
    those that pictures of the same bytes connect. Groups go to the parts in an order of a hash of seed and group, each
    to the first whose number of pairs it brings nearer to what was asked. Pairs keep their ids, sides and votes, and
    take the part's name as their `split`; pictures are hard links where the disk can do that. Reference traces and
    ground truth go along.

    Args:
        folder: The pair set.
        out: A new or an empty folder, or one that a killed call of the same kind has left.
        sizes: Of each part but `train`: `5%` of the pairs, or their number.
        by: What the parts must not share.
        seed: Decides which groups go where.
        tell: Hears when a part is there already, or was never finished and is begun anew.
        on_pair: Told now and then what is being done, and with how many images or pairs it has been.

    Returns:
        The parts, `train` first.

    Raises:
        InputError: A size is none, a part would get no pair, or `out` holds something else.
        DataError: There is no sound pair set.
    """
    if not sizes:
        raise InputError(f"{folder}: is to be split into one part; give the size of another, such as --validation 5%")
    shares = {name: _share(name, size) for name, size in sizes.items()}
    info = read_info(folder)
    reading = None if on_pair is None else partial(on_pair, "reading images")
    prints = fingerprint(folder, kinds=("image",) if by == "image" else ("prompt",), progress=reading)
    keys = _keys(prints, by)
    part_of_pair, parts = _assign(keys, shares, by, seed, folder)
    record = {"of_metadata_sha256": file_hash(find_metadata(folder)), "by": by, "seed": seed, "sizes": dict(sizes)}
    inherited = {name: value for name, value in info.items() if name not in OF_THE_WHOLE}
    infos = [{**inherited, "split_off": {"part": part.name, **record}} for part in parts]
    beside = beside_of(folder)
    writers: dict[int, PairSetWriter] = {}
    for number, part in enumerate(parts):
        target = Path(out) / part.name
        if is_made(target, infos[number], part.pairs):
            if tell is not None:
                tell(f"{target}: is made already, by the same command, and stays as it is")
            continue
        with_images = info.get("images") is not False
        writers[number] = PairSetWriter(
            target, info=infos[number], store_images=with_images, verify=False, link=True, beside=beside, tell=tell
        )
    _write(Path(folder), writers, parts, part_of_pair, prints.ids, beside, on_pair)
    return parts


class _Share(NamedTuple):
    number: float
    percent: bool

    def pairs(self, n: int) -> int:
        return round(n * self.number / 100) if self.percent else int(self.number)


def _share(name: str, size: str) -> _Share:
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)%|(\d{1,12})", size.strip(), re.ASCII)
    share = _Share(float(match[1] or match[2]), match[1] is not None) if match else None
    if share is None or share.number <= 0 or (share.percent and share.number >= 100):
        raise InputError(f"{name} is {size!r}, expected a share such as 5% or a number of pairs such as 500")
    return share


def _keys(prints: Fingerprints, by: By) -> Int[np.ndarray, " p"]:
    """A number for each pair, the same for the pairs of a group, whatever their order in the set."""
    if by == "prompt":
        return prints.prompt.astype(np.int64)
    if by == "pair":
        return np.array([hash_of(identity) for identity in prints.ids], dtype=np.int64)
    if (prints.image[:2] < 0).any():
        raise InputError(
            "the set has no images, or not of all pairs, and cannot be split by them; expected --by prompt"
        )
    _, picture = np.unique(prints.sha256, return_inverse=True)
    first = picture[prints.image[0]]
    # A pair without an original is connected by its results alone.
    second, original = (picture[np.where(other < 0, prints.image[0], other)] for other in prints.image[1:])
    size = int(picture.max()) + 1
    ends = np.concatenate([first, first]), np.concatenate([second, original])
    edges = coo_array((np.ones(2 * first.size, dtype=bool), ends), shape=(size, size))
    _, group = connected_components(edges, directed=False)
    smallest = np.full(group.max() + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, group[picture], prints.sha256)
    return smallest[group[first]].astype(np.int64)


def _assign(
    keys: Int[np.ndarray, " p"], shares: Mapping[str, _Share], by: By, seed: int, folder: Path
) -> tuple[Int[np.ndarray, " p"], list[Part]]:
    """The number of each pair's part, and the parts; 0 is the rest."""
    groups, group_of_pair, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    part_of_group = np.zeros(groups.size, dtype=np.int64)
    order = np.argsort([hash_of(f"{seed}:{key}") for key in groups.tolist()], kind="stable").tolist()
    for number, share in enumerate(shares.values(), start=1):
        left = share.pairs(keys.size)
        for group in order:
            size = int(sizes[group])
            if part_of_group[group] == 0 and abs(left - size) < left:
                part_of_group[group] = number
                left -= size
            if left <= 0:
                break
    pairs = np.bincount(part_of_group, weights=sizes, minlength=len(shares) + 1).astype(int).tolist()
    n_groups = np.bincount(part_of_group, minlength=len(shares) + 1).tolist()
    parts = [Part(*row, row[1] / keys.size) for row in zip((REST, *shares), pairs, n_groups, strict=True)]
    for part in parts:
        if part.pairs == 0:
            what = {"prompt": "prompts", "pair": "pairs", "image": "groups that share pictures"}[by]
            raise InputError(
                f"{folder}: {part.name} would get no pair: there are {keys.size} pairs in {groups.size} {what}, the "
                f"largest with {sizes.max()}; ask for other sizes, or split by something else"
            )
    return part_of_group[group_of_pair], parts


def _write(
    folder: Path,
    writers: Mapping[int, PairSetWriter],
    parts: Sequence[Part],
    part_of_pair: Int[np.ndarray, " p"],
    ids: Sequence[str],
    beside: Sequence[str],
    on_pair: Callable[[str, int], None] | None,
) -> None:
    with ExitStack() as stack:
        for writer in writers.values():
            stack.enter_context(writer)
        numbers = part_of_pair.tolist()
        for done, (pair, number) in enumerate(zip(read_pairs(folder, require_images=False), numbers, strict=True), 1):
            if number in writers:
                writers[number].add(replace(pair, split=parts[number].name))
            if on_pair is not None and (done % 256 == 0 or done == len(numbers)):
                on_pair("splitting", done)
        part_of_id = dict(zip(ids, numbers, strict=True)) if beside else {}
        copy_beside(folder, beside, lambda identity: writers.get(part_of_id.get(identity, -1)))
