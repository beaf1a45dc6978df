"""A real process: it warms up, answers many at once, lets clients go, and ends with everything answered."""

import http.client
import json
import logging
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from earshot.cli.main import main
from earshot.cli.serve import elsewhere
from earshot.errors import ModelError
from earshot.serve.serving import _renew
from tests.serve.conftest import PAIR

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def process(
    seconds: float, *workers: str, descriptors: int | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that takes so long for a batch, and where it is."""
    command = [sys.executable, "-m", "tests.serve.life", str(seconds), *workers]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh", *command]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server, urllib.parse.urlsplit(server.stdout.readline().strip()).netloc
        finally:
            server.kill()


def ask(address: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        sent = None if body is None else json.dumps(body)
        connection.request("POST" if sent else "GET", path, sent, {"content-type": "application/json"} if sent else {})
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if b"json" in answer.headers["content-type"].encode() else content
    finally:
        connection.close()


def metric(address: str, name: str) -> float:
    _, text = ask(address, "/metrics")
    return float(next(line for line in text.decode().splitlines() if line.startswith(name)).split()[1])


def under_way(address: str) -> float:
    return metric(address, 'earshot_under_way{quantity="requests"')


def wait(condition: Any, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(met)


def end_under_load(n: int, *workers: str) -> None:
    """SIGTERM while clients wait: all that were let in get their answer, a later one a 503, and the exit code is 0."""
    with process(0.4, *workers) as (server, address):
        answers: list[tuple[int, Any]] = []
        clients = [
            threading.Thread(target=lambda k=k: answers.append(ask(address, "/v1/compare", {**PAIR, "seed": k})))
            for k in range(n)
        ]
        for client in clients:
            client.start()
        assert wait(lambda: under_way(address) == n)
        server.send_signal(signal.SIGTERM)
        assert wait(lambda: ask(address, "/readyz")[0] == 503)
        time.sleep(0.3)  # as long as others are waited for, whoever comes is told, and not cut off
        status, told = ask(address, "/v1/compare", PAIR)
        assert (status, told["code"]) == (503, "shutting_down")
        for client in clients:
            client.join(20)
        assert [status for status, _ in answers] == [200] * n
        assert server.wait(20) == 0
        assert server.stderr is not None
        assert server.stderr.read() == ""


def leave(address: str, n: int) -> None:
    """Clients that send a question and hang up."""
    body = json.dumps(PAIR).encode()
    head = f"POST /v1/compare HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
    for _ in range(n):
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.connect()
        connection.sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        connection.close()


def test_sigterm_under_load_loses_nothing_that_was_let_in() -> None:
    end_under_load(20)


@pytest.mark.slow
def test_nor_does_it_with_two_workers() -> None:
    end_under_load(40, "2")


@pytest.mark.slow
def test_a_hundred_sigterms_under_load_lose_nothing() -> None:
    for _ in range(100):
        end_under_load(8)


def test_clients_that_leave_free_their_places_and_are_not_asked_for() -> None:
    with process(1.5) as (server, address):
        leave(address, 60)
        assert wait(lambda: under_way(address) == 0, 1.0)  # before even the first batch is answered
        assert ask(address, "/v1/compare", PAIR)[0] == 200
        # The warm-up, this one, and at most a batch of those that left: the one that was with the model.
        assert metric(address, "earshot_batch_size_sum") <= 18
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
        assert server.stderr is not None
        assert server.stderr.read() == ""  # a client that leaves is nothing to log


@pytest.mark.slow
def test_a_thousand_that_leave_have_left_a_second_later() -> None:
    with process(0.05) as (_, address):
        for _ in range(20):
            leave(address, 50)
        assert wait(lambda: under_way(address) == 0, 1.0)


def spawned(pid: int) -> list[psutil.Process]:
    """A server's processes with the model, and those that decode."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def with_kills(n: int, workers: int) -> None:
    """Processes with the model are killed while clients wait: all get answers, and /readyz says when nobody can."""
    rng, seen = random.Random(0), Counter[int]()
    with process(0.3, str(workers)) as (server, address):
        for k in range(n):
            clients = ThreadPoolExecutor(8)
            asked = [
                clients.submit(ask, address, "/v1/compare", {**PAIR, "seed": 100 * k + j})
                for j in range(rng.choice([1, 4, 8]))
            ]
            time.sleep(rng.uniform(0.05, 0.3))
            rng.choice(spawned(server.pid)).kill()
            if workers == 1:
                assert wait(lambda: ask(address, "/readyz")[0] == 503, 2)
            assert [one.result()[0] for one in asked] == [200] * len(asked)
            clients.shutdown()
            seen[len(asked)] += 1
            assert wait(lambda: ask(address, "/readyz")[0] == 200, 60)
            assert ask(address, "/livez")[0] == 200
        assert metric(address, "earshot_places_in_use") == metric(address, "earshot_places_lost") == 0
    assert seen.total() == n


def test_sigusr1_replaces_the_processes_and_loses_nothing() -> None:
    with process(0.1) as (server, address):
        before = {one.pid for one in spawned(server.pid)}
        server.send_signal(signal.SIGUSR1)
        statuses = []

        def replaced() -> bool:
            statuses.append(ask(address, "/v1/compare", PAIR)[0])
            now = {one.pid for one in spawned(server.pid)}
            return len(now) == len(before) and not now & before

        assert wait(replaced, 60)
        assert ask(address, "/readyz")[0] == 200 and set(statuses) == {200}
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


def test_a_model_that_cannot_be_loaded_anew_is_told_and_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "earshot.serve")
    again, told, asked = threading.Event(), threading.Event(), []

    def renew() -> None:
        asked.append(1)
        if len(asked) == 1:
            again.set()  # asked for while it loads
            raise ModelError("/models/new: the folder holds\nno config.json")
        told.set()
        again.set()

    again.set()
    counted: list[str] = []
    _renew(renew, again, told, counted.append)
    assert counted == ["failed", "replaced"]
    first, second = [record.getMessage() for record in caplog.records]
    assert first == "the model is not replaced, the one of before goes on: /models/new: the folder holds no config.json"
    assert second == "the model is replaced"


