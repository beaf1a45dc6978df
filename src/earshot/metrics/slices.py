"""Accuracy by what the pairs or the completions are like; every interval resamples the prompts of its slice.

By pair: `by_margin`, `by_axis`, `by_category`, `by_generators`, `hard_pairs`. By well-formed completion, because a
trace and a listener's view belong to one: `by_trace_length`, `by_disagreement`. Strict pairs only, as `accuracy`.

Axes: p pairs, s completions, n observations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from earshot.errors import DataError
from earshot.predictions.sides import differ, flips, right
from earshot.predictions.table import PredictionTable
from earshot.stats import bootstrap_mean
from earshot.types import Estimate

SLICE_RESAMPLES = 2_000
MARGIN_EDGES = (0.2, 0.4, 0.6, 0.8, 1.0)
GAP_EDGES = tuple(i / 10 for i in range(1, 11))
NARROW_MARGIN = 0.2
MOST_GENERATOR_PAIRS = 50


class Slice(NamedTuple):
    """The accuracy of one slice; its `n` counts pairs or completions, as the function says."""

    by: str
    """What was sliced by: `margin`, `axis`, `category`, `generators`, `trace_length`, `disagreement.NAME`, `hard`."""
    name: str
    accuracy: Estimate
    low: float | None = None
    """Bounds of the slice where it is by a number."""
    high: float | None = None


class _Observed(NamedTuple):
    """Observations to slice: right or wrong, and of which prompt."""

    right: Bool[np.ndarray, " n"]
    cluster: Int[np.ndarray, " n"]


class Bootstrap(NamedTuple):
    """How the intervals are drawn."""

    resamples: int = SLICE_RESAMPLES
    seed: int = 0


DRAWS = Bootstrap()


def by_margin(
    table: PredictionTable, edges: Sequence[float] = MARGIN_EDGES, bootstrap: Bootstrap = DRAWS
) -> list[Slice]:
    """By how clear the votes are: |first - second| / all, in (0, 1]; 1 is unanimous. `n` counts pairs."""
    pair, observed = _strict(table)
    total = table.votes_first + table.votes_second
    margin = np.abs(table.votes_first - table.votes_second)[pair] / total[pair]
    return _binned("margin", margin, edges, observed, bootstrap)


def by_axis(table: PredictionTable, bootstrap: Bootstrap = DRAWS) -> list[Slice]:
    """By the question the raters were asked: preference, style, coherence, alignment. `n` counts pairs."""
    return _named("axis", table.axis, table.axes, table, bootstrap)


def by_category(table: PredictionTable, bootstrap: Bootstrap = DRAWS) -> list[Slice]:
    """By the publisher's kind of prompt. `n` counts pairs."""
    return _named("category", table.category, table.categories, table, bootstrap)


def by_generators(
    table: PredictionTable, most: int = MOST_GENERATOR_PAIRS, bootstrap: Bootstrap = DRAWS
) -> list[Slice]:
    """By which two generators made the images, whichever side each is on; the most frequent. `n` counts pairs."""
    low, high = np.minimum(table.model_first, table.model_second), np.maximum(table.model_first, table.model_second)
    code = np.where(low >= 0, low.astype(np.int64) * max(1, len(table.models)) + high, -1)
    codes, number = np.unique(code, return_inverse=True)
    names = [_generators(int(c), table.models) for c in codes]
    slices = _named("generators", np.where(code < 0, -1, number), names, table, bootstrap, most=most)
    return sorted(slices, key=lambda s: (-s.accuracy.n, s.name))


def by_trace_length(
    table: PredictionTable, bins: int = 5, bootstrap: Bootstrap = DRAWS, edges: Sequence[float] | None = None
) -> list[Slice]:
    """By the words of a trace, in bins of about equally many completions. `n` counts well-formed completions.

    Args:
        table: The predictions.
        bins: How many, where no edges are given; fewer where many traces are of one length.
        bootstrap: How the intervals are drawn.
        edges: The bins' upper edges instead, such as `trace_length_edges` of several runs, to tell them side by side.
    """
    sample, observed = _completions(table, np.ones(len(table.malformed), dtype=bool))
    words = table.trace_words[sample].astype(np.float64)
    if not words.size:
        return []
    chosen = trace_length_edges([table], bins) if edges is None else edges
    return _binned("trace_length", words, chosen, observed, bootstrap)


def trace_length_edges(tables: Sequence[PredictionTable], bins: int = 5) -> list[float]:
    """Upper edges of bins with about equally many well-formed completions on strict pairs of all the tables."""
    samples = [_completions(table, np.ones(len(table.malformed), dtype=bool))[0] for table in tables]
    words = np.concatenate([table.trace_words[sample] for table, sample in zip(tables, samples, strict=True)])
    if not words.size:
        return []
    return [float(x) for x in np.unique(np.quantile(words, np.linspace(0, 1, bins + 1)[1:], method="higher"))]


