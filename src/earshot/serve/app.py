"""The HTTP side: routes, health, the page and the description of it all."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import secrets
import threading
import time
from collections import ChainMap
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from mimetypes import guess_type
from pathlib import Path
from string import Template
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from earshot.files import plain
from earshot.serve.admission import Admission, Limits
from earshot.serve.answers import WIN_RATE, Answers
from earshot.serve.batching import Batcher
from earshot.serve.bodies import drain, read_body, understand
from earshot.serve.calls import Call
from earshot.serve.decoding import Decode, decode_here
from earshot.serve.engine import Engine, asks_about_edits, note_of
from earshot.serve.guard import check_caller
from earshot.serve.metrics import Metrics
from earshot.serve.openapi import describe
from earshot.serve.pickles import MEDIA_TYPE, pickled
from earshot.serve.refusals import POLICY, ClientGone, Refusal, internal, late
from earshot.serve.requests import (
    PROMPT,
    STATIC,
    THIRD,
    BatchScoreRequest,
    Body,
    CompareRequest,
    ComputeRequest,
    ListenRequest,
    PickledRequest,
    RankRequest,
    ScoreRequest,
)
from earshot.serve.secret_files import Keys
from earshot.web import Message, Receive, Send, guarded, names_of

log = logging.getLogger("earshot.serve")

_STATES = {
    "/livez": "Whether it lives, or only another start will help.",
    "/readyz": "Whether it has made a first comparison, has a model, and is not going away.",
    "/health": "The same, and the names of its rewards.",
    "/metrics": "Counts, times and what is under way, as Prometheus reads them.",
    "/openapi.json": "This description.",
}


class Server:
    """A reward model as an ASGI application, and what its life needs.

    Args:
        model: Who is asked.
        host: The address that clients will call, of which the names in Host headers follow.
        names: Further ones.
        root_path: What a proxy has before our paths, such as `/earshot`, whether it takes it off or not.
        keys: Of which a client must show one, as they are now; None asks for nothing.
        limits: What is let in.
        batch: Comparisons that are made together.
        tokens: What they may come to; see `Queue`.
        at_once: How many batches the model may have at a time.
        max_new_tokens: The longest completion, for the count of tokens.
        decode: How images are decoded; `Decoders` does it where a bomb does no harm.
        up: How many batches can be asked about now.
        who: Who judges, who reads along and who decides, for the top of the page.

    Attributes:
        admission: Close it to let nobody in.
        answered_s: The most that a request may take.
        metrics: What Prometheus is told.
        ready: Whether a first comparison has been made.
    """

    def __init__(
        self,
        model: Engine,
        *,
        host: str = "127.0.0.1",
        names: tuple[str, ...] = (),
        root_path: str = "",
        keys: Callable[[], Keys] | None = None,
        limits: Limits | None = None,
        batch: int = 16,
        tokens: int = 16 * 4096,
        at_once: int = 1,
        max_new_tokens: int = 512,
        decode: Decode = decode_here,
        pickles: bool = False,
        up: Callable[[], int] | None = None,
        who: Mapping[str, str] | None = None,
    ) -> None:
        self._limits = limits = limits or Limits()
        self.answered_s = limits.timeout_s
        self._names, self._others = names_of(host, names), names
        self.root_path = root_path
        self._keys = keys
        self.admission = Admission(limits.together, lambda: self.batcher.retry_after_s())
        # Who is alive, told apart from who holds something, so that one can be held against the other.
        self._heard: dict[Hashable, None] = {}
        self._working: dict[Hashable, None] = {}
        self.metrics = Metrics(
            self.admission,
            lost=self._lost,
            alive=lambda: len({*self._heard, *self._working}),
            up=lambda: self._up(),
        )
        self.batcher = Batcher(
            model,
            batch=batch,
            tokens=tokens,
            at_once=at_once,
            up=up,
            observe=self.metrics.batch,
            let_in=lambda: self.admission.now.requests,
        )
        # A request waits in a thread of its own; there are never more of them than places.
        self._threads = ThreadPoolExecutor(self.admission.room.requests, thread_name_prefix="earshot-serve")
        self.ready = threading.Event()
        self._up = up or (lambda: at_once)
        self._answers = answers = Answers(model, self.batcher, limits, max_new_tokens, decode)
        self._posts: dict[str, tuple[type[Body], Callable[[Any, Call], dict[str, Any]]]] = {
            "/v1/compare": (CompareRequest, answers.compare),
            "/v1/rank": (RankRequest, answers.rank),
            "/v1/score": (ScoreRequest, answers.score),
            "/v1/listen": (ListenRequest, answers.listen),
            "/compute": (ComputeRequest, answers.compute),
            "/score": (BatchScoreRequest, answers.score_batch),
            **({"/pickle": (PickledRequest, answers.pickled)} if pickles else {}),
        }
        described = describe({path: body for path, (body, _) in self._posts.items()}, _STATES, root_path)
        self._gets: dict[str, Callable[[], Response]] = {
            "/livez": self._life,
            "/readyz": self._state,
            "/health": lambda: self._state(rewards={WIN_RATE: [WIN_RATE]}),
            "/metrics": lambda: Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST),
            "/openapi.json": lambda: _json(described),
            "/": lambda: _front(note_of(model), who or {}, limits),
            "/docs": _page(STATIC / "docs.html"),
            **{f"/{file.name}": _page(file) for file in STATIC.iterdir() if file.name != "index.html"},
        }

    def start(self) -> None:
        """Starts asking the model."""
        self.batcher.start()

    def warm_up(self) -> None:
        """Makes a first comparison, so that no client pays for what is only made when it is used.

        Raises:
            Refusal: The model gives none.
        """
        original = {"original": THIRD} if asks_about_edits(self._answers.model) else {}
        asked = CompareRequest.model_validate(CompareRequest.example | original)
        self._answers.compare(asked, Call(Admission(self._limits.together), time.monotonic() + 600))
        self.ready.set()

    def stop(self) -> None:
        """Ends the threads once what was let in is answered."""
        self.batcher.stop()
        self._threads.shutdown()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        start = time.monotonic()
        if self.root_path and f"{scope['path']}/".startswith(f"{self.root_path}/"):
            scope = {**scope, "path": scope["path"].removeprefix(self.root_path)}
        request_id = secrets.token_hex(8)
        send = guarded(send, POLICY, {b"x-request-id": request_id.encode()})
        client, _ = scope.get("client") or ("", None)
        call = Call(self.admission, start + self._limits.timeout_s, client)
        status = 0
        try:
            response = await self._respond(Request(scope, receive), request_id, call, start)
            status = response.status_code
            await response(scope, receive, send)
        finally:
            call.let_go()
            self._heard.pop(call, None)
            path = scope["path"] if scope["path"] in {*self._posts, *self._gets} else "none"
            self.metrics.request(path, status, call.key, time.monotonic() - start)

    async def _respond(self, request: Request, request_id: str, call: Call, start: float) -> Response:
        """The answer to any request, or why there is none."""
        try:
            return await self._route(request, call, start)
        except Refusal as error:
            refusal = error
        except ClientGone:
            return Response(status_code=499)
        except Exception:
            log.exception("request %s of key %r failed", request_id, call.key)
            refusal = internal()
        if request.method == "POST":
            await drain(request.receive, self._limits.drain_bytes)
        return _json(refusal.told(request_id).model_dump(), refusal.status, refusal.headers)

    async def _route(self, request: Request, call: Call, start: float) -> Response:
        call.key = check_caller(request.scope, self._names, self._others, self._keys() if self._keys else None)
        path = request.scope["path"]
        methods = ("POST",) if path in self._posts else ("GET", "HEAD")
        if not path:  # a page's own addresses begin where it seems to lie
            return Response(status_code=308, headers={"location": f"{self.root_path}/"})
        if path not in self._posts and path not in self._gets:
            raise Refusal(404, "no_route", "there is no such route; /docs lists them")
        if request.method not in methods:
            text = "this route has another method; /docs lists them"
            raise Refusal(405, "method", text, headers={"allow": ", ".join(methods)})
        if path in self._gets:
            return self._gets[path]()
        self._heard[call] = None
        call.take(requests=1)
        told = await self._work(request, call, start)
        pickles = self._posts[path][0].pickled
        return Response(pickled(told), media_type=MEDIA_TYPE) if pickles else _json(told)

    async def _work(self, request: Request, call: Call, start: float) -> dict[str, Any]:
        model, answer = self._posts[request.scope["path"]]
        call.take(requests=-1, uploads=1)  # one that is slow to send its body is in nobody's way
        body = await read_body(request, self._limits, call, max(0.0, call.deadline - time.monotonic()))
        call.take(requests=1, uploads=-1)
        content_type = request.headers.get("content-type", "")

        def work() -> dict[str, Any]:
            asked = understand(body, content_type, model)
            if asked.timeout_s is not None:
                call.deadline = min(call.deadline, start + asked.timeout_s)
            return answer(asked, call)

        working = asyncio.wrap_future(self._begin(call, work))
        working.add_done_callback(_heed)
        gone = asyncio.ensure_future(_gone(request))
        try:
            left = max(0.0, call.deadline - time.monotonic()) + 1.0  # the thread itself says that it is late
            waited: set[asyncio.Future[Any]] = {working, gone}
            await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ClientGone if gone.done() else late()
        finally:
            gone.cancel()
            call.over()
            with suppress(asyncio.CancelledError):
                await gone

    def _begin(self, call: Call, work: Callable[[], dict[str, Any]]) -> Future[dict[str, Any]]:
        """Begins a request's work in a thread, which holds what the request holds until it ends."""

        def ended(_: Future[dict[str, Any]]) -> None:
            call.let_go()
            del self._working[call]

        working = self._threads.submit(work)
        call.join()
        self._working[call] = None
        working.add_done_callback(ended)  # it comes before anybody is told the result
        return working

    def _lost(self) -> int:
        """Places of requests that nobody sees to any more: none, unless there is a fault in here."""
        return self.admission.lost(ChainMap(self._heard, self._working))

    def _life(self) -> Response:
        lives = self.batcher.lives()
        return _json({"status": "ok" if lives else "broken"}, 200 if lives else 503)

    def _state(self, **more: Any) -> Response:
        """Whether it is as well to ask."""
        if self.admission.closed:
            status = "shutting down"
        elif self._lost():
            status = "losing places"
        elif not self.ready.is_set():
            status = "warming up"
        else:
            status = "ok" if self._up() else "without a model"
        return _json({"status": status, **more}, 200 if status == "ok" else 503)


def _heed(working: asyncio.Future[Any]) -> None:
    """Takes note of how the work ended, also where nobody waits for it any more, or asyncio would log a traceback."""
    if not working.cancelled():
        working.exception()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _front(note: str | None, who: Mapping[str, str], limits: Limits) -> Response:
    """The page, which says at its top who is asked and what to know of them."""
    named = " · ".join(f"{html.escape(role)} <strong>{html.escape(name)}</strong>" for role, name in who.items())
    text = Template((STATIC / "index.html").read_text(encoding="utf-8")).substitute(
        who=f'<p id="who">{named}</p>' if named else "",
        note="" if note is None else f'<p id="note" class="note">{html.escape(note)}</p>',
        prompt=html.escape(PROMPT),
        most=limits.images,
    )
    return Response(text, media_type="text/html")


def _page(file: Path) -> Callable[[], Response]:
    return partial(Response, file.read_bytes(), media_type=guess_type(file)[0])


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # In ASCII, because half an emoji, which models do write, has no UTF-8.
    return Response(json.dumps(plain(value), allow_nan=False), status, headers, media_type="application/json")