def test_a_kill_of_the_only_process_costs_nobody_an_answer() -> None:
    with_kills(1, 1)


@pytest.mark.slow
def test_fifty_kills_cost_nobody_an_answer() -> None:
    with_kills(25, 1)
    with_kills(25, 2)


def test_whatever_comes_in_is_refused_in_one_form_and_harms_nothing() -> None:
    """Also where uvicorn would answer in plain text."""
    post = b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    broken = {
        b"\0" * 1000 + b"\r\n\r\n": 400,
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n": 400,  # TLS
        b"GET / HTTP/9\r\n\r\n": 400,
        b"GET / HTTP/1.1\r\n\r\n": 400,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 70_000: 400,
        b"POST /v1/compare HTTP/1.1\r\nContent-Length: -1\r\n\r\n": 400,
        post + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n": 400,
        b"GET / HTTP/1.0\r\n\r\n": 403,
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
        b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n": 404,
        b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n": 405,
        b"BREW /v1/compare HTTP/1.1\r\nHost: localhost\r\n\r\n": 405,
    }
    with process(0.0) as (server, address):
        host, _, port = address.partition(":")
        for sent, status in broken.items():
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(sent)
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                told = json.loads(answer.read())
                assert (answer.status, set(told)) == (status, {"code", "message", "param", "request_id", "retryable"})
                assert answer.headers["x-request-id"] == told["request_id"]
                assert answer.headers["content-security-policy"].startswith("default-src 'none'")
                assert (told["code"] == "broken_http") == (status == 400)
        assert ask(address, "/v1/compare", PAIR)[0] == 200
        server.kill()
        assert server.stderr is not None
        assert "Traceback" not in server.stderr.read()


def test_others_are_told_how_to_reach_it() -> None:
    told = elsewhere("http://127.0.0.1:8379/", ["rewards.example"])
    assert f"http://{socket.gethostname()}:8379/ or http://rewards.example:8379/" in told and "--name" in told


def test_a_host_that_others_reach_needs_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--model", "world:reasoner", "--host", "0.0.0.0"]) == 2
    assert "give --key-file" in capsys.readouterr().err
