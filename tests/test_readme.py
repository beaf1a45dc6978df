"""The README's commands exist, with the options it gives them, and its files are there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.commands import options_of

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BESIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
LINES = re.findall(r"^    (earshot .+)$", README, flags=re.MULTILINE)


def test_there_are_commands() -> None:
    assert len(LINES) >= 6


@pytest.mark.parametrize("line", LINES)
def test_a_command_is_one_of_ours_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    assert {word for word in words if word.startswith("--")} <= options_of(words)


@pytest.mark.parametrize("name", BESIDE)
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    assert links and [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", BESIDE)
def test_make_has_the_commands(name: str) -> None:
    makefile, text = ((ROOT / file).read_text(encoding="utf-8") for file in ("Makefile", name))
    targets = re.findall(r"(?:^    |`)make ([a-z-]+)", text, flags=re.MULTILINE)
    assert [target for target in targets if f"\n{target}:" not in makefile] == []
