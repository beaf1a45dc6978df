"""The most memory that tensors took during a piece of work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


class Peak:
    """Bytes above what was held at the beginning; 0 until the work is over."""

    bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measures the work inside by what torch's allocator hands out, which does not depend on what ran before.

    On a CPU that is what the profiler sees of the allocator; on a GPU the allocator's own count.
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        torch.cuda.synchronize(device)
        peak.bytes = torch.cuda.max_memory_allocated(device) - held
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or it writes two lines to standard error
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        yield peak
    peak.bytes = _highest(recorded)


def _highest(recorded: Any) -> int:
    """The highest sum of all allocations so far less all releases, in the order in which they happened."""
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = highest = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        highest = max(highest, held)
    return highest
