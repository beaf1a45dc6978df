"""What people said of the pairs of a set, and what the set says of them: people.jsonl of a run directory.

It is written anew from the set whenever a set is evaluated, so that a vote that was put right counts at once, and a row
of predictions whose prompt or pictures are no longer the set's is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from earshot.errors import ImageError
from earshot.images import NO_IMAGE, read_header
from earshot.types import ImageSource, Pair

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
