"""A line of results for each phase, written as soon as it is known; also of tests, as a plugin of pytest."""

from __future__ import annotations

import json
import os
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REHEARSAL = os.environ.get("GPU_REHEARSAL") == "1"
"""On the CPU with tiny models, to see that every phase runs; its figures mean nothing."""
OUT = Path(os.environ.get("OUT", "runs/gpu"))
DEADLINE = float(os.environ.get("GPU_DEADLINE", "inf"))
"""`time.time()` at which this process ends."""
_FELL_BACK = ("not captured as a graph", "rows stay plain", "prefixes are not shared")


def note(phase: str, **values: Any) -> None:
    """Adds a line to `results.jsonl`."""
    OUT.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"phase": phase, **values}, default=float)
    print(line, flush=True)
    with (OUT / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def lines() -> list[dict[str, Any]]:
    """All lines so far."""
    file = OUT / "results.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def run(phase: str, measure: Callable[[], dict[str, Any]], limit_s: float) -> None:
    """Runs a phase within its limit and the process's; what it found, or how it failed, is its line.

    A warning that something fell back on a slower way is a failure: the phase measured another thing than it says.
    """
    left_s = DEADLINE - time.time()
    if left_s < 3:
        note(phase, skipped=f"{left_s:.0f} s left")
        return
    began = time.perf_counter()
    try:
        with _limited(min(limit_s, left_s)), warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = measure()
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"[:1000]}
    else:
        if fallen := sorted(
            {str(one.message) for one in told if any(words in str(one.message) for words in _FELL_BACK)}
        ):
            found = {**found, "error": f"fell back: {'; '.join(fallen)}"[:1000]}
    note(phase, **found, s=round(time.perf_counter() - began, 2))


@contextmanager
def _limited(limit_s: float) -> Iterator[None]:
    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {limit_s:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def pytest_runtest_logreport(report: Any) -> None:
    """A line for every test, with the figures that it recorded."""
    if report.when != "call" and report.passed:
        return
    found = dict(report.user_properties)
    if report.failed:
        found["error"] = str(getattr(report.longrepr, "reprcrash", report.longrepr))[-1000:]
    elif report.skipped:
        found["skipped"] = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    file, _, test = report.nodeid.partition("::")
    note(f"test/{Path(file).stem.removeprefix('test_')}/{test}", **found, s=round(report.duration, 2))
