"""The HTTP side: one page, three JSON answers and pictures, to this machine only."""

import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query, Response

from earshot.errors import DataError
from earshot.rundir import plain
from earshot.view import query as queries
from earshot.view.library import Kind, Library
from earshot.view.pictures import Size, picture
from earshot.web import Message, Receive, Send, content_policy, guarded, names_of, stranger

PAGE_ROWS = 50
_STATIC = Path(__file__).parent / "static"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/render.js": ("render.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

CONTENT_POLICY = content_policy()
_NAMES = names_of("127.0.0.1")
_STRANGERS = {
    "forbidden_host": "this server answers to 127.0.0.1 and localhost only",
    "cross_site": "another site's page may not ask this server",
}


class Guard:
    """Answers only to this machine's own names, and puts the headers on every answer that keep the page to itself."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        send = guarded(send, CONTENT_POLICY)
        if code := stranger(scope, _NAMES):
            await Response(_STRANGERS[code], 403, media_type="text/plain")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def create_app(library: Library) -> FastAPI:
    """The application that shows a library. It only reads, and names no path of the machine."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard)
    session = secrets.token_hex(4)

    for path, (name, media_type) in _FILES.items():
        _serve_file(app, path, (_STATIC / name).read_bytes(), media_type)

    @app.get("/api/state")
    def state() -> Response:
        return _json({"session": session, "page_rows": PAGE_ROWS, **library.state()})

    @app.get("/api/rows/{kind}")
    def rows(
        kind: Kind,
        source: Annotated[int | None, Query(ge=0)] = None,
        verdict: Literal["right", "wrong", "open"] | None = None,
        malformed: bool = False,
        flips: bool = False,
        listener: Annotated[str | None, Query(max_length=200)] = None,
        text: Annotated[str, Query(max_length=200)] = "",
        order: Annotated[str, Query(pattern=f"^({'|'.join(queries.ORDERS)})$")] = "file",
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        wanted = queries.Query(source, verdict, malformed, flips, listener or None, text, order)
        found = library.select(kind, wanted)
        shown = found.rows[offset : offset + PAGE_ROWS].tolist()
        page = {"total": len(found.rows), "offset": offset, "rows": library.summaries(kind, shown)}
        return _json({**page, "counts": found.counts, "ready": library.ready})

    @app.get("/api/row/{kind}/{row}")
    def row(kind: Kind, row: int) -> Response:
        detail = library.detail(kind, row)
        if detail is None:
            raise HTTPException(404, "there is no such row, or its file was written again; reload the page")
        return _json(detail)

    @app.get("/image/{kind}/{row}/{side}")
    def image(kind: Kind, row: int, side: Literal["first", "second"], size: Size = "small") -> Response:
        try:
            file = library.image(kind, row, side)
            if file is None:
                raise HTTPException(404, "there is no such row, or no pair set that has its images")
            content = picture(file, size)
        except DataError as error:  # what was wrong with the file, and no path of this machine
            raise HTTPException(404, f"the image cannot be shown ({type(error).__name__})") from error
        # The page's addresses of images hold the session: a later server's rows are other rows.
        return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})

    return app


def _serve_file(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    @app.get(path)
    def file() -> Response:
        return Response(content, media_type=media_type)


def _json(value: Any) -> Response:
    # In ASCII, because half an emoji, which models do write, has no UTF-8.
    return Response(json.dumps(plain(value), allow_nan=False), media_type="application/json")
