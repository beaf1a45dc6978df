"""Two files of answers to the same pairs, held against each other: the difference is paired, prompt by prompt."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from earshot.benchmarks.answers import Judged
from earshot.benchmarks.joining import found
from earshot.benchmarks.protocols import Protocol
from earshot.errors import DataError
from earshot.stats import RESAMPLES, bootstrap, difference
from earshot.types import Estimate


class Comparison(NamedTuple):
    """One file's metric less another's, over the pairs that both have."""

    difference: Estimate
    score: Estimate
    against: Estimate
    n_shared: int
    """Pairs that both have."""
    n_only: int
    """Pairs that the file alone has."""
    n_only_against: int

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON file."""
        counts = {name: getattr(self, name) for name in ("n_shared", "n_only", "n_only_against")}
        scores = {"score": self.score.as_record(), "score_against": self.against.as_record()}
        return {**self.difference.as_record(), **scores, **counts}


def compare(
    one: tuple[Protocol, Judged], against: tuple[Protocol, Judged], *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """The metric of `one` less that of `against`, over the pairs that both have, on the same resamples of the prompts.

    Args:
        one: The metric, with its own threshold where it takes one, and the answers.
        against: The same metric and other answers.
        resamples: Of the prompts.
        seed: Of the bootstrap.

    Raises:
        InputError: The metric takes a threshold and has none.
        DataError: They share no pair, tell of other people's answers to one, or lack what the metric compares.
    """
    a, b = shared(one[1], against[1])
    statistics = {"score": one[0].statistic(a)[0], "against": against[0].statistic(b)[0]}
    statistics["difference"] = difference(statistics["score"], statistics["against"])
    return Comparison(
        **bootstrap(statistics, resamples=resamples, seed=seed),
        n_shared=len(a),
        n_only=len(one[1]) - len(a),
        n_only_against=len(against[1]) - len(b),
    )


def shared(one: Judged, other: Judged) -> tuple[Judged, Judged]:
    """The answers to the pairs that both have, in the same order and with the same numbers of prompts.

    Raises:
        DataError: They share none, or say otherwise what people preferred or of which prompt a pair is.
    """
    at = found(other.pair_hash, one.pair_hash)
    a, b = one.where(at >= 0), other.where(at[at >= 0])
    if not len(a):
        raise DataError(f"{one.name}, and {other.name}: share no pair, expected the same ones; give two of one set")
    differ = int(((a.label != b.label) | (a.majority != b.majority)).sum())
    prompts = {len(np.unique(c, axis=0)) for c in (a.cluster, b.cluster, np.stack([a.cluster, b.cluster], axis=1))}
    if differ or len(prompts) > 1:
        what = f"{differ} of {len(a)} shared pairs have other votes" if differ else "shared pairs have other prompts"
        raise DataError(f"{one.name}, and {other.name}: {what}, expected answers to the same pairs in the same sides; "
                        "give two of one set")  # fmt: skip
    return a, replace(b, cluster=a.cluster, n_clusters=a.n_clusters)
