"""The HTTP side: one page, three JSON answers and pictures, to this machine only."""

import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Response
from fastapi import Query as Parameters
from fastapi.staticfiles import StaticFiles

from earshot.errors import DataError
from earshot.rundir import plain
from earshot.types import Side
from earshot.view.library import PAGE_ROWS, Kind, Library
from earshot.view.pictures import Size, picture
from earshot.view.query import Query
from earshot.web import Message, Receive, Send, content_policy, guarded, names_of, stranger

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

    @app.get("/api/state")
    def state() -> Response:
        return _json({"session": session, "page_rows": PAGE_ROWS, **library.state()})

    @app.get("/api/rows/{kind}")
    def rows(kind: Kind, query: Annotated[Query, Parameters()]) -> Response:
        return _json(library.page(kind, query))

    @app.get("/api/row/{kind}/{row}")
    def row(kind: Kind, row: int) -> Response:
        detail = library.detail(kind, row)
        if detail is None:
            raise HTTPException(404, "there is no such row, or its file was written again; reload the page")
        return _json(detail)

    @app.get("/image/{kind}/{row}/{side}")
    def image(kind: Kind, row: int, side: Side, size: Size = "small") -> Response:
        try:
            file = library.image(kind, row, side)
            if file is None:
                raise HTTPException(404, "there is no such row, or no pair set that has its images")
            content = picture(file, size)
        except DataError as error:  # what was wrong with the file, and no path of this machine
            raise HTTPException(404, f"the image cannot be shown ({type(error).__name__})") from error
        # The page's addresses of images hold the session: a later server's rows are other rows.
        return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})

    app.mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True))
    return app


def _json(value: Any) -> Response:
    # In ASCII, because half an emoji, which models do write, has no UTF-8.
    return Response(json.dumps(plain(value), allow_nan=False), media_type="application/json")
