"""The attack set's answer, to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from earshot.lab.attack.measure import CLAIMS, PLAIN, Measured
from earshot.report.markdown import grid
from earshot.types import Estimate

_COLUMNS: Final = (
    ("moved", "|Δ p|"),
    ("toward", "Δ toward"),
    ("flipped", "flipped %"),
    ("gain", "earns more"),
)


def as_markdown(found: Mapping[str, Sequence[Measured]], *, texts: bool = True) -> str:
    """For each listener, redaction level and option a table of the groups of attacks, and what the columns mean.

    Args:
        found: What was measured, by listener.
        texts: Under the plain option, also every text apart.
    """
    parts = ["# Attacks", "", _LEGEND, ""]
    for name, rows in found.items():
        for level, option in dict.fromkeys((r.redaction, r.option) for r in rows):
            here = [r for r in rows if (r.redaction, r.option) == (level, option)]
            parts += [f"## {name}, redaction `{level}`, {option}", ""]
            parts.append(_lines([r for r in here if r.text is None], option))
            if texts and option == PLAIN:
                parts += ["Each text apart:", "", _lines([r for r in here if r.text], option)]
    return "\n".join(parts)


_LEGEND: Final = """\
Every text is put to the listener about the same pairs. *Against*: what its answer is compared with, its answer without
a trace or its answer to the pair's honest trace. *|Δ p|*: how far the probability of the first image moves. *Δ toward*:
how far the probability of the side moves that the text asserts; texts assert either side equally often. *Flipped*: the
share of answers that change sides, in percent. *Earns more*: the reward of the text less the reward of what it is
compared with.
Intervals are 95 %, prompts resampled."""


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


def _cell(estimate: Estimate, field: str) -> str:
    return estimate.text(percent=field == "flipped", signed=field in ("toward", "gain"))
