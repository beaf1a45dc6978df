"""What every server of ours does before its routes: whom it answers, with which headers, and where it listens.

In ASGI's own messages and no framework.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any, Final, Literal

from earshot.errors import InputError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEADERS: Final[Mapping[bytes, bytes]] = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]+\]")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?")


def content_policy(*, images: str = "'self'") -> str:
    """Scripts, styles and requests of the page's own server only.

    Args:
        images: Where images may come from.
    """
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {images}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def kept_to_itself(policy: str) -> dict[bytes, bytes]:
    """The headers that keep a page of ours, and every answer, to itself.

    Args:
        policy: From `content_policy`.
    """
    return {b"content-security-policy": policy.encode(), b"cache-control": b"no-store", **_HEADERS}


def guarded(send: Send, policy: str, defaults: Mapping[bytes, bytes] | None = None) -> Send:
    """Sends answers with the headers that keep a page of ours to itself, whatever they come with.

    Args:
        send: To the client.
        policy: From `content_policy`.
        defaults: Headers that an answer has where it does not come with its own, besides `no-store`.
    """
    always = kept_to_itself(policy)
    defaults = {b"cache-control": always.pop(b"cache-control"), **(defaults or {})}

    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower(): value for name, value in message["headers"]}
            message = {**message, "headers": [*{**defaults, **given, **always}.items()]}
        await send(message)

    return send_guarded


def names_of(host: str, others: Collection[str] = ()) -> frozenset[str]:
    """The names that a request to a server on `host` may carry; `*` stands for any address."""
    names = {*map(_in_a_url, (*LOOPBACK, host.lower())), *(name.lower() for name in others)}
    if host not in LOOPBACK:
        names.add(socket.gethostname().lower())
    if host in ("0.0.0.0", "::"):  # every address of the machine; a page elsewhere would carry a name
        names.add("*")
    return frozenset(names)


def stranger(
    scope: Message, names: Collection[str], others: Collection[str] = ()
) -> Literal["forbidden_host", "cross_site"] | None:
    """Why a request is not to be answered: it calls us by another's name, or another site's page sent it.

    A page elsewhere can point a name of its own at our address; its requests then still carry that name. The port is
    not looked at, because a tunnel to this machine has another. A page says where it came from in `Origin`, and to
    trustworthy addresses in `Sec-Fetch-Site`, too; whatever is not a browser sends neither.

    Args:
        scope: Of the request.
        names: From `names_of`.
        others: Those of them that were added; a page under one of them is ours although a proxy has changed the Host.
    """
    hosts = _all_of(scope, b"host")
    name = _name_in(hosts[0]) if len(hosts) == 1 else ""
    if name not in names and not ("*" in names and _ADDRESS.fullmatch(name)):
        return "forbidden_host"
    if scope["path"] == "/":  # anybody may link to it
        return None
    ours = {other.lower() for other in others}
    for origin in _all_of(scope, b"origin"):
        scheme, _, page = origin.partition("://")
        if scheme not in ("http", "https") or (page.lower() != hosts[0].lower() and _name_in(page) not in ours):
            return "cross_site"
    return "cross_site" if "cross-site" in _all_of(scope, b"sec-fetch-site") else None


def _all_of(scope: Message, header: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == header]


def _name_in(host: str) -> str:
    """The name in `NAME:PORT`; empty where it is none."""
    found = _HOST.fullmatch(host)
    return found["name"].lower() if found else ""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a browser that comes before the server is ready waits; port 0 is any free one.

    Raises:
        InputError: The address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"host {host!r} is no address of this machine ({error.strerror}); choose another") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise InputError(
            f"port {port} of {host} cannot be had ({error.strerror}); choose another --port, or 0 for any"
        ) from error
    return listener


def address_of(listener: socket.socket, host: str, scheme: str = "http") -> str:
    """What a browser on this machine is told: the address of a server that listens for `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://{_in_a_url(host)}:{listener.getsockname()[1]}/"


def _in_a_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
