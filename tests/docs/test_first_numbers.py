"""docs/first-numbers.ipynb runs offline, and says what it said when it was written down."""

import json
import re
import shlex

from tests.commands import options_of
from tests.docs.notebook import FIRST_NUMBERS, outputs

NOTEBOOK = json.loads(FIRST_NUMBERS.read_text(encoding="utf-8"))


def texts(found):
    """What the cells printed, the numbers masked: they may end otherwise on another machine."""
    return [re.sub(r"\d+", "0", "".join(o.get("text", ""))) for cell in found for o in cell]


def test_it_runs_and_prints_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = [cell["outputs"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert texts(outputs(NOTEBOOK)) == texts(shown)


def test_it_says_at_its_top_what_its_model_knows():
    assert "coloured shapes alone" in "".join(NOTEBOOK["cells"][0]["source"])


def test_its_commands_have_their_options():
    prose = "\n".join("".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown")
    lines = re.findall(r"^    earshot (.+)$", prose, flags=re.MULTILINE)
    assert len(lines) == 2
    for words in map(shlex.split, lines):
        assert {word for word in words if word.startswith("--")} <= options_of(words)
