"""What a run depends on and what it made, by content: SHA-256 of files, and of the folders of models and pair sets."""

import hashlib
import json
from pathlib import Path
from typing import Any

import earshot.world
from earshot.data.rows import INFO
from earshot.files import file_hash

WORLD = "world:"


def value_hash(value: Any) -> str:
    """SHA-256 of a plain value, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def folder_of(source: str) -> Path | None:
    """The folder that a model or a pair set is named by, `world:NAME` included; None for a hub id."""
    if source.startswith(WORLD):
        return Path(earshot.world.__file__).parent / "weights" / source.removeprefix(WORLD)
    return Path(source) if Path(source).is_dir() else None


class Hashes:
    """Hashes of folders, each read once."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def of(self, source: str) -> str:
        """Of a folder its content, `sha256:…`; of a hub id the id, which is all that is known of it offline."""
        folder = folder_of(source)
        if folder is None:
            return source
        if folder not in self._known:
            self._known[folder] = f"sha256:{folder_hash(folder)}"
        return self._known[folder]

    def forget(self, folder: Path) -> None:
        """Read a folder anew, because it has changed, and those in it."""
        for known in [one for one in self._known if one == folder or folder in one.parents]:
            del self._known[known]


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's own files.

    A model is all there. A pair set's images lie deeper, but its metadata names each by a hash of its content; what
    only tells of its making (`dataset.json`) is left out.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != INFO and not file.name.startswith("."):
            digest.update(f"{file.name}\0{file_hash(file)}\n".encode())
    return digest.hexdigest()
