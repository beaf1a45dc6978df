"""The bootstrap over clusters: as many as there are, drawn with replacement, their totals added up.

A hundred thousand pairs cost one matrix product per chunk of resamples, and any number of quantities share the same
draws. `scipy.stats.bootstrap` draws observations, not clusters, and holds all of them; on independent observations
the intervals here agree with its.

Axes: n observations, c clusters, k columns of totals, r resamples, b resamples at a time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import get_args

import numpy as np
from jaxtyping import Float, Int

from earshot.errors import DataError, InputError
from earshot.stats.intervals import (
    NO_INTERVAL,
    Interval,
    Method,
    bca_interval,
    expanded_interval,
    percentile_interval,
    studentised_interval,
)
from earshot.stats.totals import Statistic, macro_statistic, mean_statistic
from earshot.types import Estimate

RESAMPLES = 10_000
LEVEL = 0.95
METHODS: tuple[Method, ...] = get_args(Method)
# Chosen by measured coverage: docs/statistics.md, `earshot lab bench coverage`.
DEFAULT_METHOD: Method = "expanded"
# Draws held at once: 2**20 indices and their counts are about 25 MB, whatever the number of clusters.
CHUNK_CELLS = 2**20


def multiplicities(c: int, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "b c"]]:
    """How often each of c clusters was drawn, for some resamples at a time; the same seed gives the same draws.

    Raises:
        DataError: There is no cluster, or no resample was asked for.
    """
    if c == 0 or resamples < 1:
        raise DataError(f"a bootstrap needs a cluster and a resample; got {c} clusters and {resamples} resamples")
    rng = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // c)
    for start in range(0, resamples, chunk):
        b = min(chunk, resamples - start)
        drawn = rng.integers(0, c, size=(b, c))
        drawn += np.arange(b)[:, None] * c
        yield np.bincount(drawn.ravel(), minlength=b * c).reshape(b, c).astype(np.float64)


def resampled_totals(
    rows: Float[np.ndarray, "c k"], *, resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "r k"]:
    """Totals of `resamples` draws of c clusters with replacement; the same seed gives the same draws."""
    return np.concatenate([times @ rows for times in multiplicities(len(rows), resamples, seed)])


def bootstrap(
    statistics: Mapping[str, Statistic],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    method: Method = DEFAULT_METHOD,
) -> dict[str, Estimate]:
    """Every statistic with its interval, all on the same resamples of the same clusters.

    A statistic without observations is missing. One that was observed in a single cluster has a value and no
    interval: one prompt says nothing of how prompts differ.

    Args:
        statistics: By name; all tell their totals over the same clusters.
        resamples: Draws of the clusters.
        seed: Of the draws.
        level: Nominal coverage of the interval, in (0, 1).
        method: How draws become an interval; see `earshot.stats.intervals`.

    Raises:
        DataError: The statistics do not cover the same clusters.
    """
    found = intervals(statistics, methods=(method,), resamples=resamples, seed=seed, level=level)
    return {name: _estimate(s, *found[name][method]) for name, s in statistics.items()}


def intervals(
    statistics: Mapping[str, Statistic],
    *,
    methods: Sequence[Method] = METHODS,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, dict[Method, Interval]]:
    """The intervals of each statistic by each method, all from the same resamples; (None, None) where there is none.

    Raises:
        DataError: The statistics do not cover the same clusters.
        InputError: A method is unknown, or the level is outside (0, 1).
    """
    if unknown := set(methods) - set(METHODS):
        raise InputError(f"bootstrap: method {min(unknown)!r}, expected one of {', '.join(METHODS)}")
    if not 0 < level < 1:
        raise InputError(f"bootstrap: level {level}, expected one between 0 and 1, such as 0.95")
    if len({len(s.totals) for s in statistics.values()}) > 1:
        raise DataError("statistics of different numbers of clusters cannot share a bootstrap; pass the same clusters")
    rows = {name: s.rows() for name, s in statistics.items()}
    rows = {name: r for name, r in rows.items() if np.count_nonzero(r[:, -1]) > 1}
    drawn = _shared_draws(rows, resamples, seed)
    errors = _shared_errors(rows, statistics, resamples, seed) if "studentised" in methods else {}
    out: dict[str, dict[Method, Interval]] = {name: dict.fromkeys(methods, NO_INTERVAL) for name in statistics}
    for name, r in rows.items():
        draws = statistics[name].combine(drawn[id(r)])
        for method in methods:
            out[name][method] = _interval(method, statistics[name], r, draws, errors.get(name), level)
    return out


def _shared_draws(rows: Mapping[str, np.ndarray], resamples: int, seed: int) -> dict[int, Float[np.ndarray, "r k"]]:
    """Resampled totals by the identity of the rows, each once however many statistics are made of them."""
    once = {id(r): r for r in rows.values()}
    if not once:
        return {}
    ends = np.cumsum([r.shape[1] for r in once.values()])
    drawn = resampled_totals(np.concatenate(list(once.values()), axis=1), resamples=resamples, seed=seed)
    return dict(zip(once, np.split(drawn, ends[:-1], axis=1), strict=True))


def _shared_errors(
    rows: Mapping[str, np.ndarray], statistics: Mapping[str, Statistic], resamples: int, seed: int
) -> dict[str, Float[np.ndarray, " r"]]:
    """Each statistic's standard error in each resample."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in rows}
    # The same seed gives the same draws again, so that nothing of size r × c is kept between the two passes.
    for times in multiplicities(len(next(iter(rows.values()))), resamples, seed) if rows else ():
        for name, r in rows.items():
            parts[name].append(linearised_errors(times, r, statistics[name].combine))
    return {name: np.concatenate(part) for name, part in parts.items()}


