"""The published sets Earshot can import; the only place that knows their formats.

To add one: a module in this package with `read(source, tolerance) -> Published`, and one entry below. The table itself
imports none of them, so that the command line can list it at no cost.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from earshot.errors import InputError

if TYPE_CHECKING:
    from earshot.images import Tolerance
    from earshot.types import Pair


class Published(NamedTuple):
    """A published set as it lies on the disk."""

    annotations: Path
    """The file that says what people preferred."""
    pairs: Iterable[Pair]
    """Sides in the published order, not yet shuffled; images as paths in the source folder, which need not exist."""


@dataclass(frozen=True, slots=True)
class Importer:
    """A published set: what it is, where it is from, and how its folder is laid out."""

    name: str
    title: str
    origin: str
    licence: str
    layout: str
    module: str

    @property
    def read(self) -> Callable[[Path, Tolerance], Published]:
        """`read(source, tolerance)`: opens the annotations; a bad entry goes to the tolerance, not to the pairs."""
        read: Callable[[Path, Tolerance], Published] = importlib.import_module(self.module).read
        return read


IMPORTERS: Mapping[str, Importer] = MappingProxyType(
    {
        importer.name: importer
        for importer in (
            Importer(
                name="imagereward",
                title="ImageReward: rankings of 4 to 9 images of one prompt by a person",
                origin="https://huggingface.co/datasets/THUDM/ImageRewardDB (test.json: github.com/THUDM/ImageReward)",
                licence="Apache-2.0",
                layout="a folder with one JSON list of {id, prompt, generations, ranking} and the images at the paths "
                "under `generations`, relative to it, zip files unpacked; or that JSON file",
                module="earshot.data.public.imagereward",
            ),
            Importer(
                name="mjbench",
                title="MJ-Bench, image quality: a generated image against a degraded copy of it",
                origin="https://huggingface.co/datasets/MJ-Bench/MJ-Bench",
                licence="MIT",
                layout="the folder of one subset: captions_*.json beside the examples* folder of images",
                module="earshot.data.public.mjbench",
            ),
        )
    }
)


def find_importer(name: str) -> Importer:
    """The importer of that name.

    Raises:
        InputError: There is none.
    """
    if name not in IMPORTERS:
        raise InputError(f"no published set is called {name!r}; expected one of {', '.join(IMPORTERS)}")
    return IMPORTERS[name]
