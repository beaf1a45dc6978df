"""How often intervals hold the truth, on simulated pair sets whose truth is known.

A prompt's pairs are right with a chance of its own, drawn from a beta distribution, so that two pairs of a prompt are
correlated by exactly `correlation`. Prompts' sizes are drawn from those of ImageReward's test set. Every simulation
goes through `earshot.stats.intervals`, as evaluation does.

Axes: c clusters (prompts), s simulations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from earshot.lab.bench.provenance import provenance
from earshot.stats import DEFAULT_METHOD, METHODS, Statistic, bootstrap_runs, intervals, ratio_of_totals
from earshot.stats.intervals import Interval, expanded_interval
from earshot.stats.totals import macro_of_totals

# Strict pairs a prompt in ImageReward's test set, and how many of its 466 prompts have so many.
PAIRS_OF_PROMPT = (5, 6, 8, 9, 12, 13, 14, 18, 19, 24, 25, 32)
PROMPTS_OF_SIZE = (77, 117, 1, 1, 7, 21, 17, 114, 45, 18, 25, 23)
LEVEL = 0.95
BATCH = 20


@dataclass(frozen=True)
class Setting:
    """A population of prompts, and how many of them are seen."""

    prompts: int
    correlation: float
    accuracy: float = 0.67


SETTINGS = (
    *(Setting(prompts, rho) for prompts in (466, 40) for rho in (0.05, 0.2)),
    Setting(40, 0.05, accuracy=0.98),  # a rare event, such as a malformed answer, among few prompts
    *(Setting(10, rho) for rho in (0.05, 0.2)),
)
SEEDS = (2, 3, 5)
PARTS = len(SETTINGS) + len(SEEDS)


@dataclass
class Count:
    """Intervals seen so far."""

    inside: int = 0
    above: int = 0
    below: int = 0
    missing: int = 0
    width: float = 0.0

    def add(self, interval: Interval, truth: float) -> None:
        low, high = interval
        if low is None or high is None:
            self.missing += 1
            return
        self.width += high - low
        self.above += low > truth
        self.below += high < truth
        self.inside += low <= truth <= high

    def record(self) -> dict[str, float | int]:
        """Shares of all simulations; an interval that is missing does not cover."""
        n = self.inside + self.above + self.below + self.missing
        coverage = self.inside / n
        return {
            "coverage": coverage,
            "standard_error": float(np.sqrt(coverage * (1 - coverage) / n)),
            "truth_below": self.above / n,
            "truth_above": self.below / n,
            "missing": self.missing / n,
            "mean_width": self.width / max(1, n - self.missing),
            "n": n,
        }


def measure_coverage(
    simulations: int = 2_000, resamples: int = 2_000, seed: int = 0, on_run: Callable[[], Any] = lambda: None
) -> dict[str, Any]:
    """Coverage of every kind of interval in every setting, beside one that resamples pairs as if they were alone.

    Args:
        simulations: Pair sets per setting.
        resamples: Of the bootstrap in each.
        seed: Of everything that is drawn.
        on_run: Called after each setting.
    """
    start = time.perf_counter()
    rows = []
    for number, setting in enumerate(SETTINGS):
        counts = coverage_of(setting, simulations, resamples, seed=seed + number)
        rows.append({**asdict(setting), **{name: count.record() for name, count in counts.items()}})
        on_run()
    seeds = []
    for n_seeds in SEEDS:
        count = coverage_of_seeds(n_seeds, simulations, resamples, seed=seed)
        seeds.append({"seeds": n_seeds, "prompts": 100, "runs": count.record()})
        on_run()
    return {
        "level": LEVEL,
        "default": DEFAULT_METHOD,
        "simulations": simulations,
        "resamples": resamples,
        "seed": seed,
        "settings": rows,
        "seeds": seeds,
        "seconds": time.perf_counter() - start,
        "provenance": provenance(
            "earshot lab bench coverage", {"simulations": simulations, "resamples": resamples, "seed": seed}
        ),
    }


def coverage_of(setting: Setting, simulations: int, resamples: int, *, seed: int) -> dict[str, Count]:
    """The intervals of the micro and macro mean by each method (`macro.<method>`), and `pairs`, the naive one."""
    rng = np.random.default_rng([seed, 2])
    counts = {name: Count() for name in (*METHODS, *(f"macro.{method}" for method in METHODS), "pairs")}
    sets = simulated(setting, simulations, rng)
    for batch in range(math.ceil(simulations / BATCH)):
        statistics: dict[str, Statistic] = {}
        for number, totals in enumerate(islice(sets, BATCH)):
            statistics[f"{number}"] = Statistic(totals, ratio_of_totals, int(totals[:, 1].sum()))
            statistics[f"macro.{number}"] = macro_of_totals(totals)
            counts["pairs"].add(pair_interval(totals, resamples, rng), setting.accuracy)
        # A batch shares its draws of prompts, as the quantities of one evaluation do.
        for name, found in intervals(statistics, resamples=resamples, seed=seed * simulations + batch).items():
            for method, interval in found.items():
                counts["macro." * name.startswith("macro") + method].add(interval, setting.accuracy)
    return counts


def simulated(setting: Setting, simulations: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Right answers and pairs of each prompt, one array a simulation."""
    weights = np.array(PROMPTS_OF_SIZE) / sum(PROMPTS_OF_SIZE)
    spread = (1 - setting.correlation) / setting.correlation
    for _ in range(simulations):
        sizes = rng.choice(PAIRS_OF_PROMPT, size=setting.prompts, p=weights)
        chances = rng.beta(setting.accuracy * spread, (1 - setting.accuracy) * spread, size=setting.prompts)
        yield np.stack([rng.binomial(sizes, chances), sizes], axis=1).astype(np.float64)


def pair_interval(totals: np.ndarray, resamples: int, rng: np.random.Generator) -> Interval:
    """An interval from resampling n pairs of which x are right: each resample's count is binomial with n and x / n."""
    right, n = totals.sum(axis=0)
    return expanded_interval(rng.binomial(int(n), right / n, size=resamples) / n, LEVEL, int(n))


def coverage_of_seeds(n_seeds: int, simulations: int, resamples: int, *, seed: int) -> Count:
    """Intervals for the difference of two methods over seeds: prompts, and seeds within a method, both matter.

    100 prompts of 10 pairs; standard deviations 0.1 between prompts (of the difference), 0.01 between seeds, and the
    pairs' own 0.4. Half of the variance of a difference of two means of three seeds is then the seeds'.
    """
    rng, count, c, m = np.random.default_rng([seed, 3]), Count(), 100, 10.0
    for number in range(simulations):
        sides = []
        prompts = rng.normal(0, 0.1 / np.sqrt(2), size=(2, c))
        for side in range(2):
            runs = []
            for lucky in rng.normal(0, 0.01, size=n_seeds):
                means = prompts[side] + lucky + rng.normal(0, 0.4 / np.sqrt(m), size=c)
                runs.append(Statistic(np.stack([m * means, np.full(c, m)], axis=1), ratio_of_totals, int(c * m)))
            sides.append(runs)
        found = bootstrap_runs(*sides, resamples=resamples, seed=seed * simulations + number)
        count.add((found.low, found.high), 0.0)
    return count
