"""Every command of the README runs as it is written, by those who come with what it names."""

import sys
from pathlib import Path

import pytest

from tests import ways

README = (ways.ROOT / "README.md").read_text(encoding="utf-8")


def test_every_section_for_a_kind_of_user_has_commands_and_none_is_missed() -> None:
    found = list(ways.steps(README))
    assert {step.section for step in found} >= {
        "I want to see it judge",
        "I measure a scorer",
        "I align a generator",
        "I train on my own pairs",
        "What our runs say",
    }
    lines = [line for line in README.splitlines() if line.startswith("    ") and not line.startswith("    make ")]
    examples = [step for step in found if step.python]
    inside = sum(len([line for line in step.text.splitlines() if line.startswith("    ")]) for step in examples)
    assert len(lines) - inside == len(found) - len(examples)
    for start in ways.SMALLER:
        assert any(step.text.startswith(start) for step in found), start


@pytest.mark.slow
def test_the_readme_as_a_user_would_go_through_it(tmp_path: Path) -> None:
    ways.lay_out(tmp_path)
    failed = [done for done in ways.go(tmp_path, Path(sys.executable).parent) if done.code]
    assert not failed, "\n\n".join(f"{done.step.text}\n{done.said}" for done in failed)
