"""Accuracy by what the pairs or the completions are like; every interval resamples the prompts of its slice.

By pair: `by_margin`, `by_axis`, `by_category`, `by_generators`, `hard_pairs`. By well-formed completion, because a
trace and a listener's view belong to one: `by_trace_length`, `by_disagreement`. Strict pairs only, as `accuracy`.

Axes: p pairs, s completions, n observations.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from earshot.predictions.sides import differ, flips, right
from earshot.predictions.table import PredictionTable
from earshot.stats import bootstrap_mean
from earshot.types import Estimate

SLICE_RESAMPLES = 1_000
"""Of the prompts, for the intervals of slices and bins: a report has hundreds."""
MARGIN_EDGES = (0.2, 0.4, 0.6, 0.8, 1.0)
GAP_EDGES = tuple(i / 10 for i in range(1, 11))
NARROW_MARGIN = 0.2
MOST_GENERATOR_PAIRS = 50


class Slice(NamedTuple):
    """The accuracy of one slice; its `n` counts pairs or completions, as the function says."""

    name: str
    accuracy: Estimate
    high: float | None = None
    """Upper bound of the slice where it is by a number."""


class _Observed(NamedTuple):
    """Observations to slice: right or wrong, and of which prompt."""

    right: Bool[np.ndarray, " n"]
    cluster: Int[np.ndarray, " n"]


def by_margin(table: PredictionTable) -> list[Slice]:
    """By how clear the votes are: |first - second| / all, in (0, 1]; 1 is unanimous. `n` counts pairs."""
    pair, observed = _strict(table)
    total = table.votes_first + table.votes_second
    margin = np.abs(table.votes_first - table.votes_second)[pair] / total[pair]
    return _binned(margin, MARGIN_EDGES, observed)


def by_axis(table: PredictionTable) -> list[Slice]:
    """By the question the raters were asked: preference, style, coherence, alignment. `n` counts pairs."""
    return _named(table.axis, table.axes, table)


def by_category(table: PredictionTable) -> list[Slice]:
    """By the publisher's kind of prompt. `n` counts pairs."""
    return _named(table.category, table.categories, table)


def by_generators(table: PredictionTable) -> list[Slice]:
    """By which two generators made the images, whichever side each is on; the most frequent. `n` counts pairs."""
    low, high = np.minimum(table.model_first, table.model_second), np.maximum(table.model_first, table.model_second)
    m = max(1, len(table.models))
    codes, number = np.unique(np.where(low >= 0, low.astype(np.int64) * m + high, -1), return_inverse=True)
    names = ["" if code < 0 else f"{table.models[code // m]} against {table.models[code % m]}" for code in codes]
    slices = _named(np.where(codes < 0, -1, np.arange(len(codes)))[number], names, table, most=MOST_GENERATOR_PAIRS)
    return sorted(slices, key=lambda s: (-s.accuracy.n, s.name))


def by_trace_length(table: PredictionTable, edges: Sequence[float]) -> list[Slice]:
    """By the words of a trace, in bins up to the edges. `n` counts well-formed completions."""
    sample, observed = _completions(table, ~table.malformed)
    return _binned(table.trace_words[sample].astype(np.float64), edges, observed)


def trace_length_edges(tables: Sequence[PredictionTable], bins: int = 5) -> list[float]:
    """Upper edges of bins with about equally many well-formed completions on strict pairs of all the tables.

    They are fewer where many traces are of one length, and none where there is no such completion.
    """
    words = [table.trace_words[_completions(table, ~table.malformed)[0]] for table in tables]
    if not sum(len(one) for one in words):
        return []
    quantiles = np.quantile(np.concatenate(words), np.linspace(0, 1, bins + 1)[1:], method="higher")
    return [float(x) for x in np.unique(quantiles)]


