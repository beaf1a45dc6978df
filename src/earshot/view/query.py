"""Which rows a reader wants to see, in which order, and how many each further choice would leave."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from earshot.view.columns import GAP
from earshot.view.columns import OUTCOMES as VERDICTS

ANY_LISTENER = "*"

ORDERS: Mapping[str, tuple[str | None, int]] = {
    "file": (None, 1),
    "latest": (None, -1),
    "sure": ("confidence", -1),
    "unsure": ("confidence", 1),
    "disagreement": (GAP, -1),
    "turn": ("order_gap", -1),
    "best": ("reward", -1),
    "worst": ("reward", 1),
}
"""By name: the column and the direction; rows that have no value stand last, equals as they came."""

Columns = Mapping[str, np.ndarray]


class Query(NamedTuple):
    """What was chosen; the default is everything, as it came."""

    source: int | None = None
    verdict: str | None = None
    """right, wrong, or open: people have no side."""
    malformed: bool = False
    flips: bool = False
    listener: str | None = None
    """Rows in which this listener is not on the reasoner's side; `*` is any of them."""
    text: str = ""
    order: str = "file"


class Selection(NamedTuple):
    """The rows of a query, in its order, and the counts of each choice given all the other choices."""

    rows: Int[np.ndarray, " k"]
    counts: dict[str, Any]


def listeners_of(columns: Columns) -> list[str]:
    """The listeners that the rows name."""
    return sorted(name.removeprefix(GAP) for name in columns if name.startswith(GAP))


def apart(columns: Columns, listener: str) -> Bool[np.ndarray, " n"]:
    """Where a listener, or with `*` any of them, is not on the reasoner's side."""
    wanted = listeners_of(columns) if listener == ANY_LISTENER else [listener]
    found = np.zeros(len(columns["source"]), bool)
    for name in wanted:
        if GAP + name in columns:
            found |= ~np.isnan(columns[GAP + name])
    return found


def select(columns: Columns, query: Query, *, has_text: Bool[np.ndarray, " n"] | None = None) -> Selection:
    """The rows that a query wants.

    Args:
        columns: A snapshot of the index.
        query: What was chosen.
        has_text: Which rows hold the query's text; None where it has none.
    """
    n = len(columns["source"])
    everything = np.ones(n, bool)
    masks = {
        "alive": columns["alive"],
        "source": everything if query.source is None else columns["source"] == query.source,
        "verdict": everything if query.verdict is None else columns["outcome"] == VERDICTS[query.verdict],
        "malformed": columns["malformed"] if query.malformed else everything,
        "flips": columns["flip"] if query.flips else everything,
        "listener": everything if query.listener is None else apart(columns, query.listener),
        "text": everything if has_text is None else has_text,
    }
    chosen = np.logical_and.reduce([*masks.values()])
    return Selection(_ordered(columns, np.flatnonzero(chosen), query), _counts(columns, masks))


def _ordered(columns: Columns, rows: Int[np.ndarray, " k"], query: Query) -> Int[np.ndarray, " k"]:
    column, direction = ORDERS[query.order]
    if column is None:
        # Runs one after another; of rollouts by step, for a file that was written again was indexed late.
        step = columns["step"][rows] if "step" in columns else np.zeros(len(rows))
        return rows[np.lexsort((rows, step, columns["source"][rows]))][::direction]
    if column == GAP:
        key = _widest_gap(columns, rows, query.listener)
    else:
        key = columns[column][rows] if column in columns else np.zeros(len(rows))
    return rows[np.argsort(direction * key, kind="stable")]  # NaN is last in either direction


def _widest_gap(columns: Columns, rows: Int[np.ndarray, " k"], listener: str | None) -> np.ndarray:
    names = listeners_of(columns) if listener in (None, ANY_LISTENER) else [listener]
    gaps = [columns[GAP + name][rows] for name in names if GAP + str(name) in columns]
    return np.fmax.reduce(gaps) if gaps else np.full(len(rows), np.nan)


def _counts(columns: Columns, masks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    def beside(name: str) -> np.ndarray:
        return np.logical_and.reduce([mask for other, mask in masks.items() if other != name])

    verdict = columns["outcome"][beside("verdict")]
    sources = np.bincount(columns["source"][beside("source")])
    listener = beside("listener")
    return {
        "verdict": {name: int(np.count_nonzero(verdict == code)) for name, code in VERDICTS.items()},
        "malformed": int(np.count_nonzero(columns["malformed"] & beside("malformed"))),
        "flips": int(np.count_nonzero(columns["flip"] & beside("flips"))),
        "listener": {
            name: int(np.count_nonzero(apart(columns, name) & listener))
            for name in (ANY_LISTENER, *listeners_of(columns))
        },
        "source": {int(number): int(count) for number, count in enumerate(sources) if count},
    }
