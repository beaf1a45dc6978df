"""What came of some work, on its way from one of our processes to another."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any


def pack(work: Callable[[], Any]) -> bytes:
    """What came of some work: its result, or its error with the traceback as a note."""
    try:
        return pickle.dumps(work())
    except Exception as error:
        error.add_note("in a worker:\n" + traceback.format_exc())
        try:
            pickle.loads(data := pickle.dumps(error))
        except Exception:  # an error of a kind that cannot be sent
            return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
        return data


def unpack(data: bytes) -> Any:
    """The result of `pack`ed work.

    Args:
        data: From a process of ours; what a stranger sends is never unpickled.

    Raises:
        Exception: The error that the work ended with.
    """
    result = pickle.loads(data)
    if isinstance(result, Exception):
        raise result
    return result