def _interval(
    method: Method,
    statistic: Statistic,
    rows: Float[np.ndarray, "c k"],
    draws: Float[np.ndarray, " r"],
    errors: Float[np.ndarray, " r"] | None,
    level: float,
) -> Interval:
    if method == "percentile":
        return percentile_interval(draws, level)
    if method == "expanded":
        return expanded_interval(draws, level, int(np.count_nonzero(rows[:, -1])))
    value = float(statistic.combine(rows.sum(axis=0, keepdims=True))[0])
    if method == "bca":
        return bca_interval(draws, value, leave_one_out(rows, statistic.combine), level)
    assert errors is not None
    error = float(linearised_errors(np.ones((1, len(rows))), rows, statistic.combine)[0])
    return studentised_interval(draws, errors, value, error, level)


def leave_one_out(
    rows: Float[np.ndarray, "c k"], combine: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, " c"]:
    """The quantity without each of the clusters: the jackknife over clusters."""
    total, block = rows.sum(axis=0), max(1, CHUNK_CELLS // rows.shape[1])
    return np.concatenate([combine(total - rows[i : i + block]) for i in range(0, len(rows), block)])


def linearised_errors(
    times: Float[np.ndarray, "b c"], rows: Float[np.ndarray, "c k"], combine: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, " b"]:
    """Cluster-robust standard error of the quantity in each resample, by the delta method.

    The quantity is linearised in its totals, numerically; its variance is that of a sum of c clusters' parts.

    Source: Binder 1983 (International Statistical Review 51); Cameron and Miller 2015 (Journal of Human Resources 50).
    """
    c = len(rows)
    totals, scale = times @ rows, np.abs(rows).sum(axis=0)
    slopes = np.zeros_like(totals)
    for j, size in enumerate(scale):
        if size > 0:
            step = np.zeros(len(scale))
            step[j] = 1e-6 * size
            slopes[:, j] = (combine(totals + step) - combine(totals - step)) / (2 * step[j])
    parts = slopes @ rows.T
    parts -= (times * parts).sum(axis=1, keepdims=True) / c
    return np.sqrt((times * parts**2).sum(axis=1) * (c / (c - 1)))


def _estimate(statistic: Statistic, low: float | None, high: float | None) -> Estimate:
    return Estimate.missing() if statistic.n == 0 else _of_value(statistic.value(), low, high, statistic.n)


def _of_value(value: float, low: float | None, high: float | None, n: int) -> Estimate:
    # A quantity that needs more than there is, such as a correlation within prompts of one pair each.
    return Estimate.missing() if np.isnan(value) else Estimate(value, low, high, n)


def bootstrap_mean(
    values: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    *,
    macro: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    method: Method = DEFAULT_METHOD,
) -> Estimate:
    """A mean and its interval from a bootstrap that resamples clusters.

    Args:
        values: One per observation, finite.
        clusters: The number of each observation's prompt (`cluster_codes`).
        macro: Average the clusters' means instead of the observations; `n` then counts clusters.
        resamples: Draws of the clusters.
        seed: Of the draws.
        level: Nominal coverage, in (0, 1).
        method: How draws become an interval.

    Returns:
        `Estimate.missing()` without observations; `low` and `high` are None where there is one cluster only.
    """
    if values.size == 0:
        return Estimate.missing()
    build = macro_statistic if macro else mean_statistic
    statistic = build(values, clusters, int(clusters.max()) + 1)
    return bootstrap({"mean": statistic}, resamples=resamples, seed=seed, level=level, method=method)["mean"]


def paired_difference(
    a: Float[np.ndarray, " n"],
    b: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    *,
    macro: bool = False,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    method: Method = DEFAULT_METHOD,
) -> Estimate:
    """Mean of `a - b` over the same pairs; what the pairs share cancels, so the interval is narrower than two apart."""
    return bootstrap_mean(a - b, clusters, macro=macro, resamples=resamples, seed=seed, level=level, method=method)
