"""What a client is told when it is not answered: a code, a sentence of ours, and never what an exception says."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """A request that is not answered.

    Its message is written here, in this package: exception texts of libraries name paths and addresses.

    Attributes:
        status: Of HTTP.
        code: For programs; docs/serve.md lists them.
        message: For people: what was found, what was expected, the next step.
        param: The field of the request it is about; None for the request as a whole.
        retryable: Whether the same request may succeed later.
        retry_after_s: When, as far as is known.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retryable: bool = False,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retryable = retryable
        self.retry_after_s = retry_after_s

    def as_dict(self, request_id: str) -> dict[str, Any]:
        """The body of the answer."""
        return {
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "request_id": request_id,
            "retryable": self.retryable,
        }


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


def late() -> Refusal:
    """The deadline has passed."""
    return Refusal(504, "deadline_exceeded", "the deadline passed before the answer was there", retryable=True)


def internal() -> Refusal:
    """Our fault; the log has it under the request's id."""
    return Refusal(500, "internal", "the server failed; its log has the cause under this request_id")
