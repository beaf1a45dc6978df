"""The examples of docs/python.md are whole, and the first one runs."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from PIL import Image

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_short_and_imports_what_is_there(example):
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("earshot"):
            assert all(hasattr(importlib.import_module(str(node.module)), alias.name) for alias in node.names)


def test_the_first_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, colour in (("one", "red"), ("two", "blue"), ("three", "green")):
        Image.new("RGB", (56, 56), colour).save(f"{name}.png")
    exec(compile(EXAMPLES[0], "docs/python.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 4
