"""The server's life: a port of this machine, a thread that indexes, until it is interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable

import uvicorn

from earshot.view.app import create_app
from earshot.view.library import Library
from earshot.web import address_of, listen

HOST = "127.0.0.1"


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
