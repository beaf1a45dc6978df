"""Which rows a reader wants to see, in which order, and how many each further choice would leave."""

from collections import Counter
from collections.abc import Mapping
from functools import reduce
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int
from pydantic import BaseModel, ConfigDict, Field

from earshot.predictions.facts import Outcome
from earshot.view.rows import GAP, searchable

ANY_LISTENER = "*"

ORDERS: Mapping[str, tuple[str | None, int]] = {
    "file": (None, 1),
    "latest": (None, -1),
    "sure": ("confidence", -1),
    "unsure": ("confidence", 1),
    "disagreement": ("gap", -1),
    "turn": ("order_gap", -1),
    "best": ("reward", -1),
    "worst": ("reward", 1),
}
"""By name: the column and the direction; rows that have no value stand last, equals as they came."""


class Query(BaseModel):
    """What was chosen, as the parameters of an address say it; the default is everything, as it came."""

    model_config = ConfigDict(frozen=True)

    source: int | None = Field(None, ge=0)
    verdict: Outcome | None = None
    malformed: bool = False
    flips: bool = False
    listener: str = Field("", max_length=200)
    """Rows in which this listener is not on the reasoner's side; `*` is any of them."""
    text: str = Field("", max_length=200)
    order: str = Field("file", pattern=f"^({'|'.join(ORDERS)})$")
    offset: int = Field(0, ge=0)
    """The place of the first row to show."""


class Selection(NamedTuple):
    """The places of a query's rows in the table, in its order, and the counts of each choice given all the others."""

    rows: Int[np.ndarray, " k"]
    counts: dict[str, Any]


def select(table: pa.Table, query: Query) -> Selection:
    """The rows of a query."""
    source, flip = table["source"].to_numpy(), table["flip"].to_numpy()
    malformed = table["malformed"].to_numpy() > 0
    verdicts = {name: pc.equal(table["outcome"], name).to_numpy() for name in get_args(Outcome)}
    gaps = {ANY_LISTENER: table["gap"].to_numpy()}
    for name in sorted(name for name in table.column_names if name.startswith(GAP)):
        gaps[name.removeprefix(GAP)] = table[name].to_numpy()
    apart = {name: ~np.isnan(gap) for name, gap in gaps.items()}
    chosen: dict[str, Any] = {
        "source": query.source is None or source == query.source,
        "verdict": query.verdict is None or verdicts[query.verdict],
        "malformed": not query.malformed or malformed,
        "flips": not query.flips or flip,
        "listener": not query.listener or apart.get(query.listener, False),
        "text": not query.text or pc.match_substring(table["text"], searchable([query.text])).to_numpy(),
    }

    def left(choice: str | None = None) -> Bool[np.ndarray, " n"]:
        """The rows that all choices but this one leave."""
        masks = (mask for name, mask in chosen.items() if name != choice)
        return reduce(np.logical_and, masks, np.ones(len(table), bool))

    def count(choice: str, mask: Bool[np.ndarray, " n"]) -> int:
        return int(np.count_nonzero(mask & left(choice)))

    counts = {
        "verdict": {name: count("verdict", mask) for name, mask in verdicts.items()},
        "malformed": count("malformed", malformed),
        "flips": count("flips", flip),
        "listener": {name: count("listener", mask) for name, mask in apart.items()},
        "source": dict(Counter(source[left("source")].tolist())),
    }
    rows = np.flatnonzero(left())
    column, direction = ORDERS[query.order]
    if column is None:
        return Selection(rows[::direction], counts)
    values = gaps.get(query.listener, gaps[ANY_LISTENER]) if column == "gap" else table[column].to_numpy()
    # NaN is last in either direction.
    return Selection(rows[np.argsort(direction * values[rows], kind="stable")], counts)
