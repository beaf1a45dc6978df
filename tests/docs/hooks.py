"""What the site is besides the Markdown in docs/: pages that lie elsewhere, the notebook, links that lead out of it.

mkdocs.yml names this file. A link is written as the repository shows it, and is rewritten here for the site.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Files of the repository that are a page of the site under another name.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "measurements.md",
    "docs/first-numbers.ipynb": "first-numbers.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(!?)\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
# A page that a sentence names, outside code and links.
NAMED = (
    re.compile(r"^(?! {4}).*$", flags=re.MULTILINE),
    re.compile(r"(?<!\]\()(?<![\w/`\[.-])docs/[\w/-]+\.(?:md|ipynb)\b"),
)
# A picture of which there is another for the dark.
LIGHT = re.compile(r"(!\[[^\]]*\]\([^)\s]+)-light\.webp\)")
# What a browser fetches by itself; a link that a reader may follow is no such thing.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?(?:https?:)?//|<link\b[^>]*\bhref=["']?(?:https?:)?//"""
)


def source_of(page: str) -> str:
    """The file in the repository that a page is made of."""
    return SOURCES.get(page, f"docs/{page}")


def page_of(source: str) -> str | None:
    """The page or file of the site that a file of the repository is; None where it is not in the site."""
    if source in PAGES:
        return PAGES[source]
    return source.removeprefix("docs/") if source.startswith("docs/") and (ROOT / source).is_file() else None


def rewritten(text: str, page: str) -> str:
    """The text of a page with its links as the site needs them.

    A link to a file that the site does not hold (configs/, src/) becomes the file's name, and a page's name, as a
    message of the program has it (docs/models.md), a link. One to nothing at all is left as it is, for mkdocs to find.
    """
    here, folder = posixpath.dirname(page), posixpath.dirname(source_of(page))

    def link(found: re.Match[str]) -> str:
        image, label, path, anchor = found.groups(default="")
        source = posixpath.normpath(posixpath.join(folder, path))
        if not (ROOT / source).exists():
            return found[0]
        target = page_of(source)
        if target is not None:
            return f"{image}[{label}]({posixpath.relpath(target, here or '.')}{anchor})"
        name = f"`{source}{'/' * path.endswith('/')}`"
        return name if label.strip("`").rstrip("/") == source else f"{label} ({name})"

    lines, name = NAMED

    def named(found: re.Match[str]) -> str:
        return f"[{found[0]}]({posixpath.relpath(found[0], folder or '.')})"

    text = lines.sub(lambda line: name.sub(named, line[0]), text)
    return LIGHT.sub(r"\1-light.webp#only-light)\1-dark.webp#only-dark)", LINK.sub(link, text))


def notebook_page(text: str) -> str:
    """A notebook as Markdown, with what its cells printed and the pictures that they showed.

    Raises:
        ValueError: A cell has another kind of output.
    """
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
            elif output["output_type"] == "display_data" and "image/png" in output["data"]:
                parts.append(f"![What the cell shows](data:image/png;base64,{output['data']['image/png']})")
            else:
                raise ValueError(f"a cell has an output of type {output['output_type']}, expected text or a picture")
    return "\n\n".join(parts)


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=notebook_page(text) if source.endswith(".ipynb") else text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    return rewritten(markdown, page.file.src_uri)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuses a page that would fetch anything from another machine."""
    from mkdocs.exceptions import PluginError

    if found := FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri}: fetches {output[found.start() : found.end() + 60]!r} from elsewhere")
    return output
