"""The published sets Earshot can import; the only place that knows their formats.

To add one: a module in this package with `read(source, tolerance, *, split, images) -> Published`, and one entry in
`catalogue`. The table imports none of them, so that the command line can list it at no cost.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from earshot.data.public.catalogue import ENTRIES
from earshot.errors import InputError

if TYPE_CHECKING:
    from earshot.images import Tolerance
    from earshot.types import Pair


@dataclass(frozen=True, slots=True)
class Published:
    """A published set as it lies on the disk."""

    files: tuple[Path, ...]
    """The files that say what people preferred: one of annotations, or parquet shards."""
    pairs: Iterable[Pair]
    """Sides in the published order, not yet shuffled; an image is its bytes, or a path that need not exist."""
    embedded: bool = False
    """Whether images stand in the files themselves, which may be hundreds of gigabytes and are read through once."""
    by_rule: Counter[str] = field(default_factory=Counter)
    """What the importer counts while it reads, such as the rows it leaves out by the publisher's own rule."""


@dataclass(frozen=True, slots=True)
class Importer:
    """A published set: what it is, where it is from, how large it is, and how its folder is laid out."""

    name: str
    title: str
    origin: str
    licence: str
    size: str
    """Pairs and bytes, as far as they are known to us."""
    layout: str
    command: str
    """One that works, from a folder into which the hub's command line downloaded the set."""
    reader: str
    """`module:function` in this package."""

    def read(self, source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
        """Opens the set; a bad entry goes to the tolerance, not to the pairs."""
        module, _, function = self.reader.partition(":")
        opens = getattr(importlib.import_module(f"{__name__}.{module}"), function)
        published: Published = opens(source, tolerance, split=split, images=images)
        return published


IMPORTERS: Mapping[str, Importer] = MappingProxyType({entry["name"]: Importer(**entry) for entry in ENTRIES})


def find_importer(name: str) -> Importer:
    """The importer of that name.

    Raises:
        InputError: There is none.
    """
    if name not in IMPORTERS:
        raise InputError(f"no published set is called {name!r}; expected one of {', '.join(IMPORTERS)}")
    return IMPORTERS[name]
