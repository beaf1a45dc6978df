"""What keeps a page of ours to itself: headers on every answer, in ASGI's own messages and no framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_HEADERS: Final[Mapping[bytes, bytes]] = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}


def content_policy(*, images: str = "'self'") -> str:
    """Scripts, styles and requests of the page's own server only.

    Args:
        images: Where images may come from.
    """
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def guarded(message: Message, policy: str, defaults: Mapping[bytes, bytes]) -> Message:
    """The start of an answer with these headers, whatever it came with.

    Args:
        message: `http.response.start`.
        policy: From `content_policy`.
        defaults: Headers that an answer has where it does not come with its own.
    """
    given = {name.lower(): value for name, value in message["headers"]}
    always = {b"content-security-policy": policy.encode(), **_HEADERS}
    return {**message, "headers": [*{**defaults, **given, **always}.items()]}
