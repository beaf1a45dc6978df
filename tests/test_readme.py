"""The README's commands exist, with the options it gives them, and its files are there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.commands import options_of

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = re.findall(r"^    (earshot .+)$", README, flags=re.MULTILINE)


def test_there_are_commands() -> None:
    assert len(LINES) >= 6


@pytest.mark.parametrize("line", LINES)
def test_a_command_is_one_of_ours_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    assert {word for word in words if word.startswith("--")} <= options_of(words)


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)


def test_make_has_its_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in re.findall(r"^    make (\w+)", README, flags=re.MULTILINE))
