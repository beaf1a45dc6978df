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


def test_the_steps_of_a_release_name_what_there_is() -> None:
    page = (ROOT / "docs" / "releasing.md").read_text()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"make (\w+)", page)) <= set(targets)
    extras = (ROOT / "pyproject.toml").read_text()
    for extra in re.findall(r"\)\[(.*?)\]\"", page)[0].split(","):
        assert f"\n{extra} = [" in extras
    for name in re.findall(r"`([\w/]+\.\w+)`", page):
        assert (ROOT / name).exists(), name
