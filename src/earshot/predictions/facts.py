"""What one row of predictions counts as, by the rules of `sides`: for the page, the report's examples and the shell.

A row is as `run.Evaluation.rows` gives it: a judgement, with what people said of its pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped

from earshot.predictions.sides import differ, differs, gap, is_flip, is_right, right
from earshot.predictions.table import PredictionTable
from earshot.types import Side

Row = Mapping[str, Any]
Outcome = Literal["right", "wrong", "open"]


def side_of_people(row: Row) -> Side | None:
    """The side of the majority of the votes; none in a tie. A publisher's label counts where a protocol names it."""
    if row["votes_first"] == row["votes_second"]:
        return None
    return "first" if row["votes_first"] > row["votes_second"] else "second"


def label_against_votes(row: Row) -> str | None:
    """The publisher's label where it is not people's side by the votes, which count all the same; else None."""
    label = row.get("label")
    return None if label is None or (label if label in ("first", "second") else None) == side_of_people(row) else label


def outcome_of(row: Row) -> Outcome:
    """Whether the answer is on people's side; open where they have none."""
    found = is_right(row["p_first"], side_of_people(row))
    return "open" if found is None else "right" if found else "wrong"


def outcomes(p_first: Float[np.ndarray, " n"], people: Float[np.ndarray, " n"]) -> Shaped[np.ndarray, " n"]:
    """`outcome_of` of each, by the signs of people's sides."""
    return np.where(people == 0, "open", np.where(right(p_first, people), "right", "wrong"))


def is_flipped(row: Row) -> bool:
    """Whether the two orders were judged, and not to one side."""
    return bool(is_flip(row["p_first_forward"], row["p_first_swapped"]))


def listener_gaps(samples: Sequence[Row]) -> dict[str, float]:
    """By listener, the widest |p_author - p_listener| among the samples in which they are on different sides."""
    gaps: dict[str, float] = {}
    for sample in samples:
        for name, p in (sample.get("listener") or {}).items():
            if differs(p, sample["side"]):
                # Where the author's own p is not known, its verdict stands for 1 or 0.
                own = sample.get("p_first")
                apart = gap(float(sample["side"] == "first") if own is None else own, p)
                gaps[name] = max(gaps.get(name, 0.0), apart or 0.0)
    return gaps


def widest_gaps(table: PredictionTable) -> dict[str, Float[np.ndarray, " p"]]:
    """`listener_gaps` of each pair, by listener; NaN where all its samples are on the listener's side."""
    own = np.where(np.isnan(table.sample_p_first), table.side_sign > 0, table.sample_p_first)
    gaps = {}
    for name, p in table.listeners.items():
        apart = differ(p, table.side_sign.astype(np.float64))
        gaps[name] = np.full(len(table.p_first), np.nan)
        np.fmax.at(gaps[name], table.sample_pair[apart], np.abs(own - p)[apart])
    return gaps
