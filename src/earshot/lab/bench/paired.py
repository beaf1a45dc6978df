"""Paired, interleaved runs: two ways to do the same thing by turns, so that a noisy machine is noisy for both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch

SIDES = ("ours", "stock")


class Ratio(NamedTuple):
    """How many times more stock takes.

    Attributes:
        ratio: Median over the pairs of runs of stock / ours.
        low: The smallest of the pairs' ratios.
        high: The largest.
        ours: Median, in seconds or bytes.
        stock: Median, in seconds or bytes.
        runs: Pairs of runs.
    """

    ratio: float
    low: float
    high: float
    ours: float
    stock: float
    runs: int


def seconds_since(start: float, device: torch.device) -> float:
    """Seconds since a reading of `time.perf_counter`, all work on the device done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def ratio_of(ours: Sequence[float], stock: Sequence[float]) -> Ratio:
    """Compares runs that were made in pairs."""
    ratios = [theirs / own for own, theirs in zip(ours, stock, strict=True)]
    return Ratio(median(ratios), min(ratios), max(ratios), median(ours), median(stock), len(ratios))


def in_turns(
    ours: Callable[[], dict[str, float]],
    stock: Callable[[], dict[str, float]],
    runs: int,
    on_run: Callable[[], Any] = lambda: None,
) -> dict[str, Ratio]:
    """Runs both by turns, the first turn changing from pair to pair, after one run of each that does not count.

    Args:
        ours: One run; returns seconds by part, the parts in which it is compared.
        stock: The same by stock means, with the same parts.
        runs: Pairs of runs.
        on_run: Called after every run, for the display of progress.
    """
    taken = by_turns(dict(zip(SIDES, (ours, stock), strict=True)), runs, on_run)
    return {
        part: ratio_of([run[part] for run in taken["ours"]], [run[part] for run in taken["stock"]])
        for part in taken["ours"][0]
        if part in taken["stock"][0]
    }


def by_turns(
    ways: Mapping[str, Callable[[], dict[str, float]]], runs: int, on_run: Callable[[], Any] = lambda: None
) -> dict[str, list[dict[str, float]]]:
    """Runs several ways by turns, every second round from the last to the first, after a round that does not count.

    Args:
        ways: One run of each, by its name; returns seconds by part.
        runs: Rounds.
        on_run: Called after every run.
    """
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number, name in _turns(runs, [*ways]):
        seconds = ways[name]()
        if number > 0:
            taken[name].append(seconds)
        on_run()
    return taken


def _turns(runs: int, names: Sequence[str]) -> Iterator[tuple[int, str]]:
    for number in range(runs + 1):
        for name in names if number % 2 == 0 else reversed(names):
            yield number, name
