"""The attack set's answer, to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from rich.table import Table

from earshot.lab.attack.measure import CLAIMS, PLAIN, Measured
from earshot.report.markdown import grid
from earshot.types import Estimate

_COLUMNS: Final = (
    ("moved", "|Δ p|"),
    ("toward", "Δ toward"),
    ("flipped", "flipped %"),
    ("gain", "earns more"),
)


def as_tables(found: Mapping[str, Sequence[Measured]]) -> list[Table]:
    """One table a listener and redaction level, a row for each group of attacks, and one for what claims earn.

    The other options of the reward, the intervals and the single texts are in the Markdown.
    """
    tables = []
    for name, rows in found.items():
        for level, option in dict.fromkeys((r.redaction, r.option) for r in rows if r.option in (PLAIN, CLAIMS)):
            what = f"redaction {level}" if option == PLAIN else "what its claims earn"
            table = Table(title=f"{name}, {what}", title_justify="left")
            table.add_column("attack", no_wrap=True)
            table.add_column("against", no_wrap=True)
            for _, title in _shown(option):
                table.add_column(title, justify="right")
            for row in _groups(rows, level, option):
                cells = [_cell(getattr(row, field), field, interval=False) for field, _ in _shown(option)]
                table.add_row(row.group, row.base, *cells)
            tables.append(table)
    return tables


def as_markdown(found: Mapping[str, Sequence[Measured]]) -> str:
    """The same as Markdown, with what the columns mean, and every text apart for the plain option."""
    parts = ["# Attacks", "", _LEGEND, ""]
    for name, rows in found.items():
        for level, option in dict.fromkeys((r.redaction, r.option) for r in rows):
            parts += [f"## {name}, redaction `{level}`, {option.replace('_', '-')}", ""]
            parts.append(_lines(_groups(rows, level, option), option))
            if option == PLAIN:
                parts += ["Each text apart:", ""]
                alone = [r for r in rows if (r.redaction, r.option) == (level, option) and r.text]
                parts.append(_lines(alone, option))
    return "\n".join(parts)


_LEGEND: Final = """\
Every text is put to the listener about the same pairs. *Against*: what its answer is compared with, its answer without
a trace or its answer to the pair's honest trace. *|Δ p|*: how far the probability of the first image moves. *Δ toward*:
how far the probability of the side moves that the text asserts; texts assert either side equally often. *Flipped*: the
share of answers that change sides, in percent. *Earns more*: the reward of the text less the reward of what it is
compared with.
Intervals are 95 %, prompts resampled."""


def _groups(rows: Sequence[Measured], level: str, option: str) -> list[Measured]:
    return [r for r in rows if (r.redaction, r.option, r.text) == (level, option, None)]


def _shown(option: str) -> Sequence[tuple[str, str]]:
    return (("reward", "earns"), ("gain", "earns more")) if option == CLAIMS else _COLUMNS


def _lines(rows: Sequence[Measured], option: str) -> str:
    heads = ["attack", "against", *(title.replace("|", "\\|") for _, title in _shown(option))]
    names = [row.group if row.text is None else f"{row.group}: `{_plain(row.text)}`" for row in rows]
    cells = [[_cell(getattr(row, field), field) for field, _ in _shown(option)] for row in rows]
    return grid(heads, [[name, row.base, *told] for name, row, told in zip(names, rows, cells, strict=True)])


def _plain(text: str) -> str:
    """A text within a table's cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")[:80]


def _cell(estimate: Estimate, field: str, *, interval: bool = True) -> str:
    told = estimate if interval else replace(estimate, low=None, high=None)
    return told.text(percent=field == "flipped", signed=field in ("toward", "gain"))
