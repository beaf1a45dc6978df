"""How often intervals hold the truth, on simulated pair sets whose truth is known.

    python benchmarks/coverage.py --out benchmarks/coverage.json

A prompt's pairs are right with a chance of its own, drawn from a beta distribution, so that two pairs of a prompt are
correlated by exactly `correlation`. Prompts' sizes are drawn from those of ImageReward's test set. `expanded`, the one
that Earshot gives, is what `earshot.stats.bootstrap` says; the three others were not taken and live here alone.

Axes: c clusters (prompts), k columns of totals, r resamples, b resamples at a time, s simulations.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from scipy import special

from earshot.files import write_json
from earshot.rundir import describe_environment
from earshot.stats import LEVEL, Statistic, bootstrap, contrasts, ratio_of_totals
from earshot.stats.intervals import NO_INTERVAL, Interval, expanded_interval
from earshot.stats.resampling import multiplicities
from earshot.stats.totals import macro_of_totals

METHODS = ("percentile", "expanded", "bca", "studentised")
DEFAULT_METHOD = "expanded"

# Strict pairs a prompt in ImageReward's test set, and how many of its 466 prompts have so many.
PAIRS_OF_PROMPT = (5, 6, 8, 9, 12, 13, 14, 18, 19, 24, 25, 32)
PROMPTS_OF_SIZE = (77, 117, 1, 1, 7, 21, 17, 114, 45, 18, 25, 23)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--simulations", type=int, default=2_000, help="simulated pair sets per setting")
    parser.add_argument("--resamples", type=int, default=2_000, help="of each set's prompts")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    options = parser.parse_args()
    done = iter(range(1, len(SETTINGS) + len(SEEDS) + 1))
    tell = lambda: print(f"{next(done)} of {len(SETTINGS) + len(SEEDS)} settings", file=sys.stderr)  # noqa: E731
    result = measure_coverage(options.simulations, options.resamples, options.seed, tell)
    environment = describe_environment(command=f"python benchmarks/coverage.py {' '.join(sys.argv[1:])}")
    write_json(options.out, {**result, "environment": environment})
    print_coverage(result)


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
        for name, found in intervals(statistics, resamples, seed * simulations + batch).items():
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
    return expanded_interval(rng.binomial(int(n), right / n, size=resamples) / n, int(n))


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
        ours, theirs = ({"mean": side} for side in sides)
        found = contrasts(ours, theirs, resamples=resamples, seed=seed * simulations + number)["mean"].estimate()
        count.add((found.low, found.high), 0.0)
    return count


def intervals(statistics: Mapping[str, Statistic], resamples: int, seed: int) -> dict[str, dict[str, Interval]]:
    """The intervals of each statistic by each method, all from the same resamples; (None, None) where there is none."""
    expanded = bootstrap(statistics, resamples=resamples, seed=seed)
    out: dict[str, dict[str, Interval]] = {name: dict.fromkeys(METHODS, NO_INTERVAL) for name in statistics}
    rows = {name: s.rows() for name, s in statistics.items() if np.count_nonzero(s.rows()[:, -1]) > 1}
    if not rows:
        return out
    draws: dict[str, list[np.ndarray]] = {name: [] for name in rows}
    errors: dict[str, list[np.ndarray]] = {name: [] for name in rows}
    # The same seed gives the draws that `bootstrap` saw.
    for times in multiplicities(len(next(iter(rows.values()))), resamples, seed):
        for name, r in rows.items():
            draws[name].append(statistics[name].combine(times @ r))
            errors[name].append(linearised_errors(times, r, statistics[name].combine))
    for name, r in rows.items():
        combine, drawn = statistics[name].combine, np.concatenate(draws[name])
        value, once = statistics[name].value(), np.ones((1, len(r)))
        error = float(linearised_errors(once, r, combine)[0])
        out[name] = {
            "percentile": percentile_interval(drawn, LEVEL),
            "expanded": (expanded[name].low, expanded[name].high),
            "bca": bca_interval(drawn, value, leave_one_out(r, combine), LEVEL),
            "studentised": studentised_interval(drawn, np.concatenate(errors[name]), value, error, LEVEL),
        }
    return out


def percentile_interval(draws: Float[np.ndarray, " r"], level: float) -> Interval:
    """The middle `level` of the draws; NaN draws, in which nothing was observed, are left out.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    return _quantiles(draws, (1 - level) / 2, (1 + level) / 2)


