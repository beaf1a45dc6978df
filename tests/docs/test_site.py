"""The site's pages and links; `make docs` itself fails on a dead link, a missing anchor and an unknown name."""

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

from tests.docs import hooks

ROOT = Path(__file__).resolve().parents[2]
IN_NAV = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
API = re.findall(
    r"^::: ([\w.]+)\n(?:    options:\n(?:      (members: .*)\n)?)?",
    (ROOT / "docs" / "api.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)


def test_every_page_is_in_the_navigation_once():
    docs = ROOT / "docs"
    pages = [*(file.relative_to(docs).as_posix() for file in docs.rglob("*.md")), *hooks.PAGES.values()]
    assert sorted(IN_NAV) == sorted(pages)


def test_what_mkdocs_warns_of_fails_the_build():
    (command,) = re.findall(r"mkdocs build (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert command == "--strict"  # with --quiet beside it a dead link passes
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "links: {not_found: warn, anchors: warn, absolute_links: warn, unrecognized_links: warn}" in settings


@pytest.mark.parametrize(
    ("page", "written", "expected"),
    [
        ("index.md", "[m](docs/method.md)", "[m](method.md)"),
        ("index.md", "![i](docs/idea.svg)", "![i](idea.svg)"),
        ("index.md", "[c](CHANGELOG.md#fixed)", "[c](changelog.md#fixed)"),
        ("index.md", "[configs/](configs)", "`configs`"),
        ("index.md", "[`configs/`](configs/)", "`configs/`"),
        ("python.md", "[the sources](../src/earshot/types.py)", "the sources (`src/earshot/types.py`)"),
        ("python.md", "[here](../README.md#use-it)", "[here](index.md#use-it)"),
        ("decisions/default-recipe.md", "[n](../notebook.md)", "[n](../notebook.md)"),
        ("decisions/default-recipe.md", "[r](../../benchmarks/README.md)", "[r](../measurements.md)"),
        ("serve.md", "as there (docs/python.md).", "as there ([docs/python.md](python.md))."),
        ("report.md", "[a](https://b.c/hub-docs/docs/d.md)", "[a](https://b.c/hub-docs/docs/d.md)"),
        ("changelog.md", "see docs/gone.md", "see [docs/gone.md](docs/gone.md)"),
        ("serve.md", "`docs/python.md`\n    see docs/python.md", "`docs/python.md`\n    see docs/python.md"),
        ("measurements.md", "[j](serve.json), [d](../docs/serve.md)", "j (`benchmarks/serve.json`), [d](serve.md)"),
        ("python.md", "[gone](gone.md) [web](https://a.b/c)", "[gone](gone.md) [web](https://a.b/c)"),
    ],
)  # fmt: skip
def test_a_link_is_written_for_the_repository_and_works_in_the_site(page, written, expected):
    assert hooks.rewritten(written, page) == expected


def test_the_gallery_has_every_picture_once_in_light_and_in_dark_and_they_are_small():
    page = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    shown = re.findall(r"\(images/(.+)-light\.webp\)", page)
    files = sorted((ROOT / "docs" / "images").glob("*.webp"))
    assert sorted(f"{name}-{scheme}.webp" for name in shown for scheme in ("dark", "light")) == [f.name for f in files]
    assert sum(file.stat().st_size for file in files) < 600_000
    assert hooks.rewritten("![a](images/a-light.webp)", "gallery.md") == (
        "![a](images/a-light.webp#only-light)![a](images/a-dark.webp#only-dark)"
    )


def test_a_notebook_is_a_page_with_what_it_printed():
    cells = [
        {"cell_type": "markdown", "source": ["# One\n", "two"]},
        {"cell_type": "code", "source": "print(1)", "outputs": [{"output_type": "stream", "text": ["1\n"]}]},
    ]
    expected = "# One\ntwo\n\n```python\nprint(1)\n```\n\n```text\n1\n```"
    assert hooks.notebook_page(json.dumps({"cells": cells})) == expected
    cells[1]["outputs"] = [{"output_type": "error"}]
    with pytest.raises(ValueError, match="of type error"):
        hooks.notebook_page(json.dumps({"cells": cells}))


@pytest.mark.parametrize(
    ("html", "refused"),
    [
        ('<script src="https://cdn.example/a.js"></script>', True),
        ("<img alt='' src=//cdn.example/a.png>", True),
        ('<link rel="stylesheet" href="http://cdn.example/a.css">', True),
        ('<script src="assets/a.js"></script><a href="https://example.org">read</a>', False),
    ],
)
def test_a_page_that_fetches_from_elsewhere_is_found(html, refused):
    assert (hooks.FETCHED.search(html) is not None) == refused


def _named(name: str) -> object:
    module, _, rest = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), rest)


def _shown(name: str, members: str) -> dict[str, object]:
    """The functions that the page shows: the one of that name, or the methods of a class."""
    thing = _named(name)
    if not inspect.isclass(thing):
        return {name: thing} if inspect.isfunction(thing) else {}
    only = re.findall(r"\w+", members.partition("[")[2]) if members else [key for key in vars(thing) if key[0] != "_"]
    return {f"{name}.{key}": getattr(thing, key) for key in only if inspect.isfunction(vars(thing)[key])}


@pytest.mark.parametrize(("name", "members"), API)
def test_the_api_page_says_what_every_argument_means(name, members):
    assert inspect.getdoc(_named(name))
    for path, function in _shown(name, members).items():
        said = inspect.getdoc(function) or ""
        wanted = inspect.signature(function).parameters.keys() - {"self"}
        assert said and wanted <= set(re.findall(r"^ +(\w+): ", said, flags=re.MULTILINE)), path
