"""The server's life: a port, a warm-up, and an end at which everything that was let in is answered."""

from __future__ import annotations

import ctypes
import gc
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from earshot.errors import EarshotError, InputError
from earshot.serve.app import Server
from earshot.serve.connections import HEAD_BYTES, IDLE_S, connections
from earshot.serve.refusals import ClientGone, Refusal
from earshot.web import address_of

_MIN_KEY = 16
_MMAP_THRESHOLD = -3  # of glibc's mallopt


def read_key(path: Path) -> bytes:
    """The key in a file: its first line, of at least 16 visible ASCII characters.

    Raises:
        InputError: There is none.
    """
    try:
        with path.open("rb") as file:
            key = file.read(4096).partition(b"\n")[0].strip()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a file with a key") from error
    if len(key) < _MIN_KEY or not all(0x21 <= byte <= 0x7E for byte in key):
        raise InputError(
            f"{path}: holds no key, expected one line of at least {_MIN_KEY} ASCII characters without spaces; "
            f"'openssl rand -hex 32 > {path}' makes one"
        )
    return key


def serve(server: Server, listener: socket.socket, host: str, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT; a second one ends at once.

    What has been let in by then is answered; whoever comes later gets a 503 as long as others are waited for.

    Args:
        server: What to serve.
        listener: From `web.listen`, before a model was loaded; it is closed.
        host: The address that it listens on.
        announce: Told the address once a first comparison has been made.

    Raises:
        EarshotError: The model cannot make a first comparison.
    """
    told = threading.Event()
    with suppress(AttributeError):  # of glibc: the memory of large pictures goes back as soon as they do
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**20)

    def hear(number: int, frame: object) -> None:
        if told.is_set():
            http.force_exit = http.should_exit = True
            raise KeyboardInterrupt
        told.set()

    with listener:
        http = uvicorn.Server(
            uvicorn.Config(
                server,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                http=connections(server.answered_s),
                timeout_keep_alive=int(IDLE_S),
                timeout_graceful_shutdown=5,
                h11_max_incomplete_event_size=HEAD_BYTES,
            )
        )
        # Not in this thread, where uvicorn would take the signals, and end requests that wait.
        thread = threading.Thread(target=http.run, args=([listener],), name="earshot-serve-http", daemon=True)
        before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            server.start()
            thread.start()
            try:
                server.warm_up()
            except (Refusal, ClientGone) as error:
                raise EarshotError("the model makes no first comparison; 'earshot compare' shows why") from error
            # What is there by now stays; a collection that looked through all of it would hold everybody up.
            gc.collect()
            gc.freeze()
            announce(address_of(listener, host))
            told.wait()
            server.admission.close()
            server.admission.wait_empty()
        finally:
            http.should_exit = True
            thread.join(10)
            gc.unfreeze()
            for number, handler in before.items():
                signal.signal(number, handler)
    server.stop()
