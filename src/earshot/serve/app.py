"""The HTTP side: routes, health, the page and the description of it all."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from earshot import __version__
from earshot.rundir import plain
from earshot.serve.admission import Admission, Limits, Place
from earshot.serve.answers import WIN_RATE, Answers, Call
from earshot.serve.batching import Batcher, Engine
from earshot.serve.bodies import drain, read_body, understand
from earshot.serve.guard import Guard, refused
from earshot.serve.metrics import CONTENT_TYPE, Metrics
from earshot.serve.refusals import ClientGone, Refusal, internal, late
from earshot.serve.requests import (
    BLUE,
    RED,
    BatchScoreRequest,
    CompareRequest,
    ComputeRequest,
    ListenRequest,
    RankRequest,
    ScoreRequest,
)
from earshot.web import names_of

log = logging.getLogger("earshot.serve")

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["code", "message", "param", "request_id", "retryable"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "param": {"type": ["string", "null"]},
        "request_id": {"type": "string"},
        "retryable": {"type": "boolean"},
    },
}
_STATUSES = {
    400: "The request is no HTTP that is understood.",
    401: "The key is missing or wrong.",
    403: "The Host header, or the site, is not ours.",
    404: "There is no listener.",
    408: "The body did not arrive in time.",
    413: "More than one request may hold.",
    415: "Another media type.",
    422: "Not what is expected.",
    429: "No room; see Retry-After.",
    500: "Our fault.",
    503: "The listener broke, or the server is going away.",
    504: "The deadline passed.",
}


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer.", "content": {"application/json": {"schema": {"type": "object"}}}},
    **{
        status: {"description": text, "content": {"application/json": {"schema": _ERROR_SCHEMA}}}
        for status, text in _STATUSES.items()
    },
}


class _Route(NamedTuple):
    path: str
    body: type[BaseModel]
    answer: Callable[[Any, Call], dict[str, Any]]
    multipart: bool


class Server:
    """A reward model as an ASGI application: `app`, and what its life needs.

    Args:
        model: Who is asked.
        host: The address that clients will call, of which the names in Host headers follow.
        names: Further ones.
        key: What a client must show; None asks for nothing.
        limits: What is let in.
        batch: Comparisons that are made together.
        at_once: How many batches the model may have at a time.
        max_new_tokens: The longest completion, for the count of tokens.
        up: Whether there is a model to ask.

    Attributes:
        app: The application, guarded.
        admission: Close it to let nobody in.
        ready: Whether a first comparison has been made.
    """

    def __init__(
        self,
        model: Engine,
        *,
        host: str = "127.0.0.1",
        names: tuple[str, ...] = (),
        key: bytes | None = None,
        limits: Limits | None = None,
        batch: int = 16,
        at_once: int = 1,
        max_new_tokens: int = 512,
        up: Callable[[], bool] = lambda: True,
    ) -> None:
        self._limits = limits = limits or Limits()
        self._metrics = Metrics()
        self.batcher = Batcher(
            model,
            batch=batch,
            at_once=at_once,
            observe=self._metrics.batch,
            let_in=lambda: self.admission.now.requests,
        )
        self.admission = Admission(limits.together, self.batcher.retry_after_s)
        self._metrics.watch(self.admission)
        self._answers = Answers(model, self.batcher, limits, max_new_tokens)
        # A request waits in a thread of its own; there are never more of them than places.
        self._threads = ThreadPoolExecutor(limits.together.requests, thread_name_prefix="earshot-serve")
        self.ready = threading.Event()
        self._up = up
        self.app = Guard(
            self._routes(),
            names=names_of(host, names),
            key=key,
            admission=self.admission,
            limits=limits,
            metrics=self._metrics,
        )

    def start(self) -> None:
        """Starts asking the model."""
        self.batcher.start()

    def warm_up(self) -> None:
        """Makes a first comparison, so that no client pays for what is only made when it is used.

        Raises:
            Refusal: The model gives none.
        """
        asked = CompareRequest(prompt="a red square", first=RED, second=BLUE)
        call = Call(Place(Admission(self._limits.together)), time.monotonic() + 600)
        self._answers.compare(asked, call)
        self.ready.set()

    def stop(self) -> None:
        """Ends the threads once what was let in is answered."""
        self.batcher.stop()
        self._threads.shutdown()

    def _routes(self) -> FastAPI:
        app = FastAPI(title="Earshot", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
        answers = self._answers
        for route in (
            _Route("/v1/compare", CompareRequest, answers.compare, True),
            _Route("/v1/rank", RankRequest, answers.rank, True),
            _Route("/v1/score", ScoreRequest, answers.score, True),
            _Route("/v1/listen", ListenRequest, answers.listen, True),
            _Route("/compute", ComputeRequest, answers.compute, False),
            _Route("/score", BatchScoreRequest, answers.score_batch, False),
        ):
            self._add(app, route)
        self._add_health(app)
        described = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _add_json(app, "/openapi.json", lambda: (200, described))
        for path, (name, media_type) in _FILES.items():
            _add_file(app, path, (_STATIC / name).read_bytes(), media_type)
        _tell_errors(app)
        return app

    def _add(self, app: FastAPI, route: _Route) -> None:
        async def endpoint(request: Request) -> Response:
            return await self._respond(request, route)

        app.add_api_route(
            route.path,
            endpoint,
            methods=["POST"],
            summary=(route.body.__doc__ or "").partition("\n")[0],
            operation_id=route.path.strip("/").replace("/", "_"),
            response_class=Response,
            responses=_RESPONSES,
            openapi_extra={"requestBody": _described(route)},
        )

    async def _respond(self, request: Request, route: _Route) -> Response:
        state = request.scope["state"]
        request_id = state["request_id"]
        try:
            return _json(await self._work(request, route, state["place"], state["start"]))
        except Refusal as refusal:
            await drain(request.receive, self._limits.drain_bytes)
            return refused(refusal, request_id)
        except ClientGone:
            return Response(status_code=499)
        except Exception:
            log.exception("request %s failed", request_id)
            return refused(internal(), request_id)

    async def _work(self, request: Request, route: _Route, place: Place, start: float) -> dict[str, Any]:
        limit = self._limits.timeout_s
        body = await read_body(request, self._limits, place, max(0.0, start + limit - time.monotonic()))
        call = Call(place, start + limit)
        content_type = request.headers.get("content-type", "")

        def work() -> dict[str, Any]:
            asked = understand(body, content_type, route.body, multipart=route.multipart)
            call.shorten(start, getattr(asked, "timeout_s", None))
            return route.answer(asked, call)

        working = asyncio.get_running_loop().run_in_executor(self._threads, work)
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

    def _add_health(self, app: FastAPI) -> None:
        def ready() -> tuple[int, dict[str, Any]]:
            if self.admission.closed:
                return 503, {"status": "shutting down"}
            if not self.ready.is_set():
                return 503, {"status": "warming up"}
            return (200, {"status": "ok"}) if self._up() else (503, {"status": "without a model"})

        def health() -> tuple[int, dict[str, Any]]:
            status, told = ready()
            return status, told | {"rewards": {WIN_RATE: [WIN_RATE]}}

        _add_json(app, "/livez", lambda: (200, {"status": "ok"}))
        _add_json(app, "/readyz", ready)
        _add_json(app, "/health", health)

        @app.get("/metrics", include_in_schema=False)
        async def metrics() -> Response:
            return Response(self._metrics.text(), media_type=CONTENT_TYPE)


def _heed(working: asyncio.Future[Any]) -> None:
    """Takes note of how the work ended, also where nobody waits for it any more, or asyncio would log a traceback."""
    if not working.cancelled():
        working.exception()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _described(route: _Route) -> dict[str, Any]:
    schema = route.body.model_json_schema(ref_template="#/components/schemas/{model}")
    example = schema.pop("example")
    content = {"application/json": {"schema": _inlined(schema), "example": example}}
    return {"required": True, "content": content}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions put where they are used."""
    definitions = schema.pop("$defs", {})

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return walk(definitions[value["$ref"].rpartition("/")[2]])
            return {key: walk(inner) for key, inner in value.items()}
        return [walk(inner) for inner in value] if isinstance(value, list) else value

    return dict(walk(schema))


def _add_json(app: FastAPI, path: str, answer: Callable[[], tuple[int, Any]]) -> None:
    @app.get(path, operation_id=path.strip("/").replace(".", "_"), include_in_schema=path != "/openapi.json")
    async def endpoint() -> Response:
        status, value = answer()
        return _json(value, status)


def _add_file(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    @app.get(path, include_in_schema=False)
    async def file() -> Response:
        return Response(content, media_type=media_type)


def _tell_errors(app: FastAPI) -> None:
    """The router's own refusals in our form."""

    @app.exception_handler(404)
    async def missing(request: Request, error: Exception) -> Response:
        return refused(Refusal(404, "no_route", "there is no such route; /docs lists them"), _id(request))

    @app.exception_handler(405)
    async def method(request: Request, error: Exception) -> Response:
        answer = refused(Refusal(405, "method", "this route has another method; /docs lists them"), _id(request))
        answer.headers.update(getattr(error, "headers", None) or {})
        return answer


def _id(request: Request) -> str:
    return str(request.scope["state"]["request_id"])


def _json(value: Any, status: int = 200) -> Response:
    # In ASCII, because half an emoji, which models do write, has no UTF-8.
    return Response(json.dumps(plain(value), allow_nan=False), status, media_type="application/json")
