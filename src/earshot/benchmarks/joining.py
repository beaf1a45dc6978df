"""Joining the rows of a file to the truth by hashes, and what keeps the two from fitting.

Axes: n rows of the file, m hashes that are known, p pairs of the truth.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Int

from earshot.data.row_files import Row
from earshot.errors import DataError, short

T = TypeVar("T")


def number(value: Any) -> float:
    """A finite number, NaN for null.

    Raises:
        ValueError: Anything else; NaN as well, because a file that means "missing" says null.
    """
    if value is None:
        return float("nan")
    if isinstance(value, bool):
        raise ValueError(f"a score is {value}, expected a number or null")
    try:
        score = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"a score is {short(value)}, expected a number or nothing (null, an empty cell)") from None
    if not np.isfinite(score):
        raise ValueError(f"a score is {score}, expected a finite number or nothing (null, an empty cell)")
    return score


def parsed(read: Callable[[Row], T], row: Row, path: Path, row_number: int) -> T:
    """What `read` makes of a row; what it stumbles over becomes a DataError that names the file and the row."""
    try:
        return read(row)
    except (KeyError, TypeError, ValueError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path} row {row_number}: {what}; mend the row") from error


def found(hashes: Int[np.ndarray, " n"], wanted: Int[np.ndarray, " p"]) -> Int[np.ndarray, " p"]:
    """Where in `hashes` each wanted one stands; -1 where it does not."""
    order = np.argsort(hashes)
    at = np.minimum(np.searchsorted(hashes[order], wanted), len(hashes) - 1)
    return np.where(hashes[order[at]] == wanted, order[at], -1)


def refuse_repeats(hashes: Int[np.ndarray, " n"], where: Path | str) -> None:
    """Raises DataError where two rows of a file are of one pair."""
    order = np.argsort(hashes, kind="stable")
    again = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if again.size:
        one, two = order[again[0]] + 1, order[again[0] + 1] + 1
        raise DataError(
            f"{where} row {two}: is of the same pair as row {one}, expected each once ({again.size} such rows); keep "
            "one of them"
        )


def refuse_absent(lacking: Bool[np.ndarray, " p"], path: Path, where: str, what: str) -> None:
    """Raises DataError where a pair of the truth has no answer; `what` is what it lacks."""
    if lacking.any():
        raise DataError(
            f"{path}: {int(lacking.sum())} of {len(lacking)} pairs of {where} have {what}, the first is its pair "
            f"{int(np.argmax(lacking)) + 1}; score them, or say what they are (--absent unanswered, --absent left-out)"
        )
