"""What the server's log says: where something failed and with which kind of error, and nothing that a client wrote."""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import TypeAlias

Info: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class WithoutTexts(logging.Formatter):
    """Tracebacks without what the errors say, for that may quote a prompt: their types and places, cause by cause."""

    def formatException(self, ei: Info) -> str:
        lines: list[str] = []
        error = ei[1]
        while error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            places = [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames]
            lines = [*places, f"{type(error).__name__} (--log-prompts shows its text)", *lines]
            error = error.__cause__ or error.__context__
        return "\n".join(lines)


def log_to_stderr(*, prompts: bool) -> None:
    """Sends all that is logged, uvicorn's too, to stderr.

    Args:
        prompts: Whether the texts of errors are told, which may hold what clients wrote.
    """
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(form) if prompts else WithoutTexts(form))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("earshot.serve").setLevel(logging.INFO)
