"""The HTTP side: one page, four JSON answers and pictures, to this machine only."""

import json
import secrets
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Response
from fastapi import Query as Parameters
from fastapi.staticfiles import StaticFiles

from earshot.errors import DataError
from earshot.files import plain
from earshot.view.library import PAGE_ROWS, Kind, Library
from earshot.view.pictures import Shown, Size, picture
from earshot.view.query import Query
from earshot.web import Message, Receive, Send, address_of, content_policy, guarded, listen, names_of, stranger

Application = Callable[[Message, Receive, Send], Awaitable[None]]
CONTENT_POLICY = content_policy()
HOST = "127.0.0.1"
_NAMES = names_of(HOST)
_STRANGERS = {
    "forbidden_host": "this server answers to 127.0.0.1 and localhost only",
    "cross_site": "another site's page may not ask this server",
}


def guard(app: Application) -> Application:
    """Answers only to this machine's own names, and puts the headers on every answer that keep the page to itself."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        send = guarded(send, CONTENT_POLICY)
        if code := stranger(scope, _NAMES):
            await Response(_STRANGERS[code], 403, media_type="text/plain")(scope, receive, send)
        else:
            await app(scope, receive, send)

    return answer


def create_app(library: Library) -> FastAPI:
    """The application that shows a library. It only reads, and names no path of the machine."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(guard)
    session = secrets.token_hex(4)

    @app.get("/api/state")
    def state() -> Response:
        return _json({"session": session, "page_rows": PAGE_ROWS, **library.state()})

    @app.get("/api/rows/{kind}")
    def rows(kind: Kind, query: Annotated[Query, Parameters()]) -> Response:
        return _json(library.page(kind, query))

    @app.get("/api/steps")
    def steps() -> Response:
        return _json(library.steps())

    @app.get("/api/row/{kind}/{row}")
    def row(kind: Kind, row: int) -> Response:
        try:
            return _json(library.detail(kind, row))
        except (LookupError, DataError) as error:
            what = "there is no such row, or its file was written again; reload the page"
            raise HTTPException(404, what) from error

    @app.get("/image/{kind}/{row}/{shown}")
    def image(kind: Kind, row: int, shown: Shown, size: Size = "small") -> Response:
        try:
            content = picture(library.image(kind, row, shown), size)
        except (LookupError, DataError) as error:  # what was wrong with the file, and no path of this machine
            raise HTTPException(404, f"the image cannot be shown ({type(error).__name__})") from error
        # The page's addresses of images hold the session: a later server's rows are other rows.
        return Response(content, media_type="image/webp", headers={"cache-control": "private, max-age=3600"})

    app.mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True))
    return app


def serve(library: Library, port: int, announce: Callable[[str], None]) -> None:
    """Serves a library until the process is interrupted.

    Args:
        library: What to show; it is indexed in a thread while the server already answers.
        port: Of 127.0.0.1; 0 is any free one.
        announce: Told the address as soon as it can be opened.

    Raises:
        InputError: The port is taken.
    """
    with listen(HOST, port) as listener:
        stop = threading.Event()
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(library),
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=2,
            )
        )
        indexing = threading.Thread(target=library.follow, args=(stop,), name="earshot-view-index")
        indexing.start()
        try:
            announce(address_of(listener, HOST))
            server.run(sockets=[listener])
        finally:
            stop.set()
            indexing.join()


def _json(value: Any) -> Response:
    # In ASCII, because half an emoji, which models do write, has no UTF-8.
    return Response(json.dumps(plain(value), allow_nan=False), media_type="application/json")