def by_disagreement(
    table: PredictionTable,
    listener: str,
    edges: Sequence[float] = GAP_EDGES,
    bootstrap: Bootstrap = DRAWS,
) -> list[Slice]:
    """By how far a listener is from the reasoner: |p_listener - p_reasoner|, then by whether their sides agree.

    The paper's own figure: the accuracy of answers against the listener's disagreement with their traces. `n` counts
    well-formed completions that the listener was heard on. A listener at exactly 0.5 is on no side and disagrees.

    Raises:
        DataError: No such listener was heard.
    """
    if listener not in table.listeners:
        heard = ", ".join(sorted(table.listeners)) or "none"
        raise DataError(f"no listener is called {listener!r}, expected one that was heard: {heard}")
    by = f"disagreement.{listener}"
    p_listener = table.listeners[listener]
    sample, observed = _completions(table, ~np.isnan(p_listener) & ~np.isnan(table.sample_p_first))
    gap = np.abs(p_listener - table.sample_p_first)[sample]
    slices = _binned(by, gap, edges, observed, bootstrap)
    sample, observed = _completions(table, ~np.isnan(p_listener))
    agrees = ~differ(p_listener[sample], table.side_sign[sample].astype(np.float64))
    for name, where in (("agrees", agrees), ("disagrees", ~agrees)):
        slices += _slice(by, name, where, observed, bootstrap)
    return slices


def hard_pairs(table: PredictionTable, bootstrap: Bootstrap = DRAWS) -> list[Slice]:
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
        *_slice("hard", "narrow votes", narrow, observed, bootstrap),
        *_slice("hard", "orders disagree", answered & ~agree, observed, bootstrap),
        *_slice("hard", "orders agree", agree, observed, bootstrap),
    ]


def _strict(table: PredictionTable) -> tuple[Int[np.ndarray, " n"], _Observed]:
    """The strict pairs, and whether each was answered right; no side is wrong."""
    pair = np.flatnonzero(table.strict)
    return pair, _Observed(right(table.p_first, table.people)[pair], table.cluster[pair])


def _completions(table: PredictionTable, where: Bool[np.ndarray, " s"]) -> tuple[Int[np.ndarray, " n"], _Observed]:
    """The well-formed completions on strict pairs, and whether each names the majority's side."""
    truth = table.people[table.sample_pair]
    sample = np.flatnonzero(where & ~table.malformed & (truth != 0))
    right = table.side_sign[sample] == truth[sample]
    return sample, _Observed(right, table.cluster[table.sample_pair[sample]])


def _named(
    by: str,
    codes: Int[np.ndarray, " p"],
    names: Sequence[str],
    table: PredictionTable,
    bootstrap: Bootstrap,
    most: int | None = None,
) -> list[Slice]:
    pair, observed = _strict(table)
    present, counts = np.unique(codes[pair][codes[pair] >= 0], return_counts=True)
    chosen = present[np.argsort(-counts, kind="stable")][:most]
    slices: list[Slice] = []
    for code in sorted(chosen.tolist()):
        slices += _slice(by, names[code], codes[pair] == code, observed, bootstrap)
    return slices


def _binned(
    by: str,
    values: Float[np.ndarray, " n"],
    edges: Sequence[float],
    observed: _Observed,
    bootstrap: Bootstrap,
) -> list[Slice]:
    """A slice for each bin up to and with its upper edge; the first begins at the smallest value."""
    number = np.searchsorted(np.asarray(edges), values - 1e-12)
    slices: list[Slice] = []
    for k, high in enumerate(edges):
        low = float(values.min()) if k == 0 and values.size else float(edges[k - 1])
        name = f"up to {high:g}" if k == 0 else f"{edges[k - 1]:g} to {high:g}"
        slices += _slice(by, name, number == k, observed, bootstrap, low=low, high=float(high))
    return slices


def _slice(
    by: str,
    name: str,
    where: Bool[np.ndarray, " n"],
    observed: _Observed,
    bootstrap: Bootstrap,
    low: float | None = None,
    high: float | None = None,
) -> list[Slice]:
    """The slice, or none where it is empty."""
    if not where.any():
        return []
    _, cluster = np.unique(observed.cluster[where], return_inverse=True)
    right = observed.right[where].astype(np.float64)
    accuracy = bootstrap_mean(right, cluster, resamples=bootstrap.resamples, seed=bootstrap.seed)
    return [Slice(by, name, accuracy, low, high)]


def _generators(code: int, models: Sequence[str]) -> str:
    return "" if code < 0 else f"{models[code // len(models)]} against {models[code % len(models)]}"
