"""Estimates as people read them: the words for each quantity, and the table of several evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from earshot.metrics import read_estimate
from earshot.types import Estimate

if TYPE_CHECKING:
    from rich.table import Table


class Quantity(NamedTuple):
    """How a key of metrics.json is shown."""

    label: str
    percent: bool
    headline: bool
    meaning: str


QUANTITIES = {
    "accuracy": Quantity("accuracy", True, True, "pairs with a majority whose side was named; unparsed is wrong"),
    "accuracy_macro": Quantity("accuracy, mean over prompts", True, False, "every prompt weighs the same"),
    "blind.always_first": Quantity("blind: always the first", True, True, "accuracy without looking"),
    "blind.larger_file": Quantity("blind: the larger file", True, True, "accuracy without looking"),
    "disagreement.": Quantity("disagreement with {}", True, True, "verdicts that differ from the listener's side"),
    "disagreement_gap.": Quantity("gap to {}", False, False, "mean |p reasoner − p listener|"),
    "false_claims": Quantity("false claims a trace", False, True, "statements that the ground truth contradicts"),
    "true_claims": Quantity("true claims a trace", False, False, "statements that the ground truth confirms"),
    "malformed_rate": Quantity("malformed", True, True, "completions that are no verdict"),
    "position_consistency": Quantity("same side in both orders", True, True, "pairs judged alike when shown swapped"),
    "first_pick_rate": Quantity("picks the image shown first", True, True, "50 % is fair"),
    "trace_length": Quantity("words a trace", False, False, "mean length of a well-formed trace"),
    "brier": Quantity("Brier score", False, False, "against the share of votes; lower is better"),
    "ece": Quantity("calibration error", False, False, "expected, 15 bins, against the share of votes"),
    "nll": Quantity("cross-entropy (nats)", False, False, "against the share of votes; lower is better"),
}
"""By key; a key that ends in a dot is followed by a listener's name."""


class Row(NamedTuple):
    """One quantity of several evaluations."""

    key: str
    label: str
    meaning: str
    headline: bool
    cells: list[Cell]


class Cell(NamedTuple):
    """An estimate in words; `n` says how many observations it rests on."""

    value: str
    interval: str
    n: int


def summary_rows(metrics: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each known quantity that at least one of the evaluations could compute."""
    rows = []
    for known, quantity in QUANTITIES.items():
        for key in _keys(known, metrics):
            estimates = [read_estimate(m, key) for m in metrics]
            if any(e.n for e in estimates):
                cells = [format_estimate(e, percent=quantity.percent) for e in estimates]
                label = quantity.label.format(key[len(known) :])
                rows.append(Row(key, label, quantity.meaning, quantity.headline, cells))
    return rows


def _keys(known: str, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    if not known.endswith("."):
        return [known]
    return sorted({key for m in metrics for key in m if key.startswith(known)})


def format_estimate(estimate: Estimate, *, percent: bool) -> Cell:
    """`71.3 %` and `68.0 to 74.5`; a dash where there is nothing, no interval where there is none."""
    if estimate.value is None:
        return Cell("–", "", 0)
    scale, digits = (100, 1) if percent else (1, 3 if abs(estimate.value) < 10 else 1)
    value = f"{estimate.value * scale:.{digits}f}{' %' if percent else ''}"
    if estimate.low is None or estimate.high is None:
        return Cell(value, "", estimate.n)
    return Cell(value, f"{estimate.low * scale:.{digits}f} to {estimate.high * scale:.{digits}f}", estimate.n)


def render_summary_table(metrics: Mapping[str, Mapping[str, Any]], *, title: str | None = None) -> Table:
    """The contents of several metrics.json, a column each, as a table for the terminal.

    Args:
        metrics: By the name that heads the column.
        title: Above the table.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None if title is None else Text(title), caption="95 % intervals, prompts resampled")
    table.add_column("")
    for name in metrics:
        table.add_column(Text(name), justify="right")
    for row in summary_rows(list(metrics.values())):
        cells = [Text(f"{c.value}  [{c.interval}]" if c.interval else c.value) for c in row.cells]
        table.add_row(Text(row.label), *cells)
    for key in ("n_pairs", "n_ties", "n_samples", "n_malformed", "n_listener_missing", "n_refused"):
        counts = [m.get(key) for m in metrics.values()]
        if any(counts):
            table.add_row(key[2:].replace("_", " "), *("–" if c is None else f"{c:,}" for c in counts))
    return table
