"""What people said of the pairs of a set, and what the set says of them: people.jsonl of a run directory.

It is written anew from the set whenever a set is evaluated, so that a vote that was put right counts at once, and a row
of predictions whose prompt or pictures are no longer the set's is refused.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from earshot.errors import DataError, ImageError
from earshot.images import NO_IMAGE, read_header
from earshot.rundir import parse_jsonl_line
from earshot.types import ImageSource, Pair, hash_of

DESCRIPTION = ("label", "axis", "category", "model_first", "model_second")
"""What a row repeats of its pair where the set says it: what metrics are told by."""


def people_row(pair: Pair) -> dict[str, Any]:
    """A row of people.jsonl."""
    return {
        "id": pair.id,
        "prompt_id": pair.cluster,
        "votes_first": pair.votes.first,
        "votes_second": pair.votes.second,
        "first_bytes": _size(pair.first),
        "second_bytes": _size(pair.second),
        "first_pixels": _pixels(pair.first),
        "second_pixels": _pixels(pair.second),
        **{name: getattr(pair, name) for name in DESCRIPTION if getattr(pair, name) is not None},
        "content": content_of(pair.prompt, pair.first, pair.second),
    }


def content_of(prompt: str, first: ImageSource, second: ImageSource) -> str:
    """Hash of a prompt and two images as they are stored: of files their bytes, of decoded pictures their pixels."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass"))
    for source in (first, second):
        for piece in _pieces(source):
            digest.update(piece)
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _pieces(source: ImageSource) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield hashlib.sha256(source).digest()
    elif isinstance(source, Path):
        if source.exists():
            with source.open("rb") as file:
                yield hashlib.file_digest(file, "sha256").digest()
    else:
        yield f"{source.mode} {source.width} {source.height}\0".encode()
        yield hashlib.sha256(source.tobytes()).digest()


def _size(source: ImageSource) -> int | None:
    """Bytes of an image file; None for a decoded picture, which has no file."""
    if isinstance(source, bytes):
        return len(source)
    return source.stat().st_size if isinstance(source, Path) and source.exists() else None


def _pixels(source: ImageSource) -> int | None:
    """Pixels of a picture, of a file by its header alone; None where there is no picture."""
    if isinstance(source, bytes | Path):
        if source == NO_IMAGE or (isinstance(source, Path) and not source.exists()):
            return None
        try:
            header = read_header(source)
        except ImageError:  # it is refused where it is judged
            return None
        return header.width_px * header.height_px
    return source.width * source.height


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
