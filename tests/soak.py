"""A server under four times the load that it bears, most of it hostile, and what becomes of the honest requests.

    python -m tests.soak [--seconds 60] [--seed 0] [--same-address] [--no-kills]

Honest clients ask as often as half of what the server bears, first alone and then beside hostile ones, which hang up,
do not read, send half a head or half a body, scan bombs, large pictures, rankings and long prompts, from another
address of this machine; a process with the model, or one that decodes, is killed every twenty seconds. It prints a line
a sample, then the sums, and ends with 1 if an honest request that was let in was lost, or anything is held at the end.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import multiprocessing
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import psutil
from PIL import Image

from earshot.serve.requests import FIRST, PROMPT, SECOND, THIRD
from tests.serve.test_life import spawned

HOSTILE_FROM = "127.0.0.2"
KILL_EVERY_S = 20.0
REFUSED = (429, 503)
"""Statuses of what was not let in, or could not be answered just now, and may be asked again."""


class Answered(NamedTuple):
    """An honest request."""

    status: int | str
    code: str | None
    seconds: float


@dataclass
class Tally:
    """Honest requests: what became of each."""

    answers: list[Answered] = field(default_factory=list)

    def p95_s(self) -> float:
        seconds = [one.seconds for one in self.answers if one.status == 200]
        return statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else float("nan")

    def lost(self) -> Counter[Any]:
        """Of those that were let in: what they got instead of an answer."""
        return Counter((one.status, one.code) for one in self.answers if one.status not in (200, *REFUSED))


@contextmanager
def serving() -> Iterator[tuple[str, psutil.Process]]:
    """The real command, and its process; it must end with 0."""
    command = [sys.executable, "-m", "earshot.cli.main", "serve", "--model", "world:reasoner", "--port", "0"]
    with subprocess.Popen([*command, "--max-new-tokens", "64"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[0].removeprefix("http://").rstrip("/"), psutil.Process(server.pid)
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0, f"the server ended with {server.returncode}"
        finally:
            server.kill()


def get(address: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metrics(address: str) -> dict[str, float]:
    lines = get(address, "/metrics")[1].splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def compare(address: str, seed: int) -> Answered:
    """An honest question."""
    connection, start = http.client.HTTPConnection(address, timeout=90), time.monotonic()
    body = json.dumps({"prompt": PROMPT, "first": FIRST, "second": SECOND, "seed": seed})
    try:
        connection.request("POST", "/v1/compare", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        return Answered(answer.status, told.get("code"), time.monotonic() - start)
    except (OSError, http.client.HTTPException) as error:
        return Answered(type(error).__name__, None, time.monotonic() - start)
    finally:
        connection.close()


def capacity(address: str, seconds: float, clients: int = 16) -> float:
    """Answers a second, each client asking when it has its answer."""
    end = time.monotonic() + seconds
    answered: list[int] = []

    def ask(k: int) -> None:
        while time.monotonic() < end:
            answered.append(compare(address, 1_000_000 + len(answered) * clients + k).status == 200)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(clients)))
    return sum(answered) / seconds


def honest(address: str, per_s: float, seconds: float, rng: random.Random) -> Tally:
    """Questions that arrive by themselves, whatever became of those before them."""
    tally, end = Tally(), time.monotonic() + seconds
    with ThreadPoolExecutor(256) as pool:
        asked = []
        while time.monotonic() < end:
            asked.append(pool.submit(compare, address, rng.getrandbits(40)))
            time.sleep(rng.expovariate(per_s))
        tally.answers = [one.result() for one in asked]
    return tally


def picture(side: int, scans: int = 0) -> str:
    """A progressive JPEG in base64, with further scans that bring nothing."""
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 60).convert("RGB").save(buffer, "JPEG", progressive=True, quality=30)
    data = buffer.getvalue()
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    head = data[last : last + 2 + int.from_bytes(data[last + 2 : last + 4], "big")]
    return b64encode(data[:end] + (head + b"\0" * 4) * scans + b"\xff\xd9").decode()


class Hostile:
    """Clients that mean harm, each at a time of its own."""

    def __init__(self, address: str, source: str, seed: int) -> None:
        host, _, port = address.partition(":")
        self._at, self._source, self._rng = (host, int(port)), source, random.Random(seed)
        self._large, self._bomb = picture(3000), picture(4000, scans=8000)
        self.does = (
            self.hang_up, self.not_read, self.half_a_head, self.half_a_body, self.bomb, self.large, self.rank,
            self.long_prompt, self.too_long_prompt,
        )  # fmt: skip

    def run(self, per_s: float, stop: Any) -> None:
        with ThreadPoolExecutor(200) as pool:
            while not stop.is_set():
                pool.submit(self._once, self._rng.choice(self.does))
                time.sleep(self._rng.expovariate(per_s))
            pool.shutdown(cancel_futures=True)

    def _once(self, does: Any) -> None:
        with suppress(OSError), socket.create_connection(self._at, 10, (self._source, 0)) as connection:
            connection.settimeout(70)
            does(connection)

    def _send(self, to: socket.socket, path: str, **body: Any) -> None:
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        to.sendall(f"{head}Connection: close\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)

    def _read(self, connection: socket.socket) -> None:
        while connection.recv(65_536):
            pass

    def _pair(self, prompt: str, image: str = FIRST) -> dict[str, Any]:
        return {"prompt": prompt, "first": image, "second": SECOND, "seed": self._rng.getrandbits(40)}

    def hang_up(self, connection: socket.socket) -> None:
        images = [FIRST, SECOND, THIRD] * 10
        self._send(connection, "/v1/rank", prompt=PROMPT, images=images[: self._rng.choice([2, 8, 30])])
        time.sleep(self._rng.uniform(0, 0.5))

    def not_read(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._send(connection, "/v1/rank", prompt=PROMPT, images=[FIRST, SECOND, THIRD])
        time.sleep(60)

    def half_a_head(self, connection: socket.socket) -> None:
        connection.sendall(b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        for _ in range(60):
            connection.sendall(b"a")
            time.sleep(1)

    def half_a_body(self, connection: socket.socket) -> None:
        head = b"POST /v1/compare HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 9999\r\n\r\n{")
        self._read(connection)

    def bomb(self, connection: socket.socket) -> None:
        self._send(connection, "/v1/compare", **self._pair("a", self._bomb))
        self._read(connection)

    def large(self, connection: socket.socket) -> None:
        self._send(connection, "/v1/compare", **self._pair("a", self._large))
        self._read(connection)

    def rank(self, connection: socket.socket) -> None:
        self._send(connection, "/v1/rank", prompt=PROMPT, images=[FIRST, SECOND, THIRD], seed=self._rng.getrandbits(40))
        self._read(connection)

    def long_prompt(self, connection: socket.socket) -> None:
        self._send(connection, "/v1/compare", **self._pair("a red circle " * 280))
        self._read(connection)

    def too_long_prompt(self, connection: socket.socket) -> None:
        self._send(connection, "/v1/compare", **self._pair("x" * 16_384))
        self._read(connection)


def attack(address: str, source: str, per_s: float, seed: int, stop: Any) -> None:
    Hostile(address, source, seed).run(per_s, stop)


def rss_mib(process: psutil.Process) -> int:
    with suppress(psutil.Error):  # it may just have died
        return int(process.memory_info().rss // 2**20)
    return 0


@dataclass
class Watch:
    """What is seen of the server from outside, and who dies of it."""

    address: str
    server: psutil.Process
    rng: random.Random
    kills: bool
    samples: list[dict[str, Any]] = field(default_factory=list)
    killed: int = 0

    def sample(self, start: float) -> dict[str, Any]:
        """A line of figures."""
        processes = [self.server, *self.server.children()]
        told: dict[str, Any] = {"s": round(time.monotonic() - start), "readyz": "-"}
        with suppress(OSError, http.client.HTTPException):
            told["readyz"] = str(get(self.address, "/readyz")[0])
            seen = metrics(self.address)
            for name in ("places_in_use", "requests_alive", "places_lost"):
                told[name] = seen[f"earshot_{name}"]
        told["descriptors"] = self.server.num_fds()
        told["processes"] = len(processes)
        told["rss_mib"] = [rss_mib(one) for one in processes]
        print(told, flush=True)
        self.samples.append(told)
        return told

    def run(self, seconds: float) -> None:
        start = time.monotonic()
        due = start + KILL_EVERY_S
        while time.monotonic() < start + seconds:
            self.sample(start)
            if self.kills and time.monotonic() > due:
                due += KILL_EVERY_S
                with suppress(psutil.Error):
                    self.rng.choice(spawned(self.server.pid)).kill()
                    self.killed += 1
            time.sleep(2.0)


def main() -> int:
    """Prints what came of it; 1 if an honest request was lost or something is held for ever."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--same-address", action="store_true", help="Hostile clients come from the honest ones' address."
    )
    parser.add_argument("--no-kills", action="store_true")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with serving() as (address, server):
        per_s = capacity(address, 10)
        quiet = honest(address, per_s / 2, max(15.0, given.seconds / 4), rng)
        watch = Watch(address, server, rng, not given.no_kills)
        before = watch.sample(time.monotonic())
        spawn = multiprocessing.get_context("spawn")
        stop = spawn.Event()
        source = "127.0.0.1" if given.same_address else HOSTILE_FROM
        attackers = spawn.Process(target=attack, args=(address, source, 3.5 * per_s, given.seed, stop), daemon=True)
        attackers.start()
        time.sleep(5)
        watching = threading.Thread(target=watch.run, args=(given.seconds,))
        watching.start()
        loud = honest(address, per_s / 2, given.seconds, rng)
        watching.join()
        stop.set()
        time.sleep(1)
        attackers.kill()
        attackers.join()
        end = time.monotonic() + 70
        while (after := watch.sample(end - 70)).get("places_in_use") != 0 and time.monotonic() < end:
            time.sleep(1)
    statuses = Counter(f"{one.status} {one.code or ''}".strip() for one in loud.answers)
    held = after.get("places_in_use") or after.get("places_lost")
    print(f"bears {per_s:.1f} a second; honest {per_s / 2:.1f}, hostile {3.5 * per_s:.1f}; {watch.killed} kills")
    print(f"honest: {len(loud.answers)} asked, {dict(statuses)}; let in and lost: {dict(loud.lost()) or 0}")
    print(f"honest p95: {loud.p95_s():.2f} s, quiet {quiet.p95_s():.2f} s, ratio {loud.p95_s() / quiet.p95_s():.2f}")
    print(f"/readyz: {dict(Counter(one['readyz'] for one in watch.samples))}; places held at the end: {held or 0}")
    mib = [sum(one["rss_mib"]) for one in (before, after)]
    print(f"descriptors {before['descriptors']} -> {after['descriptors']}, MiB {mib[0]} -> {mib[1]}")
    return bool(loud.lost() or held)


if __name__ == "__main__":
    sys.exit(main())
