"""Runs a notebook's cells in this process, one after another: `python -m tests.docs.notebook` writes what they print.

A kernel would be a dozen packages more for the same: cells of plain Python, text, and pictures as a last expression.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FIRST_NUMBERS = Path(__file__).resolve().parents[2] / "docs" / "first-numbers.ipynb"


def outputs(notebook: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """What each code cell prints and shows, run in the working directory."""
    names: dict[str, Any] = {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            yield _run("".join(cell["source"]), f"cell {number}", names)


def _run(source: str, name: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    *body, last = ast.parse(source).body
    shown = None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if not isinstance(last, ast.Expr):
            body, last = [*body, last], None
        exec(compile(ast.Module(body, []), name, "exec"), names)
        if last is not None:
            shown = eval(compile(ast.Expression(last.value), name, "eval"), names)
    found = []
    if text := printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    if shown is not None:
        png = base64.b64encode(shown._repr_png_()).decode()
        found.append({"output_type": "display_data", "metadata": {}, "data": {"image/png": png}})
    return found


def main() -> None:
    notebook = json.loads(FIRST_NUMBERS.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number, (cell, found) in enumerate(zip(code, outputs(notebook), strict=True), start=1):
            cell |= {"outputs": found, "execution_count": number}
    FIRST_NUMBERS.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
