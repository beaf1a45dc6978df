"""The server's life: a port, a warm-up, and an end at which everything that was let in is answered."""

from __future__ import annotations

import ctypes
import gc
import logging
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal

import uvicorn

from earshot.errors import EarshotError, one_line
from earshot.serve.app import Server
from earshot.serve.connections import HEAD_BYTES, IDLE_S, connections
from earshot.serve.refusals import ClientGone, Refusal
from earshot.serve.secret_files import following
from earshot.web import address_of

log = logging.getLogger("earshot.serve")
_MMAP_THRESHOLD = -3  # of glibc's mallopt


def serve(
    server: Server,
    listener: socket.socket,
    host: str,
    announce: Callable[[str], None],
    *,
    renew: Callable[[], None] | None = None,
    tls: Callable[[], ssl.SSLContext] | None = None,
    proxies: Sequence[str] = (),
) -> None:
    """Serves until SIGTERM or SIGINT; a second one ends at once.

    What has been let in by then is answered; whoever comes later gets a 503 as long as others are waited for.

    Args:
        server: What to serve.
        listener: From `web.listen`, before a model was loaded; it is closed.
        host: The address that it listens on.
        announce: Told the address once a first comparison has been made.
        renew: Loads the model anew, on SIGUSR1; where that fails, the one of before goes on. None has nothing to load.
        tls: What connections are encrypted with; None leaves them in the clear.
        proxies: Addresses, or networks, of those whose word is taken for who their clients are.

    Raises:
        EarshotError: The model cannot make a first comparison.
    """
    told, again = threading.Event(), threading.Event()
    with suppress(AttributeError):  # of glibc: the memory of large pictures goes back as soon as they do
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 2**20)

    def hear(number: int, frame: object) -> None:
        if told.is_set():
            http.force_exit = http.should_exit = True
            raise KeyboardInterrupt
        told.set()

    with listener:
        config = uvicorn.Config(
            server,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=[*proxies],
            lifespan="off",
            ws="none",
            http=connections(server.answered_s),
            timeout_keep_alive=int(IDLE_S),
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        config.load()
        config.ssl = None if tls is None else following(tls)
        http = uvicorn.Server(config)
        # Not in this thread, where uvicorn would take the signals, and end requests that wait.
        thread = threading.Thread(target=http.run, args=([listener],), name="earshot-serve-http", daemon=True)
        before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda number, frame: again.set())
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
            if renew is not None:  # in a thread, so that a signal to end is heard meanwhile
                threading.Thread(
                    target=_renew,
                    args=(renew, again, told, server.metrics.replaced),
                    name="earshot-serve-renew",
                    daemon=True,
                ).start()
            announce(address_of(listener, host, "http" if tls is None else "https"))
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


def _renew(
    renew: Callable[[], None],
    again: threading.Event,
    told: threading.Event,
    count: Callable[[Literal["replaced", "failed"]], None],
) -> None:
    """Loads the model anew as often as it is asked for: what comes while it loads is one more time."""
    while again.wait():
        again.clear()
        if told.is_set():
            return
        try:
            renew()
        except Exception as error:  # whatever a model's files may hold
            log.error("the model is not replaced, the one of before goes on: %s", one_line(error))
            count("failed")
        else:
            count("replaced")
            log.info("the model is replaced")
