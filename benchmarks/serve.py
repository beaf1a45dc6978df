"""What `earshot serve` reaches: 32 clients against one offline batch and one request at a time; then an overload.

    python benchmarks/serve.py --out serve.json --pairs 256 --overload-s 300

All three ask the same pairs of the same model on the same machine, in turns of `--repeats`, and their p_first must
agree to 1e-6. In the overload four times as many requests a second arrive as the 32 clients had answered; then, in as
many rounds as before, it is seen that the server is as fast as it was.

The clients share the server's cores, so they are as cheap as they can be made: one thread, and bytes made beforehand.
"""

from __future__ import annotations

import argparse
import base64
import gc
import io
import json
import random
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from earshot.files import write_json
from earshot.rundir import describe_environment

MODEL = "world:reasoner"
CLIENTS = 32
MAX_NEW_TOKENS = 64


class Answered(NamedTuple):
    """One request."""

    status: int
    seconds: float
    body: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--one-at-a-time", type=int, default=32, help="Of the pairs, how many are asked one by one.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--places", type=int, default=64)
    parser.add_argument("--overload-s", type=float, default=300.0)
    options = parser.parse_args()
    asked = make_pairs(options.pairs)
    model = load(options.batch)
    gc.collect()
    gc.freeze()  # no request waits for a collection of ours
    rounds = []
    with Serving(options.batch, options.workers, options.places) as address:
        for _ in range(options.repeats):
            offline_s, expected = offline(model, asked)
            many_s, many = ask_all(address, asked, CLIENTS)
            few = asked[: options.one_at_a_time]
            one_s, one = ask_all(address, few, 1)
            check(many, expected)
            check(one, expected[: len(few)])
            seconds = {"offline": offline_s, "clients": many_s, "one_at_a_time": one_s * len(asked) / len(few)}
            rounds.append({name: len(asked) / one for name, one in seconds.items()})
            print(rounds[-1], flush=True)
        pairs_per_s = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
        overloaded = overload(address, asked, 4 * pairs_per_s["clients"], options.overload_s)
        after = [len(asked) / ask_all(address, asked, CLIENTS)[0] for _ in range(options.repeats)]
    told = {
        "command": " ".join(["python", "benchmarks/serve.py", *sys.argv[1:]]),
        "environment": describe_environment(model=MODEL, clients=CLIENTS, batch=options.batch, workers=options.workers),
        "pairs_per_s_by_round": rounds,
        "pairs_per_s": pairs_per_s,
        "of_offline": spread(one["clients"] / one["offline"] for one in rounds),
        "over_one_at_a_time": spread(one["clients"] / one["one_at_a_time"] for one in rounds),
        "overload": overloaded
        | {
            "clients_per_s_after": after,
            "goodput_of_uncontended": overloaded["goodput_per_s"] / statistics.median([pairs_per_s["clients"], *after]),
        },
    }
    write_json(options.out, told)
    print(json.dumps({key: told[key] for key in ("pairs_per_s", "of_offline", "over_one_at_a_time", "overload")}))


def make_pairs(n: int) -> list[dict[str, Any]]:
    """Pairs of the synthetic world, as bodies of /v1/compare."""
    from earshot.data.pairset import PairSet

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "world"
        command = [sys.executable, "-m", "earshot.cli.main", "world", "make", str(out), "--sets", "test"]
        subprocess.run([*command, "--test-pairs", str(n)], check=True, stdout=subprocess.DEVNULL)
        rows = PairSet(out / "test")
        pairs = [rows[k] for k in range(len(rows))]
        return [
            {"prompt": pair.prompt, "first": b64(pair.first), "second": b64(pair.second), "seed": 0} for pair in pairs
        ]


def b64(source: Any) -> str:
    if isinstance(source, Path):
        return base64.b64encode(source.read_bytes()).decode()
    buffer = io.BytesIO()
    source.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def load(batch: int) -> Any:
    import earshot

    return earshot.load(MODEL, max_new_tokens=MAX_NEW_TOKENS, batch_size=2 * batch)


def spread(ratios: Iterable[float]) -> dict[str, float]:
    """Median, lowest and highest of the rounds' ratios."""
    ordered = sorted(ratios)
    return {"median": statistics.median(ordered), "low": ordered[0], "high": ordered[-1]}


def offline(model: Any, asked: Sequence[dict[str, Any]]) -> tuple[float, list[float | None]]:
    """Seconds and p_first of the same pairs in one call, decoding included."""
    start = time.perf_counter()
    told = model.answer(
        [
            model.question(
                prompt=one["prompt"], first=base64.b64decode(one["first"]), second=base64.b64decode(one["second"])
            )
            for one in asked
        ]
    )
    return time.perf_counter() - start, [one.p_first for one in told]


