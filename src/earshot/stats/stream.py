"""Statistics of a data set that comes in chunks, in the memory of its prompts.

Totals are additive, so a chunk's are added to those of its clusters and the chunk is forgotten. What is kept is one
row per cluster and statistic, whatever the number of pairs.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from earshot.errors import DataError
from earshot.stats.totals import Statistic


class Stream:
    """Adds up the statistics of chunks; clusters may come again in any chunk, and new ones may turn up at any time."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._shapes: dict[str, Statistic] = {}
        self.n_clusters = 0

    def add(self, statistics: Mapping[str, Statistic], clusters: Int[np.ndarray, " m"]) -> None:
        """Add a chunk.

        Args:
            statistics: Of the chunk alone, over its own m clusters.
            clusters: The number, in the whole data set, of each of the chunk's clusters; none twice.

        Raises:
            DataError: A cluster stands twice or has a negative number, or a statistic changed its shape.
        """
        if len(np.unique(clusters)) != len(clusters) or (clusters.size and clusters.min() < 0):
            raise DataError("a chunk's clusters hold a number twice or below 0, expected each cluster once")
        self.n_clusters = max(self.n_clusters, int(clusters.max(initial=-1)) + 1)
        for name, statistic in statistics.items():
            m, k = statistic.totals.shape
            if m != len(clusters):
                raise DataError(f"{name}: totals of {m} clusters in a chunk of {len(clusters)}, expected as many")
            self._room(name, k)[clusters] += statistic.totals
            self._shapes[name] = statistic._replace(totals=np.zeros((0, k)))

    def _room(self, name: str, k: int) -> Float[np.ndarray, "c k"]:
        """The sums of a statistic, with a row for every cluster so far; room is doubled when it runs out."""
        sums = self._sums.get(name, np.zeros((0, k)))
        if sums.shape[1] != k:
            raise DataError(f"{name}: {k} columns of totals after chunks of {sums.shape[1]}, expected as many")
        if len(sums) < self.n_clusters:
            more = max(self.n_clusters, 2 * len(sums)) - len(sums)
            sums = np.concatenate([sums, np.zeros((more, k))])
        self._sums[name] = sums
        return sums

    def statistics(self) -> dict[str, Statistic]:
        """The statistics of everything added, all over the same clusters."""
        return {name: self._whole(name, shape) for name, shape in self._shapes.items()}

    def _whole(self, name: str, shape: Statistic) -> Statistic:
        whole = shape._replace(totals=self._room(name, shape.totals.shape[1])[: self.n_clusters])
        return whole._replace(n=round(float(whole.rows()[:, -1].sum())))
