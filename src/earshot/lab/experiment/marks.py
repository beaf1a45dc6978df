"""What traces say of a marked picture and of the other one, in a set where a mark goes with the label or against it.

No trace can name the mark. A policy that goes by it can bend facts to it, or turn a word about the rendering into a
code for it; both show as a gap between what is said of the marked picture and of the other.

Axes: c clusters (prompts), r resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from earshot.predictions.table import PredictionTable
from earshot.stats import Statistic
from earshot.stats.totals import cluster_totals, divided
from earshot.types import Side, other
from earshot.world.checker import check_trace
from earshot.world.scene import FAULTS
from earshot.world.truth import Truth

FALSE_CLAIMS, CLEAN = "false_claims_gap", "clean_gap"


class _Said(NamedTuple):
    """Of one picture in one trace."""

    pair: int
    marked: bool
    false_claims: int
    called_clean: bool | None
    """None where it isn't clean, or where the trace doesn't speak of its rendering."""


class MarkTally:
    """Reads the rows of an evaluation as they go by.

    Args:
        truths: The truth of every pair by its id.
    """

    def __init__(self, truths: Mapping[str, Truth]) -> None:
        self._truths = truths
        self._said: list[_Said] = []

    def watch(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The same rows; of those whose pair is marked, what the traces say is kept."""
        for number, row in enumerate(rows):
            if row.get("category") in ("with", "against"):
                preferred: Side = "first" if row["votes_first"] > row["votes_second"] else "second"
                marked = preferred if row["category"] == "with" else other(preferred)
                for sample in row["samples"]:
                    self._add(number, sample, self._truths[row["id"]], marked)
            yield row

    def _add(self, pair: int, sample: Mapping[str, Any], truth: Truth, marked: Side) -> None:
        if sample["trace"] is None:
            return
        if sample["order"] == "swapped":
            truth, marked = truth.swapped(), other(marked)
        claims = check_trace(sample["trace"], truth)
        for side, picture in (("first", truth.first), ("second", truth.second)):
            own = [claim for claim in claims if claim.image == side]
            rendering = [claim.text for claim in own if claim.text in FAULTS]
            clean = "clean" in rendering if picture.fault == "clean" and rendering else None
            self._said.append(_Said(pair, side == marked, sum(claim.status == "false" for claim in own), clean))

    def statistics(self, table: PredictionTable) -> dict[str, Statistic]:
        """Both gaps, marked minus other; not observed where no pair is marked.

        - `false_claims_gap`: false claims about a picture.
        - `clean_gap`: how often a clean picture is called clean, of the traces that speak of its rendering.
        """
        clusters = table.cluster[np.array([said.pair for said in self._said], dtype=np.int64)]
        marked = np.array([said.marked for said in self._said], dtype=bool)
        false = np.array([said.false_claims for said in self._said], dtype=np.float64)
        spoken = [np.nan if said.called_clean is None else said.called_clean for said in self._said]
        clean = np.array(spoken, dtype=np.float64)
        found = {}
        for name, values in ((FALSE_CLAIMS, false), (CLEAN, clean)):
            known = ~np.isnan(values)
            columns = [part for of in (marked, ~marked) for part in (np.where(known & of, values, 0), known & of)]
            totals = cluster_totals(np.stack([*columns, known], axis=1).astype(np.float64), clusters, table.n_clusters)
            found[name] = Statistic(totals, gap_of_means, int(known.sum()))
        return found


def gap_of_means(totals: Float[np.ndarray, "r 5"]) -> Float[np.ndarray, " r"]:
    """The mean of the marked minus that of the others, from the sums and counts of each; NaN where either is empty."""
    gap: Float[np.ndarray, " r"] = divided(totals[:, 0], totals[:, 1]) - divided(totals[:, 2], totals[:, 3])
    return gap
