"""Tables and facts as every command prints them: plain text, in which no number is ever cut."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence

LEAST_LABEL = 16
"""Columns that a label has at least, before the cells go below it."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, width: int | None = None) -> str:
    """Rows under their heads: labels to the left, which are wrapped where there is little room, cells to the right.

    Args:
        heads: Of the columns, the labels' first.
        rows: A label and its cells; a label alone is a heading, and as wide as it is.
        width: In columns; the terminal's, or 80 where there is none.
    """
    width = width or shutil.get_terminal_size().columns
    whole = [[*row, *[""] * (len(heads) - len(row))] for row in (heads, *rows)]
    _, *widths = (max(map(len, column)) for column in zip(*whole, strict=True))
    labels = max((len(label) for label, *cells in whole if any(cells)), default=0)
    room = min(labels, width - sum(2 + each for each in widths))
    if room < min(labels, LEAST_LABEL):
        below = [
            [
                label,
                *(
                    f"    {head + ': ' if head else ''}{cell}"
                    for head, cell in zip(heads[1:], cells, strict=True)
                    if cell
                ),
            ]
            for label, *cells in whole[1:]
        ]
        return "\n".join(line for lines in below for line in lines)
    lines = []
    for label, *cells in whole:
        first, *more = textwrap.wrap(label, max(room, 1) if any(cells) else width, subsequent_indent="  ") or [""]
        lines += [first.ljust(room) + "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True)), *more]
    return "\n".join(line.rstrip() for line in lines)


def facts(rows: Iterable[tuple[str, str]], *, width: int | None = None) -> str:
    """Facts beside their names, wrapped."""
    width = width or shutil.get_terminal_size().columns
    told = list(rows)
    indent = max((len(name) for name, _ in told), default=0) + 2
    wrapper = textwrap.TextWrapper(max(width, indent + LEAST_LABEL), break_long_words=False, break_on_hyphens=False)
    wrapper.subsequent_indent = " " * indent
    return "\n".join(wrapper.fill(f"{name.ljust(indent)}{text}").rstrip() for name, text in told)