def by_disagreement(table: PredictionTable, listener: str) -> list[Slice]:
    """By how far a listener is from the reasoner: |p_listener - p_reasoner|, then by whether their sides agree.

    The paper's own figure: the accuracy of answers against the listener's disagreement with their traces. `n` counts
    well-formed completions that the listener was heard on; without any there are no slices. A listener at exactly 0.5
    is on no side and disagrees.
    """
    p_listener = table.listeners.get(listener, np.full(len(table.malformed), np.nan))
    heard = ~table.malformed & ~np.isnan(p_listener)
    sample, observed = _completions(table, heard & ~np.isnan(table.sample_p_first))
    slices = _binned(np.abs(p_listener - table.sample_p_first)[sample], GAP_EDGES, observed)
    sample, observed = _completions(table, heard)
    agrees = ~differ(p_listener[sample], table.side_sign[sample].astype(np.float64))
    return [*slices, *_slice("agrees", agrees, observed), *_slice("disagrees", ~agrees, observed)]


def hard_pairs(table: PredictionTable) -> list[Slice]:
    """Pairs that are hard to judge: narrow votes, or two sides named in the two orders. `n` counts pairs.

    `narrow votes`: a margin of at most 0.2. `orders disagree`: the reasoner's side changes with the order of the
    images; `orders agree` are the others that it answered in both.
    """
    pair, observed = _strict(table)
    total = table.votes_first + table.votes_second
    narrow = np.abs(table.votes_first - table.votes_second)[pair] <= NARROW_MARGIN * total[pair]
    forward, swapped = table.p_forward[pair], table.p_swapped[pair]
    answered = ~np.isnan(forward) & ~np.isnan(swapped)
    agree = answered & ~flips(forward, swapped)
    return [
        *_slice("narrow votes", narrow, observed),
        *_slice("orders disagree", answered & ~agree, observed),
        *_slice("orders agree", agree, observed),
    ]


def _strict(table: PredictionTable) -> tuple[Int[np.ndarray, " n"], _Observed]:
    """The strict pairs, and whether each was answered right; no side is wrong."""
    pair = np.flatnonzero(table.strict)
    return pair, _Observed(right(table.p_first, table.people)[pair], table.cluster[pair])


def _completions(table: PredictionTable, where: Bool[np.ndarray, " s"]) -> tuple[Int[np.ndarray, " n"], _Observed]:
    """Those of the well-formed completions that are on strict pairs, and whether each names the majority's side."""
    truth = table.people[table.sample_pair]
    sample = np.flatnonzero(where & (truth != 0))
    right = table.side_sign[sample] == truth[sample]
    return sample, _Observed(right, table.cluster[table.sample_pair[sample]])


def _named(
    codes: Int[np.ndarray, " p"], names: Sequence[str], table: PredictionTable, most: int | None = None
) -> list[Slice]:
    """A slice for each name of which there are pairs, or for the most frequent ones; a code below 0 is no name."""
    pair, observed = _strict(table)
    present, counts = np.unique(codes[pair][codes[pair] >= 0], return_counts=True)
    chosen = present[np.argsort(-counts, kind="stable")][:most]
    return [s for code in sorted(chosen.tolist()) for s in _slice(names[code], codes[pair] == code, observed)]


def _binned(values: Float[np.ndarray, " n"], edges: Sequence[float], observed: _Observed) -> list[Slice]:
    """A slice for each bin up to and with its upper edge."""
    number = np.searchsorted(np.asarray(edges), values - 1e-12)
    names = [f"up to {edges[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(edges))] if edges else []
    return [s for k, name in enumerate(names) for s in _slice(name, number == k, observed, high=float(edges[k]))]


def _slice(name: str, where: Bool[np.ndarray, " n"], observed: _Observed, high: float | None = None) -> list[Slice]:
    """The slice, or none where it is empty."""
    if not where.any():
        return []
    _, cluster = np.unique(observed.cluster[where], return_inverse=True)
    accuracy = bootstrap_mean(observed.right[where].astype(np.float64), cluster, resamples=SLICE_RESAMPLES)
    return [Slice(name, accuracy, high)]
