"""How long the metrics of a large set take, and in how much memory: a made-up set, chunk by chunk, as a stream.

Axes: p pairs, s samples.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from earshot.errors import InputError
from earshot.lab.bench.provenance import provenance
from earshot.metrics.stream import MetricStream
from earshot.metrics.table import NONE, PredictionTable

BLOCK = 4_096
"""Pairs drawn at once, each block from its own seed, so that a set is the same in chunks of any number of blocks."""
GENERATORS = tuple(f"generator {number}" for number in range(24))


@dataclass(frozen=True)
class Population:
    """A set that is made up on the fly: which pairs, how many votes a pair, over how many prompts."""

    pairs: int = 64_000
    votes: int = 19
    prompts: int = 280
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("pairs", "votes", "prompts"):
            if getattr(self, name) < 1:
                raise InputError(f"bench metrics: {name} {getattr(self, name)}, expected at least 1")


def measure_metrics(
    population: Population,
    *,
    resamples: int = 10_000,
    chunk: int = 16 * BLOCK,
    on_chunk: Callable[[int], Any] = lambda pairs: None,
) -> dict[str, Any]:
    """Seconds and memory of every estimate of metrics.json and of a reliability diagram, with intervals.

    `seconds` is all of it, making up the set included. `peak_bytes` is the most memory that this process ever held,
    interpreter and libraries included, so it is of use in a process that did nothing else.

    Args:
        population: What is measured.
        resamples: Of the prompts.
        chunk: Pairs held at once.
        on_chunk: Called with the number of pairs of each chunk when it was added.
    """
    start = time.perf_counter()
    making, stream = 0.0, MetricStream()
    chunks, more = chunks_of(population, chunk), True
    while more:
        before = time.perf_counter()
        more = (made := next(chunks, None)) is not None
        making += time.perf_counter() - before
        if made is not None:
            stream.add(*made)
            on_chunk(len(made[0].p_first))
    added = time.perf_counter()
    summary = stream.summary(resamples=resamples, seed=population.seed)
    stream.reliability(resamples=resamples, seed=population.seed)
    end = time.perf_counter()
    options = {**asdict(population), "resamples": resamples, "chunk": chunk}
    return {
        "seconds": end - start,
        "peak_bytes": peak_bytes(),
        "pairs": population.pairs,
        "votes": population.pairs * population.votes,
        "resamples": resamples,
        "seconds_of": {"making_up": making, "adding": added - start - making, "resampling": end - added},
        "estimates": sum(1 for value in summary.values() if isinstance(value, dict)),
        "accuracy": summary["accuracy"],
        "provenance": provenance("earshot lab bench metrics", options),
    }


def peak_bytes() -> int:
    """The most physical memory that this process held so far (VmHWM; elsewhere than on Linux, ru_maxrss).

    On Linux ru_maxrss may be that of the parent at the time it started this process, VmHWM is not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def chunks_of(population: Population, chunk: int) -> Iterator[tuple[PredictionTable, list[str]]]:
    """The set in tables of `chunk` pairs (a whole number of blocks), each with the names of its prompts.

    Raises:
        InputError: The chunk is no whole number of blocks.
    """
    if chunk < 1 or chunk % BLOCK:
        raise InputError(f"bench metrics: chunk {chunk}, expected a multiple of {BLOCK}")
    names = [f"prompt {number}" for number in range(population.prompts)]
    for start in range(0, population.pairs, chunk):
        stop = min(start + chunk, population.pairs)
        blocks = [_block(population, first, min(first + BLOCK, stop)) for first in range(start, stop, BLOCK)]
        columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        yield _table(columns, population), names


def _block(population: Population, start: int, stop: int) -> dict[str, np.ndarray]:
    """Columns of the pairs from `start` to `stop`: a utility per pair, its votes, two noisy readings of it."""
    rng, n = np.random.default_rng([population.seed, start // BLOCK]), stop - start
    prompt = rng.integers(0, population.prompts, size=n)
    # Some prompts are harder than others, which is what correlates their pairs.
    hardness = 0.3 + np.modf(prompt * 0.618)[0]
    utility = rng.normal(size=n)
    columns = {
        "pair_hash": np.arange(start, stop),
        "cluster": prompt,
        "votes_first": rng.binomial(population.votes, special.expit(utility)).astype(np.float64),
        "first_bytes": rng.integers(10_000, 99_999, size=n).astype(np.float64),
        "second_bytes": rng.integers(10_000, 99_999, size=n).astype(np.float64),
        "model_first": rng.integers(0, len(GENERATORS), size=n).astype(np.int32),
        "model_second": rng.integers(0, len(GENERATORS), size=n).astype(np.int32),
    }
    for order in ("forward", "swapped"):
        p = special.expit(1.5 * (utility + hardness * rng.normal(size=n)))
        columns[f"p_{order}"] = np.where(rng.random(n) < 0.01, np.nan, p)  # a malformed answer has no p
        columns[f"kin_{order}"], columns[f"far_{order}"] = (
            special.expit(utility + noise * rng.normal(size=n)) for noise in (0.5, 1.5)
        )
        columns[f"words_{order}"] = rng.integers(20, 200, size=n)
    return columns


def _table(columns: dict[str, np.ndarray], population: Population) -> PredictionTable:
    n = len(columns["cluster"])
    both = {name: np.stack([columns[f"{name}_forward"], columns[f"{name}_swapped"]], axis=1).ravel()
            for name in ("p", "kin", "far", "words")}  # fmt: skip
    malformed = np.isnan(both["p"])
    side = np.where(malformed, 0, np.where(both["p"] > 0.5, 1, -1))
    swapped = np.arange(2 * n) % 2 == 1
    nothing, none = np.full(n, np.nan), np.full(n, -1, dtype=np.int32)
    return PredictionTable(
        **{name: columns[name] for name in ("pair_hash", "cluster", "p_forward", "p_swapped", "votes_first")},
        **{name: columns[name] for name in ("first_bytes", "second_bytes", "model_first", "model_second")},
        n_clusters=population.prompts,
        p_first=(columns["p_forward"] + columns["p_swapped"]) / 2,
        votes_second=population.votes - columns["votes_first"],
        first_pixels=nothing,
        second_pixels=nothing,
        label=np.full(n, NONE, dtype=np.int8),
        axis=none,
        category=none,
        axes=(),
        categories=(),
        models=GENERATORS,
        sample_pair=np.repeat(np.arange(n), 2),
        malformed=malformed,
        side_sign=side,
        shown_verdict=np.where(side == 0, 0, np.where((side == 1) != swapped, 1, 2)),
        trace_words=both["words"],
        sample_p_first=both["p"],
        true_claims=np.full(2 * n, np.nan),
        false_claims=np.full(2 * n, np.nan),
        listeners={name: np.where(malformed, np.nan, both[name]) for name in ("kin", "far")},
    )