def bca_interval(
    draws: Float[np.ndarray, " r"], value: float, leave_one_out: Float[np.ndarray, " c"], level: float
) -> Interval:
    """Bias-corrected and accelerated: percentiles moved for the draws' bias and for a spread that grows with the value.

    Args:
        draws: The quantity in each resample.
        value: The quantity itself.
        leave_one_out: The quantity without each of the clusters.
        level: Nominal coverage, in (0, 1).

    Source: Efron 1987 (JASA 82); Efron and Tibshirani 1993, equations 14.10, 14.14 and 14.15.
    """
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return NO_INTERVAL
    below = (np.count_nonzero(draws < value) + np.count_nonzero(draws == value) / 2) / len(draws)
    if below in (0.0, 1.0):
        return NO_INTERVAL  # the value lies outside all draws: no percentile of them stands for it
    bias = special.ndtri(below)
    gaps = np.nanmean(leave_one_out) - leave_one_out[~np.isnan(leave_one_out)]
    spread = (gaps**2).sum()
    acceleration = 0.0 if spread == 0 else (gaps**3).sum() / (6 * spread**1.5)
    z = bias + special.ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = special.ndtr(bias + z / (1 - acceleration * z))
    return _quantiles(draws, float(low), float(high))


def studentised_interval(
    draws: Float[np.ndarray, " r"], errors: Float[np.ndarray, " r"], value: float, error: float, level: float
) -> Interval:
    """Bootstrap-t: quantiles of (draw - value) / its own standard error, in place of Student's.

    A resample in which all clusters say the same has no error to divide by and counts as infinitely far away; where
    that makes a limit infinite, there is no interval.

    Args:
        draws: The quantity in each resample.
        errors: Its standard error in each resample.
        value: The quantity itself.
        error: Its standard error.
        level: Nominal coverage, in (0, 1).

    Source: Efron and Tibshirani 1993, section 12.5.
    """
    gaps = draws - value
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(np.abs(gaps) <= 1e-12 * max(1.0, abs(value)), 0.0, gaps / errors)
    t = np.sort(t[~np.isnan(t)])
    if t.size == 0:
        return NO_INTERVAL
    # No interpolation towards an infinite neighbour.
    low, high = np.quantile(t, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    if not (np.isfinite(low) and np.isfinite(high)):
        return NO_INTERVAL
    return float(value - high * error), float(value - low * error)


def _quantiles(draws: Float[np.ndarray, " r"], low: float, high: float) -> Interval:
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return NO_INTERVAL
    a, b = np.quantile(draws, [low, high])
    return float(a), float(b)


def leave_one_out(
    rows: Float[np.ndarray, "c k"], combine: Callable[[np.ndarray], np.ndarray]
) -> Float[np.ndarray, " c"]:
    """The quantity without each of the clusters: the jackknife over clusters."""
    total, block = rows.sum(axis=0), max(1, 2**20 // rows.shape[1])
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


def print_coverage(result: dict[str, Any]) -> None:
    methods = [name for name in result["settings"][0] if isinstance(result["settings"][0][name], dict)]
    console = Console(file=sys.stdout, highlight=False, markup=False)
    console.print(f"{result['simulations']} simulations, nominal {result['level']:.0%}, in percent")
    table = Table("prompts", "correlation", "accuracy", *methods, box=None, padding=(0, 2, 0, 0))
    for row in result["settings"]:
        cells = [f"{100 * row[name]['coverage']:.1f}" for name in methods]
        table.add_row(str(row["prompts"]), str(row["correlation"]), str(row["accuracy"]), *cells)
    console.print(table)
    for row in result["seeds"]:
        found = f"{100 * row['runs']['coverage']:.1f}"
        console.print(f"difference of two methods with {row['seeds']} seeds each: {found}")


if __name__ == "__main__":
    main()
