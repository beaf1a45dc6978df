"""Who is answered."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

from earshot.serve.refusals import Refusal
from earshot.serve.secret_files import Keys
from earshot.web import Message, stranger

HEALTH = frozenset({"/livez", "/readyz", "/health"})
"""Answered without a key."""
_STRANGERS = {
    "forbidden_host": "this server does not go by the name in the Host header; start it with --name NAME to add one",
    "cross_site": "another site's page may not ask this server",
}


def check_caller(scope: Message, names: Collection[str], others: Collection[str], keys: Keys | None) -> str:
    """Passes whoever is answered, before anything of the request is read.

    Args:
        scope: Of the request.
        names: See `web.names_of`.
        others: See `web.stranger`.
        keys: Of which a client must show one; None asks for nothing.

    Returns:
        The name of its key; nothing where none is asked for.

    Raises:
        Refusal: The request is not answered.
    """
    if code := stranger(scope, names, others):
        raise Refusal(403, code, _STRANGERS[code])
    shown = [value for name, value in scope["headers"] if name == b"authorization"]
    if keys is None or scope["path"] in HEALTH:
        return ""
    name = keys.name(_shown_key(shown[0]) if len(shown) == 1 else b"")
    if name is None:
        asks = 'Basic realm="Earshot: any name, the key as password", Bearer'
        message = "the key is missing or wrong; send Authorization: Bearer KEY"
        raise Refusal(401, "wrong_key", message, headers={"www-authenticate": asks})
    return name


def _shown_key(authorization: bytes) -> bytes:
    """The key of `Bearer KEY`, or the password of `Basic`, which is what a browser sends when it has asked for one."""
    scheme, _, value = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
