"""Whether a release with a known hole (advisories.txt) is pinned or allowed: `python -m tests.advisories`, offline."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


class Hole(NamedTuple):
    """A hole of a package, which is closed from a release on."""

    package: str
    fixed: Version
    name: str


def lines(file: Path) -> Iterator[str]:
    """Without comments and blank lines."""
    texts = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return (text for text in texts if text)


def holes(file: Path) -> list[Hole]:
    """Of `advisories.txt`."""
    split = (line.split() for line in lines(file))
    return [Hole(canonicalize_name(package), Version(fixed), name) for package, fixed, name in split]


def ranges(pyproject: Path) -> list[Requirement]:
    """What the project and each of its extras ask for."""
    project = tomllib.loads(pyproject.read_text())["project"]
    return [
        Requirement(text)
        for one in (project["dependencies"], *project["optional-dependencies"].values())
        for text in one
    ]


def floor(requirement: Requirement) -> Version | None:
    """The lowest release that a range takes."""
    lowest = [Version(one.version) for one in requirement.specifier if one.operator in (">=", "==", "~=")]
    return max(lowest, default=None)


def faults(root: Path = ROOT) -> list[str]:
    """A line for each hole in what is pinned or allowed, and for each package of the list that is not pinned at all."""
    pins = {canonicalize_name(one.name): one for one in map(Requirement, lines(root / "constraints.txt"))}
    asked = ranges(root / "pyproject.toml")
    found = []
    for package, fixed, name in holes(root / "advisories.txt"):
        if package not in pins:
            found.append(f"advisories.txt: {package} is not in constraints.txt; take {name} out, or pin it")
        for file, told in (("constraints.txt", [pins[package]] if package in pins else []), ("pyproject.toml", asked)):
            for one in told:
                if canonicalize_name(one.name) == package and ((least := floor(one)) is None or least < fixed):
                    found.append(f"{file}: {one} takes releases with {name}, expected at least {fixed}")
    return found


if __name__ == "__main__":
    print(*(told := faults()), sep="\n", end="\n" if told else "")
    sys.exit(bool(told))
