"""The index of what is shown: columns that grow at their end while requests read them."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

GAP = "gap."
"""Columns of this prefix hold, by listener, how far a listener is from the reasoner where they are on different
sides, and NaN where they are not."""

RIGHT, WRONG, OPEN = 1, 0, -1
"""Codes of `outcome`: the verdict is people's, is not, or people have none (a tie, both bad, no votes)."""

OUTCOMES = {"right": RIGHT, "wrong": WRONG, "open": OPEN}


def outcomes(right: Bool[np.ndarray, " n"], people: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The codes, by whether the answer is right and the signs of people's sides."""
    return np.where(people == 0, OPEN, np.where(right, RIGHT, WRONG))


COMMON: Mapping[str, str] = {"alive": "?", "source": "u2", "outcome": "i1", "malformed": "?", "flip": "?"}
"""What both kinds of rows have. `alive` is False once the file that a row was read from is another."""


class Columns:
    """Columns of one length. One thread appends; any number read snapshots, which stay as they are.

    A million rows take about 40 bytes each and 4 more for each listener.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._columns = {name: np.zeros(1024, dtype) for name, dtype in {**COMMON, **types}.items()}
        self._length = 0
        self.version = 0
        """Grows with every change."""

    def __len__(self) -> int:
        return self._length

    def append(self, values: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
        """Adds rows; a `gap.` column seen for the first time gets NaN in the rows before, one left out in these."""
        count = len(values["source"])
        with self._lock:
            start, end = self._length, self._length + count
            for name in values:
                if name not in self._columns:
                    self._columns[name] = np.full(len(self._columns["alive"]), np.nan, np.float32)
            if end > len(self._columns["alive"]):
                self._grow(max(end, 2 * start))
            for name, column in self._columns.items():
                if name == "alive":
                    column[start:end] = True
                elif name in values or not name.startswith(GAP):
                    column[start:end] = values[name]
            self._length = end
            self.version += 1

    def _grow(self, size: int) -> None:
        for name, old in self._columns.items():
            grown = np.full(size, np.nan, old.dtype) if name.startswith(GAP) else np.zeros(size, old.dtype)
            grown[: len(old)] = old
            self._columns[name] = grown  # a snapshot keeps the old one

    def drop(self, column: str, value: int) -> None:
        """Marks the rows with this value in a column as dead; their numbers stay taken."""
        with self._lock:
            dead = self._columns[column][: self._length] == value
            alive = self._columns["alive"].copy()
            alive[: self._length] &= ~dead
            self._columns["alive"] = alive
            self.version += 1

    def snapshot(self) -> dict[str, np.ndarray]:
        """All columns as far as they are filled."""
        with self._lock:
            return {name: column[: self._length] for name, column in self._columns.items()}
