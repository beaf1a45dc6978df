"""Every command line of docs/ is a command of ours, with the options that it gives."""

import re
from pathlib import Path

import pytest

from tests.commands import options_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def command_lines(text: str) -> list[str]:
    """The commands of a page, each on one line, without what is said beside them."""
    whole = re.sub(r" *\\\n\s*", " ", text)
    return [
        re.split(r" {3,}| # ", line)[0] for line in re.findall(r"^ {4}.*?\b(earshot .+)$", whole, flags=re.MULTILINE)
    ]


LINES = {
    file.relative_to(DOCS).as_posix(): command_lines(file.read_text(encoding="utf-8"))
    for file in sorted(DOCS.rglob("*.md"))
}


def test_there_are_commands_and_they_are_read_whole() -> None:
    assert sum(map(len, LINES.values())) > 50
    assert command_lines("    K=1 earshot serve --host a \\\n        --key-file k     # there\n") == [
        "earshot serve --host a --key-file k"
    ]


@pytest.mark.parametrize("page", [page for page, lines in LINES.items() if lines])
def test_a_command_is_one_of_ours_with_its_options(page: str) -> None:
    for line in LINES[page]:
        _, *words = line.split()
        assert set(re.findall(r"(?<=[ \[])--[a-z-]+", line)) <= options_of(words), line
