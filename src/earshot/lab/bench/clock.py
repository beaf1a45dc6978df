"""What time is measured by."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

READINGS = {"wall": time.perf_counter, "cpu": time.process_time}


class Clock(NamedTuple):
    """Seconds of work on a device.

    Attributes:
        kind: `wall`, the time that passes; or `cpu`, the processor's time that this process took, all its threads
            together, which other programs on a shared machine hardly lengthen.
        device: Whose work is waited for.
    """

    kind: str
    device: torch.device

    def now(self) -> float:
        return READINGS[self.kind]()

    def since(self, start: float) -> float:
        """Seconds since a reading, all work on the device done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.now() - start
