"""metrics.json of more predictions than fit in memory: tables are added chunk by chunk and forgotten.

Everything that `summarise` tells is made of totals per prompt, which add up over chunks, so the result is that of one
table of all rows. Kept are the totals (a few kilobytes a prompt), the wins of each generator over each other in each
prompt, and eight bytes a pair, to notice a pair that comes twice.

Axes: p pairs, c clusters (prompts), w distinct (prompt, winner, loser).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Int

from earshot.errors import DataError
from earshot.metrics.calibration import ReliabilityBin, bins_of_statistics, reliability_statistics
from earshot.metrics.estimates import summary, table_counts, table_statistics
from earshot.metrics.table import PredictionTable
from earshot.stats import RESAMPLES, Statistic, Stream, ratio_of_totals

CHUNK_ROWS = 8_192
# A generator's number takes so many bits of a cell's, and a prompt's the rest.
MODEL_BITS = 16


class MetricStream:
    """Adds up predictions; `summary` is what `summarise` says of one table of them all."""

    def __init__(self, *, listeners: Sequence[str] = ()) -> None:
        """Start with nothing.

        Args:
            listeners: Names that were asked; those heard in any chunk are added.
        """
        self._listeners = set(listeners)
        self._stream = Stream()
        self._bins = Stream()
        self._counts: dict[str, int] = {}
        self._prompts: dict[str, int] = {}
        self._models: dict[str, int] = {}
        self._wins = _Wins()
        self._hashes: list[np.ndarray] = []

    def add(self, table: PredictionTable, prompts: Sequence[str]) -> None:
        """Add a chunk.

        Args:
            table: Its predictions. Prompts may come again in any other chunk, pairs may not.
            prompts: The names of the table's prompts, by their numbers in it.

        Raises:
            DataError: There are not as many names as prompts.
        """
        if len(prompts) != table.n_clusters or len(set(prompts)) != len(prompts):
            raise DataError(
                f"{len(set(prompts))} names for {table.n_clusters} prompts, expected one each, by the table's numbers"
            )
        codes = _numbers(prompts, self._prompts)
        self._listeners |= set(table.listeners)
        self._stream.add(table_statistics(table, sorted(self._listeners)), codes)
        self._bins.add(_reliability(table), codes)
        for name, count in table_counts(table).items():
            self._counts[name] = self._counts.get(name, 0) + count
        self._wins.add(table, codes, _numbers(table.models, self._models))
        self._hashes.append(table.pair_hash)

    def add_rows(self, rows: Iterable[Mapping[str, Any]], *, where: str = "predictions") -> None:
        """Add rows of a predictions.jsonl, of which no more than a few thousand are held at once.

        Raises:
            DataError: As `PredictionTable.from_rows`; of the lines of a later chunk the number counts from its start.
        """
        rows = iter(rows)
        for start in range(0, 2**62, CHUNK_ROWS):
            seen: dict[str, None] = {}
            chunk = list(islice(rows, CHUNK_ROWS))
            if not chunk:
                return
            table = PredictionTable.from_rows(_noting(chunk, seen), where=f"{where} after row {start}")
            self.add(table, list(seen))

    def statistics(self) -> dict[str, Statistic]:
        """Every statistic of everything added, over the prompts in the order in which they were first seen.

        Raises:
            DataError: Nothing was added, or a pair's id came twice.
        """
        if not self._hashes:
            raise DataError("no predictions were added, expected at least one; run 'earshot eval' first")
        hashes = np.concatenate(self._hashes)
        self._hashes = [hashes]
        if len(np.unique(hashes)) != len(hashes):
            raise DataError("a pair's id comes twice, expected each once; evaluate into an empty directory")
        found = self._stream.statistics()
        # Not additive itself: what a generator did in all other prompts is known at the end only.
        return found | {"blind.generator_prior": self._wins.prior(self._stream.n_clusters)}

    def summary(self, *, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
        """The content of metrics.json, as `summarise` gives it, without protocols.

        Raises:
            DataError: As `statistics`.
        """
        statistics = self.statistics()
        counts = self._counts | {"n_prompts": len(self._prompts)}
        return summary(counts, statistics, sorted(self._listeners), resamples=resamples, seed=seed)

    def reliability(self, *, resamples: int = RESAMPLES, seed: int = 0) -> list[ReliabilityBin]:
        """The reliability diagram of everything added, over pairs with votes and a p_first."""
        return bins_of_statistics(self._bins.statistics(), resamples=resamples, seed=seed)


def _reliability(table: PredictionTable) -> dict[str, Statistic]:
    total = table.votes_first + table.votes_second
    voted = (total > 0) & ~np.isnan(table.p_first)
    share = table.votes_first[voted] / total[voted]
    return reliability_statistics(table.p_first[voted], share, table.cluster[voted], table.n_clusters)


class _Wins:
    """How often each generator was preferred to each other, by prompt; only cells that occur take room."""

    def __init__(self) -> None:
        self._cells, self._counts = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)

    def add(self, table: PredictionTable, prompts: Int[np.ndarray, " c"], models: Int[np.ndarray, " m"]) -> None:
        if len(models) and models.max() >= 1 << MODEL_BITS:
            raise DataError(f"more than {1 << MODEL_BITS} generators, expected names of generators, not of images")
        pair = np.flatnonzero(
            (table.model_first >= 0) & (table.model_second >= 0) & (table.votes_first != table.votes_second)
        )
        first_won = (table.votes_first > table.votes_second)[pair]
        first, second = (
            models[side[pair]] if len(models) else pair for side in (table.model_first, table.model_second)
        )
        winner, loser = np.where(first_won, first, second), np.where(first_won, second, first)
        cells, counts = np.unique(
            (prompts[table.cluster[pair]] << (2 * MODEL_BITS)) | (winner << MODEL_BITS) | loser, return_counts=True
        )
        merged, at = np.unique(np.concatenate([self._cells, cells]), return_inverse=True)
        both = np.concatenate([self._counts, counts]).astype(np.float64)
        self._cells, self._counts = merged, np.bincount(at, weights=both, minlength=len(merged)).astype(np.int64)

    def prior(self, n_clusters: int) -> Statistic:
        """`blind.generator_prior`: the generator that wins a larger share of its pairs in all other prompts."""
        prompt = self._cells >> (2 * MODEL_BITS)
        winner = (self._cells >> MODEL_BITS) & ((1 << MODEL_BITS) - 1)
        loser = self._cells & ((1 << MODEL_BITS) - 1)
        n_models = int(max(winner.max(initial=0), loser.max(initial=0))) + 1
        sides, at = np.unique(
            np.concatenate([prompt, prompt]) * n_models + np.concatenate([winner, loser]), return_inverse=True
        )
        count = self._counts.astype(np.float64)
        played_here = np.bincount(at, weights=np.concatenate([count, count]), minlength=len(sides))
        won_here = np.bincount(at, weights=np.concatenate([count, 0 * count]), minlength=len(sides))
        model = sides % n_models
        played = np.bincount(model, weights=played_here, minlength=n_models)[model] - played_here
        won = np.bincount(model, weights=won_here, minlength=n_models)[model] - won_here
        share = np.divide(won, played, out=np.full(len(sides), 0.5), where=played > 0)
        right = (1 + np.sign(share[at[: len(count)]] - share[at[len(count) :]])) / 2
        totals = [np.bincount(prompt, weights=weights, minlength=n_clusters) for weights in (right * count, count)]
        return Statistic(np.stack(totals, axis=1).astype(np.float64), ratio_of_totals, int(count.sum()))


def _numbers(names: Iterable[str], known: dict[str, int]) -> Int[np.ndarray, " n"]:
    """The number of each name in the whole data set; new names are added."""
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)


def _noting(rows: Iterable[Mapping[str, Any]], seen: dict[str, None]) -> Iterator[Mapping[str, Any]]:
    """The rows, with their prompts noted in the order in which a table numbers them."""
    for row in rows:
        yield row
        # After the row was taken: one that lacks a prompt is the table's to refuse, with its place.
        seen.setdefault(str(row["prompt_id"]))
