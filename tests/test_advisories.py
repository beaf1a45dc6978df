"""No release with a known hole is pinned or allowed, and the check says so where one is."""

import re
import shutil
from pathlib import Path

import pytest

from tests.advisories import ROOT, faults, holes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("advisories.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_nothing_with_a_known_hole_is_pinned_or_allowed() -> None:
    assert faults() == []
    assert len(holes(ROOT / "advisories.txt")) > 20


@pytest.mark.parametrize(
    ("file", "text", "other", "line"),
    [
        ("constraints.txt", r"starlette==.*", "starlette==1.3.0", "starlette==1.3.0 takes releases with CVE-2026"),
        ("pyproject.toml", r'"starlette>=.*"', '"starlette>=0.46"', "starlette>=0.46 takes releases with CVE-2025"),
        ("pyproject.toml", r'"pillow>=.*"', '"pillow"', "pillow takes releases with CVE-2026-25990"),
        ("pyproject.toml", r'"pillow>=.*"', '"Pillow>=12,<13"', "Pillow<13,>=12 takes releases with"),
        ("pyproject.toml", r'"ray\[data\]>=.*"', '"ray[data]>=2.54"', "takes releases with CVE-2026-41486"),
        ("constraints.txt", r"torch==.*", "", "torch is not in constraints.txt"),
        ("advisories.txt", r"\Z", "numpy 99.0 CVE-1-2\n", "constraints.txt: numpy==2.4.6 takes releases with CVE-1-2"),
    ],
)  # fmt: skip
def test_an_old_pin_and_a_low_floor_are_told(root: Path, file: str, text: str, other: str, line: str) -> None:
    before = (root / file).read_text()
    (root / file).write_text(re.sub(text, other, before, count=1))
    assert (root / file).read_text() != before
    assert any(line in told for told in faults(root)), faults(root)
