"""The table of published sets: every entry can be called as it says, and is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from earshot.data.public import IMPORTERS, Importer, find_importer
from earshot.errors import InputError
from earshot.images import Tolerance

DOCS = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text()


@pytest.mark.parametrize("importer", IMPORTERS.values(), ids=lambda importer: importer.name)
def test_every_set_is_documented_and_its_reader_exists(importer: Importer, tmp_path: Path) -> None:
    assert f"| `{importer.name}` |" in DOCS
    assert importer.command.split()[:4] == ["earshot", "data", "import", importer.name]
    with pytest.raises(InputError, match="nowhere: is no file or folder"):
        importer.read(tmp_path / "nowhere", Tolerance(), split=None, images=False)


def test_every_documented_command_names_a_set() -> None:
    commands = [line.split() for line in DOCS.splitlines() if line.startswith("    earshot data import")]
    assert len(commands) >= 10
    for words in commands:
        assert find_importer(words[3]).name == words[3]
