"""The version is one: the package's, the newest dated section's of the changelog, and the citation's."""

import re
from pathlib import Path

import earshot

ROOT = Path(__file__).resolve().parents[1]


def test_package_changelog_and_citation_name_one_version_and_date() -> None:
    heading = re.search(r"^## (\d+\.\d+\.\d+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert heading is not None and heading[1] == earshot.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {heading[1]}\n" in citation and f'\ndate-released: "{heading[2]}"\n' in citation
