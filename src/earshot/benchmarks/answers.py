"""What somebody answered on pairs whose truth is known: flat arrays, and the codes that stand in them.

A protocol (`benchmarks.protocols`) takes a `Judged` and nothing else, whoever answered: our own predictions, a scorer's
numbers per image, another judge's choices. Everything is told in the sides of the truth's own rows.

Axes: p pairs, n observations.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from earshot.errors import DataError
from earshot.predictions.sides import signs_of
from earshot.predictions.table import FIRST, NONE, PredictionTable

EITHER_TIE = 3
"""An answer that calls the two equal and does not say whether good or bad."""

MarginUnit = Literal["probability", "score"]


class Origin(NamedTuple):
    """The published set that pairs say they are of."""

    source: str
    split: str | None


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Pairs and what people said of them, a row a pair."""

    pair_hash: Int[np.ndarray, " p"]
    cluster: Int[np.ndarray, " p"]
    """The number of the pair's prompt, below `n_clusters`."""
    n_clusters: int
    label: Int[np.ndarray, " p"]
    """The publisher's verdict: FIRST, SECOND, TIE, BOTH_BAD, or NONE where votes alone are known."""
    majority: Int[np.ndarray, " p"]
    """FIRST or SECOND by the votes, TIE where they are equal."""
    origin: Origin | None = None
    """None where the pairs do not say, or are of several sets."""

    def __len__(self) -> int:
        return len(self.pair_hash)

    @property
    def verdict(self) -> Int[np.ndarray, " p"]:
        """The publisher's verdict, and where there is none the majority's."""
        return np.where(self.label == NONE, self.majority, self.label).astype(np.int8)


@dataclass(frozen=True, kw_only=True)
class Judged(Labelled):
    """Answers beside the truth."""

    name: str = "these answers"
    """What to call them in messages."""
    n_left_out: int = 0
    """Pairs that the truth has besides."""
    note: str | None = None
    """What whoever reads the numbers should know of how the answers were joined to the truth."""
    choice: Int[np.ndarray, " p"]
    """The answer: FIRST, SECOND, TIE, BOTH_BAD, EITHER_TIE, or NONE where there is none."""
    margin: Float[np.ndarray, " p"] | None = None
    """By how much the first image leads: the difference of two scores, or of two probabilities; NaN where there is no
    answer. None where only choices were given."""
    margin_unit: MarginUnit | None = None
    choice_forward: Int[np.ndarray, " p"] | None = None
    choice_swapped: Int[np.ndarray, " p"] | None = None
    """The answers order by order, in the pair's own sides, whichever order is whose; None where the two were not told
    apart."""

    def where(self, keep: Bool[np.ndarray, " p"] | Int[np.ndarray, " k"]) -> "Judged":
        """The pairs that are kept, or those of these places in their order; prompts keep their numbers."""
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v[keep] for k, v in columns.items() if isinstance(v, np.ndarray)})

    def always_first(self) -> "Judged":
        """The answers of a judge who names the image listed first, unseen, and in both orders the same image."""
        first = np.full(len(self), FIRST, dtype=np.int8)
        return replace(
            self,
            choice=first,
            choice_forward=first,
            choice_swapped=first,
            margin=np.ones(len(self)),
            margin_unit="probability",
        )


def side_of(p_first: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The answer that a probability of the first image amounts to: TIE at exactly 0.5, NONE at NaN."""
    return np.where(np.isnan(p_first), NONE, signs_of(p_first)).astype(np.int8)


def judged_from_table(table: PredictionTable) -> Judged:
    """Our own predictions: the answer is p_first, both orders averaged, and NONE where an order has none."""
    return Judged(
        pair_hash=table.pair_hash,
        cluster=table.cluster,
        n_clusters=table.n_clusters,
        label=table.label,
        majority=table.people.astype(np.int8),
        choice=side_of(table.p_first),
        margin=2 * table.p_first - 1,
        margin_unit="probability",
        choice_forward=side_of(table.p_forward),
        choice_swapped=side_of(table.p_swapped),
    )


def without_pairs(judged: Judged, excluded: Int[np.ndarray, " n"], where: str) -> Judged:
    """The pairs that a list does not name.

    Args:
        judged: All pairs.
        excluded: Hashes of ids (`hash_of`).
        where: The list's name, for messages.

    Raises:
        DataError: The list names a pair that is not there, or leaves none.
    """
    unknown = int((~np.isin(excluded, judged.pair_hash)).sum())
    if unknown:
        raise DataError(
            f"{where}: names {unknown} pairs that were not judged, expected pairs of this test set; "
            "make it with 'earshot data overlap TRAIN TEST --out'"
        )
    keep = ~np.isin(judged.pair_hash, excluded)
    if not keep.any():
        raise DataError(f"{where}: names every pair, so that none is left to measure; choose fewer --kind of overlap")
    return replace(judged.where(keep), n_left_out=judged.n_left_out + int((~keep).sum()))
