"""Pickles of other programs, in which nothing is obeyed: plain values are read, and any name in them is a refusal."""

from __future__ import annotations

import io
import pickle
from typing import Any, Final, NoReturn

from earshot.serve.refusals import Refusal

MEDIA_TYPE: Final = "application/octet-stream"
_PROTOCOL: Final = 4
"""Python 3.8's and later."""


class _Plain(pickle.Unpickler):
    """Reads containers, texts, bytes and numbers. Whatever else a pickle can do begins with a name that it looks up."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("a persistent id")


def unpickled(body: bytes) -> Any:
    """The plain value of a pickle.

    Raises:
        Refusal: It is no pickle, or holds something that is no plain value.
    """
    try:
        return _Plain(io.BytesIO(body)).load()
    except Exception:  # a pickle can make any of its instructions fail in a way of their own
        raise Refusal(
            422,
            "invalid_pickle",
            "the body is no pickle of plain values; expected a dictionary of prompts, texts, and images, files' bytes",
        ) from None


def pickled(value: Any) -> bytes:
    """Plain values as a pickle."""
    return pickle.dumps(value, protocol=_PROTOCOL)
