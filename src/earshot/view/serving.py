"""The server's life: a port of this machine, a thread that indexes, until it is interrupted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import uvicorn

from earshot.errors import InputError
from earshot.view.app import create_app
from earshot.view.library import Library

HOST = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """A socket on a port of this machine that no other machine can reach; 0 is any free port.

    Raises:
        InputError: The port is taken, or not ours to take.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()  # so that a browser that comes before the server is ready waits instead of being refused
    except OSError as error:
        listener.close()
        raise InputError(
            f"port {port} of {HOST} cannot be had ({error.strerror}); choose another --port, or 0 for any"
        ) from error
    return listener


def serve(library: Library, port: int, announce: Callable[[str], None]) -> None:
    """Serves a library until the process is interrupted.

    Args:
        library: What to show; it is indexed in a thread while the server already answers.
        port: Of 127.0.0.1; 0 is any free one.
        announce: Told the address as soon as it can be opened.

    Raises:
        InputError: The port is taken.
    """
    with listen(port) as listener:
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
            announce(f"http://{HOST}:{listener.getsockname()[1]}/")
            server.run(sockets=[listener])
        finally:
            stop.set()
            indexing.join()
