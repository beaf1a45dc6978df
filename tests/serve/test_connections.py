"""Clients that say nothing, or take nothing, are let go of, and are in nobody's way meanwhile."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import pytest
import uvicorn

from earshot.judging.model import RewardModel
from earshot.serve import Limits, Server, bodies, connections
from earshot.serve.secret_files import following
from tests.judging.opinions import Opinionated
from tests.serve.conftest import PAIR
from tests.serve.test_life import ask, metric, process, wait

HALF_A_HEAD = b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\nX-A: "


@contextmanager
def listening(app: Any, answered_s: float = 60.0, *, tls: Any = None, **more: Any) -> Iterator[str]:
    """The address of an application behind our connections; further options are uvicorn's."""
    ours = connections.connections(answered_s)
    config = uvicorn.Config(app, port=0, log_level="error", lifespan="off", http=ours, **more)
    config.load()
    config.ssl = None if tls is None else following(tls)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


def connect(address: str, sent: bytes = b"") -> socket.socket:
    host, _, port = address.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(sent)
    return connection


def closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it by now; what it has sent is read."""
    connection.setblocking(False)
    try:
        while connection.recv(2**20):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@pytest.fixture()
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("HEAD_S", 0.5), ("IDLE_S", 0.5), ("TAKING_S", 0.5), ("_LOOK_S", 0.05)):
        monkeypatch.setattr(connections, name, seconds)


def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(hasty: None) -> None:
    with listening(hello) as address, ExitStack() as opened:
        quiet = [opened.enter_context(connect(address, sent)) for sent in (b"", b"G", HALF_A_HEAD)]
        end = time.monotonic() + 10
        while not all(map(closed, quiet)) and time.monotonic() < end:
            with suppress(OSError):
                quiet[2].send(b"a")  # a byte from time to time is no head
            time.sleep(0.05)
        assert all(map(closed, quiet))


def test_a_connection_that_is_used_is_kept_and_one_that_was_is_closed(hasty: None) -> None:
    with listening(hello) as address, closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.connect()
        first = connection.sock
        for _ in range(8):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"hi"
            time.sleep(0.25)
        assert connection.sock is first  # two seconds long
        assert wait(lambda: closed(first), 10)


def test_of_too_many_connections_the_longest_quiet_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_MOST", 6)
    with listening(hello) as address, ExitStack() as opened:
        quiet = []
        for _ in range(30):
            quiet.append(opened.enter_context(connect(address, HALF_A_HEAD)))
        for _ in range(10):
            with connect(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as honest:
                assert b"200 OK" in honest.recv(1000)
        assert wait(lambda: sum(not closed(one) for one in quiet) <= 6)
        assert closed(quiet[0])


def test_an_answer_that_is_not_taken_is_given_up(hasty: None) -> None:
    ended = threading.Event()

    async def much(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        ended.set()

    with listening(much, answered_s=0.5) as address, connect(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        assert ended.wait(20)  # what is sent to one that has gone goes nowhere


def test_slow_bodies_take_no_place_and_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_BODY_S", 2.0)
    server = Server(RewardModel(Opinionated()), limits=Limits(together=Limits().together._replace(requests=1)))
    server.start()
    with listening(server) as address, ExitStack() as opened:
        head = f"POST /v1/compare HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        sent = f"{head}Content-Length: 1000\r\n\r\n{{".encode()
        slow = [opened.enter_context(connect(address, sent)) for _ in range(20)]
        assert wait(lambda: server.admission.now.uploads == 20)
        assert ask(address, "/v1/compare", PAIR)[0] == 200
        assert all(b"408" in one.recv(1000) for one in slow)
        assert wait(lambda: not server.admission.held)
    server.stop()


def test_silent_connections_beyond_the_descriptors_keep_nobody_out() -> None:
    with process(0.0, descriptors=100) as (_, address), ExitStack() as opened:
        for _ in range(200):
            opened.enter_context(connect(address, HALF_A_HEAD))
        for _ in range(10):
            assert ask(address, "/livez")[0] == 200
        assert ask(address, "/v1/compare", PAIR)[0] == 200
        assert metric(address, "earshot_places_in_use") <= 1


@pytest.mark.parametrize("loop", ["auto", "asyncio"])
def test_of_many_that_come_at_once_no_more_stay_than_there_may_be(monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    monkeypatch.setattr(connections, "_MOST", 6)
    held = threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        held.set()
        time.sleep(1)  # the whole loop: whoever connects meanwhile is let in at once
        await hello(scope, receive, send)

    with listening(slow, loop=loop) as address, ExitStack() as opened:
        opened.enter_context(connect(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert held.wait(5)
        quiet = [opened.enter_context(connect(address, HALF_A_HEAD)) for _ in range(30)]
        assert wait(lambda: sum(not closed(one) for one in quiet) <= 6)
