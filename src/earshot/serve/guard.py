"""Stands before every route: who is answered, with which headers, and whether there is a place."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable

from fastapi import Response

from earshot.serve.admission import Admission, Limits
from earshot.serve.bodies import drain
from earshot.serve.metrics import Metrics
from earshot.serve.refusals import Refusal
from earshot.web import Message, Receive, Send, content_policy, guarded, stranger

CONTENT_POLICY = content_policy(images="'self' blob:")
HEALTH = frozenset({"/livez", "/readyz", "/health"})
"""Answered without a key."""
_STRANGERS = {
    "forbidden_host": "this server does not go by the name in the Host header",
    "cross_site": "another site's page may not ask this server",
}


class Guard:
    """Refuses what is not to be answered before anything of it is read.

    Attributes:
        names: See `web.names_of`.
        key: What a client must show; None asks for nothing.
    """

    def __init__(
        self,
        app: Callable[[Message, Receive, Send], Awaitable[None]],
        *,
        names: frozenset[str],
        key: bytes | None,
        admission: Admission,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._app = app
        self._names = names
        self._key = key
        self._admission = admission
        self._limits = limits
        self._metrics = metrics

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        start = time.monotonic()
        request_id = secrets.token_hex(8)
        scope["state"] = {"request_id": request_id, "start": start}
        status = 0
        send_with_headers = guarded(send, CONTENT_POLICY, {b"x-request-id": request_id.encode()})

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send_with_headers(message)

        place = None
        try:
            self._check(scope)
            if scope["method"] == "POST":
                place = scope["state"]["place"] = self._admission.enter()
            await self._app(scope, receive, send_guarded)
        except Refusal as refusal:
            if scope["method"] == "POST":
                await drain(receive, self._limits.drain_bytes)
            await refused(refusal, request_id)(scope, receive, send_guarded)
        finally:
            if place is not None:
                place.leave()
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.request(route, status, time.monotonic() - start)

    def _check(self, scope: Message) -> None:
        """Raises:
        Refusal: The request is not answered.
        """
        if code := stranger(scope, self._names):
            raise Refusal(403, code, _STRANGERS[code])
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        if self._key is not None and scope["path"] not in HEALTH and not self._is_key(shown):
            raise Refusal(401, "wrong_key", "the key is missing or wrong; send Authorization: Bearer KEY")

    def _is_key(self, given: list[bytes]) -> bool:
        assert self._key is not None
        shown = _shown_key(given[0]) if len(given) == 1 else b""
        # As long as it takes for the right one, whatever is shown.
        return hmac.compare_digest(shown, self._key)


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


def refused(refusal: Refusal, request_id: str) -> Response:
    """The answer to a request that is not answered."""
    headers = {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    if refusal.status == 401:
        headers["www-authenticate"] = 'Basic realm="Earshot: any name, the key as password", Bearer'
    content = json.dumps(refusal.as_dict(request_id))
    return Response(content, refusal.status, headers=headers, media_type="application/json")
