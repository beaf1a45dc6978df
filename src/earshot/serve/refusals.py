"""What a client is told when it is not answered: a code, a sentence of ours, and never what an exception says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from earshot.web import content_policy

POLICY: Final = content_policy(images="'self' blob:")
"""Of every answer, refusals included."""
RETRYABLE: Final = frozenset({408, 429, 503, 504})
"""Statuses after which the same request may succeed later."""


class Refused(BaseModel):
    """The body of the answer to a request that is refused."""

    code: str
    message: str
    param: str | None
    request_id: str
    retryable: bool


class Refusal(Exception):
    """A request that is not answered.

    Its message is written here, in this package: exception texts of libraries name paths and addresses. Pydantic's, of
    a field that is not what its schema says, name neither.

    Attributes:
        status: Of HTTP.
        code: For programs; docs/serve.md lists them.
        message: For people: what was found, what was expected, the next step.
        param: The field of the request it is about; None for the request as a whole.
        headers: Of the answer, such as when to come back.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = headers or {}

    def told(self, request_id: str) -> Refused:
        """What the client reads."""
        return Refused(
            code=self.code,
            message=self.message,
            param=self.param,
            request_id=request_id,
            retryable=self.status in RETRYABLE,
        )


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def late() -> Refusal:
    """The deadline has passed."""
    return Refusal(504, "deadline_exceeded", "the deadline passed before the answer was there")


def internal() -> Refusal:
    """Our fault; the log has it under the request's id."""
    return Refusal(500, "internal", "the server failed; its log has the cause under this request_id")


def no_worker() -> Refusal:
    """Processes have died, and others are not there yet."""
    text = "no process is there to ask; try again later"
    return Refusal(503, "no_worker", text, headers={"retry-after": "5"})
