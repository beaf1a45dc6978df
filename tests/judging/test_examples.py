"""The examples of docs/python.md are whole, and the first two, which need no more than what ships, run."""

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


@pytest.mark.parametrize(("example", "lines"), [*zip(EXAMPLES, (4, 1), strict=False)])
def test_the_first_examples_run(example, lines, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, colour in (("one", "red"), ("two", "blue"), ("three", "green"), ("four", "grey")):
        Image.new("RGB", (56, 56), colour).save(f"{name}.png")
    exec(compile(example, "docs/python.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= lines
