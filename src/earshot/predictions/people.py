"""What people said of the pairs of a set, and what the set says of them: people.jsonl of a run directory.

It is written anew from the set whenever a set is evaluated, so that a vote that was put right counts at once, and a row
of predictions whose prompt or pictures are no longer the set's is refused.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from earshot.errors import DataError, ImageError
from earshot.files import parse_jsonl_line
from earshot.images import read_file, read_header
from earshot.types import Pair, Side, hash_of

DESCRIPTION = ("label", "axis", "category", "model_first", "model_second")
"""What a row repeats of its pair where the set says it: what metrics are told by."""
_NOT_JUDGED = {"p_first": None, "p_first_forward": None, "p_first_swapped": None, "samples": ()}


def people_row(pair: Pair) -> dict[str, Any]:
    """A row of people.jsonl, of a pair of a set, whose images are files."""
    assert isinstance(pair.first, Path) and isinstance(pair.second, Path)
    assert pair.original is None or isinstance(pair.original, Path)
    return set_row(pair) | {"content": content_of(pair.prompt, pair.first, pair.second, pair.original)}


def set_row(pair: Pair) -> dict[str, Any]:
    """What a set says of a pair; its images are files, or it has none."""
    sides = {side: image for side in get_args(Side) if isinstance(image := getattr(pair, side), Path)}
    return {
        "id": pair.id,
        "prompt_id": pair.cluster,
        "votes_first": pair.votes.first,
        "votes_second": pair.votes.second,
        **{f"{side}_bytes": file.stat().st_size for side, file in sides.items()},
        **{f"{side}_pixels": _pixels(file) for side, file in sides.items()},
        **{name: getattr(pair, name) for name in DESCRIPTION if getattr(pair, name) is not None},
    }


def unjudged_row(pair: Pair, measured: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """A row of a pair that no model has judged, for a table of what can be told without one.

    Args:
        pair: Of a set; its images are files, or it has none.
        measured: What is measured of each of its images (`measured.compared`).
    """
    return set_row(pair) | by_side(measured) | _NOT_JUDGED


def by_side(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The columns of what is measured of the first and the second picture; none of a pair without images."""
    sides = zip(get_args(Side), measured, strict=True) if measured else ()
    return {f"{side}_{name}": value for side, values in sides for name, value in values.items()}


def content_of(prompt: str, *images: Path | bytes | None) -> str:
    """Half of `sha256_of`: what a judgement keeps of its question."""
    return sha256_of(prompt, *images)[:32]


def sha256_of(prompt: str, *images: Path | bytes | None) -> str:
    """Hash of a prompt and of image files, or their bytes; a file that is no image by its size counts as empty.

    Args:
        prompt: Of the pair.
        images: The first, the second, and the original where there is one.
    """
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass"))
    for source in images:
        if source is None:
            continue
        digest.update(hashlib.sha256(source if isinstance(source, bytes) else _bytes_of(source)).digest() + b"\0")
    return digest.hexdigest()


def _bytes_of(path: Path) -> bytes:
    try:
        return read_file(path)
    except ImageError:
        return b""


def _pixels(path: Path) -> int | None:
    """Pixels of a picture, by its header alone; None where it is refused, as it will be where it is judged."""
    try:
        header = read_header(path)
    except ImageError:
        return None
    return header.width_px * header.height_px


class People:
    """The rows of a people.jsonl by their id. Where they lie is in memory, sixteen bytes a pair, and not the rows.

    Args:
        path: The file; where there is none, nobody is known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        hashes, offsets, at = [], [], 0
        # Mapped, so that many threads may read, also when another file takes the place of this one.
        self._bytes: bytes | mmap.mmap = b""
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                for number, line in enumerate(file, start=1):
                    row = parse_jsonl_line(line)
                    if isinstance(row, str) or "id" not in row:
                        raise DataError(f"{path}:{number}: is no row about a pair; give 'earshot eval' again")
                    hashes.append(hash_of(str(row["id"])))
                    offsets.append(at)
                    at += len(line)
        order = np.argsort(np.array(hashes, np.int64), kind="stable")
        self._hashes, self._offsets = np.array(hashes, np.int64)[order], np.array(offsets, np.int64)[order]

    def joined(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row of predictions with what people say of its pair.

        Rows of format 1 hold that themselves, as it was when they were judged.

        Raises:
            DataError: The set no longer has the pair, or has another prompt or other pictures for it.
        """
        if "votes_first" in row:
            return dict(row)
        told = self._row(str(row["id"]))
        if told is None:
            raise DataError(f"{self.path}: pair '{row['id']}' is missing, expected all pairs that were judged")
        if told["content"] != row.get("content"):
            raise DataError(
                f"pair '{row['id']}': has another prompt or other pictures than when it was judged; judge the set anew "
                "into another --out"
            )
        return {**told, **row}

    def _row(self, pair_id: str) -> dict[str, Any] | None:
        wanted = hash_of(pair_id)
        at = int(np.searchsorted(self._hashes, wanted))
        if at == len(self._hashes) or self._hashes[at] != wanted:
            return None
        start = int(self._offsets[at])
        row = parse_jsonl_line(self._bytes[start : self._bytes.find(b"\n", start)])
        return row if isinstance(row, dict) else None