class Serving:
    """The real command as a process; it must end with 0."""

    def __init__(self, batch: int, workers: int, places: int) -> None:
        self._command = [
            sys.executable, "-m", "earshot.cli.main", "serve", "--model", MODEL, "--port", "0",
            "--batch", str(batch), "--workers", str(workers), "--max-requests", str(places),
            "--max-new-tokens", str(MAX_NEW_TOKENS),
        ]  # fmt: skip

    def __enter__(self) -> str:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()[0].removeprefix("http://").rstrip("/")

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        assert code == 0, f"the server ended with {code}"


@dataclass
class Asked:
    """A request that is under way."""

    k: int
    start: float
    connection: socket.socket
    got: bytes = b""


class Clients:
    """Any number of clients in one thread."""

    def __init__(self, address: str, asked: Sequence[dict[str, Any]]) -> None:
        host, _, port = address.rpartition(":")
        self._at = (host, int(port))
        bodies = [json.dumps(one).encode() for one in asked]
        head = f"POST /v1/compare HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: "
        self._requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._poll = select.epoll()
        self.waiting: dict[int, Asked] = {}

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self._at, timeout=10)
        self._poll.register(connection, select.EPOLLIN)
        return connection

    def ask(self, k: int, connection: socket.socket) -> None:
        self.waiting[connection.fileno()] = Asked(k, time.perf_counter(), connection)
        connection.sendall(self._requests[k % len(self._requests)])

    def answers(self, timeout_s: float) -> Iterator[tuple[Asked, Answered | None]]:
        """What has come within some seconds; None for a connection that broke."""
        for number, _ in self._poll.poll(timeout_s):
            asked = self.waiting[number]
            part = asked.connection.recv(65_536)
            asked.got += part
            head, ended, body = asked.got.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            whole = bool(ended) and length is not None and len(body) >= int(length[1])
            if whole or not part:
                del self.waiting[number]
                seconds = time.perf_counter() - asked.start
                yield asked, Answered(int(head.split(b" ", 2)[1]), seconds, body) if whole else None

    def close(self, connection: socket.socket) -> None:
        self._poll.unregister(connection)
        connection.close()


_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def ask_all(address: str, asked: Sequence[dict[str, Any]], n_clients: int) -> tuple[float, list[Answered]]:
    """Seconds and answers, each client taking the next pair when it has its answer."""
    clients = Clients(address, asked)
    answers: dict[int, Answered] = {}
    to_ask = iter(range(len(asked)))
    start = time.perf_counter()
    for k in islice(to_ask, n_clients):
        clients.ask(k, clients.connect())
    while clients.waiting:
        for one, answer in clients.answers(120):
            assert answer is not None, "a connection broke"
            answers[one.k] = answer
            if (k := next(to_ask, None)) is None:
                clients.close(one.connection)
            else:
                clients.ask(k, one.connection)
    return time.perf_counter() - start, [answers[k] for k in range(len(asked))]


def check(answers: Sequence[Answered], expected: Sequence[float | None]) -> None:
    assert [answer.status for answer in answers] == [200] * len(expected), "a request was not answered"
    for answer, p_first in zip(answers, expected, strict=True):
        found = json.loads(answer.body)["p_first"]
        assert found == p_first or abs(found - p_first) <= 1e-6, f"p_first is {found} by HTTP and {p_first} in Python"


def overload(address: str, asked: Sequence[dict[str, Any]], per_s: float, seconds: float) -> dict[str, Any]:
    """Answers and refusals while `per_s` requests a second arrive, whatever became of those before them.

    Arrivals are a Poisson process, each a client of its own with a connection of its own: an open loop, in which a
    server that is slow is not asked less often for it.
    """
    clients = Clients(address, asked)
    answers: list[Answered] = []
    gaps = random.Random(0)
    n = lost = 0
    start = due = time.perf_counter()
    while due < start + seconds or clients.waiting:
        if due < start + seconds and time.perf_counter() >= due:
            clients.ask(n, clients.connect())
            n += 1
            due += gaps.expovariate(per_s)
        until = due if due < start + seconds else start + seconds + 120
        for one, answer in clients.answers(max(0.0, until - time.perf_counter())):
            clients.close(one.connection)
            if answer is None:
                lost += 1
            else:
                answers.append(answer)
    took = time.perf_counter() - start
    refused = sorted(answer.seconds for answer in answers if answer.status == 429)
    good = sorted(answer.seconds for answer in answers if answer.status == 200)
    return {
        "seconds": took,
        "asked_per_s": per_s,
        "asked": n,
        "answered": len(good),
        "refused": len(refused),
        "other": sorted({answer.status for answer in answers} - {200, 429}),
        "connections_lost": lost,
        "goodput_per_s": len(good) / took,
        "answer_p50_s": percentile(good, 0.5),
        "answer_p99_s": percentile(good, 0.99),
        "refusal_p50_ms": 1000 * percentile(refused, 0.5),
        "refusal_p99_ms": 1000 * percentile(refused, 0.99),
    }


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))] if ordered else float("nan")


if __name__ == "__main__":
    main()
