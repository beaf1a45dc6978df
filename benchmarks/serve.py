"""What `earshot serve` reaches: 32 clients against one offline batch and one request at a time; then an overload.

    python benchmarks/serve.py --out serve.json --pairs 256 --overload-s 300

All three ask the same pairs of the same model on the same machine, in turns of `--repeats`, and their p_first must
agree to 1e-6. In the overload four times as many clients as there are places ask again as soon as they are answered,
and after a 429 after a tenth of a second, which is less than Retry-After asks for.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from earshot.rundir import describe_environment, write_json

MODEL = "world:reasoner"
CLIENTS = 32
MAX_NEW_TOKENS = 64


class Answered(NamedTuple):
    """One request."""

    status: int
    seconds: float
    told: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--places", type=int, default=32)
    parser.add_argument("--overload-s", type=float, default=300.0)
    options = parser.parse_args()
    asked = make_pairs(options.pairs)
    model = load(options.batch)
    rounds = []
    with Serving(options.batch, options.places) as address:
        for _ in range(options.repeats):
            offline_s, expected = offline(model, asked, options.batch)
            many_s, many = ask_all(address, asked, CLIENTS)
            one_s, one = ask_all(address, asked, 1)
            for answers in (many, one):
                check(answers, expected)
            rounds.append({"offline_s": offline_s, "clients_s": many_s, "one_at_a_time_s": one_s})
            print(rounds[-1], flush=True)
        overloaded = overload(address, asked, 4 * options.places, options.overload_s)
    median = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    pairs_per_s = {name.removesuffix("_s"): options.pairs / seconds for name, seconds in median.items()}
    told = {
        "command": " ".join(["python", "benchmarks/serve.py", *sys.argv[1:]]),
        "environment": describe_environment(model=MODEL, clients=CLIENTS, batch=options.batch),
        "rounds": rounds,
        "pairs_per_s": pairs_per_s,
        "of_offline": pairs_per_s["clients"] / pairs_per_s["offline"],
        "over_one_at_a_time": pairs_per_s["clients"] / pairs_per_s["one_at_a_time"],
        "overload": overloaded | {"goodput_of_uncontended": overloaded["goodput_per_s"] / pairs_per_s["clients"]},
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


def offline(model: Any, asked: Sequence[dict[str, Any]], batch: int) -> tuple[float, list[float | None]]:
    """Seconds and p_first of the same pairs in one call, decoding included."""
    start = time.perf_counter()
    told = model.compare_batch(
        prompts=[one["prompt"] for one in asked],
        firsts=[base64.b64decode(one["first"]) for one in asked],
        seconds=[base64.b64decode(one["second"]) for one in asked],
    )
    return time.perf_counter() - start, [one.p_first for one in told]


class Serving:
    """The real command as a process; it must end with 0."""

    def __init__(self, batch: int, places: int) -> None:
        self._command = [
            sys.executable, "-m", "earshot.cli.main", "serve", "--model", MODEL, "--port", "0",
            "--batch", str(batch), "--max-requests", str(places), "--max-new-tokens", str(MAX_NEW_TOKENS),
        ]  # fmt: skip

    def __enter__(self) -> str:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()[0].removeprefix("http://").rstrip("/")

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        assert code == 0, f"the server ended with {code}"


def ask(connection: http.client.HTTPConnection, body: str) -> Answered:
    start = time.perf_counter()
    connection.request("POST", "/v1/compare", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    return Answered(answer.status, time.perf_counter() - start, told)


def in_threads(n: int, work: Callable[[int], None]) -> float:
    """Seconds until n threads are done."""
    threads = [threading.Thread(target=work, args=(k,)) for k in range(n)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def ask_all(address: str, asked: Sequence[dict[str, Any]], clients: int) -> tuple[float, list[Answered]]:
    """Seconds and answers, each client taking the next pair when it has its answer."""
    bodies = [json.dumps(one) for one in asked]
    answers: list[Answered | None] = [None] * len(bodies)
    waiting = iter(range(len(bodies)))
    lock = threading.Lock()

    def client(_: int) -> None:
        connection = http.client.HTTPConnection(address, timeout=120)
        while True:
            with lock:
                k = next(waiting, None)
            if k is None:
                return connection.close()
            answers[k] = ask(connection, bodies[k])

    seconds = in_threads(clients, client)
    return seconds, [answer for answer in answers if answer is not None]


def check(answers: Sequence[Answered], expected: Sequence[float | None]) -> None:
    assert [answer.status for answer in answers] == [200] * len(expected), "a request was not answered"
    for answer, p_first in zip(answers, expected, strict=True):
        found = answer.told["p_first"]
        assert found == p_first or abs(found - p_first) <= 1e-6, f"p_first is {found} by HTTP and {p_first} in Python"


def overload(address: str, asked: Sequence[dict[str, Any]], clients: int, seconds: float) -> dict[str, Any]:
    """Answers, rejections and their 99th percentile while four times the places are asked for."""
    bodies = [json.dumps(one) for one in asked]
    answers: list[Answered] = []
    faults: list[str] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        k = number
        while time.perf_counter() < end:
            connection = http.client.HTTPConnection(address, timeout=120)
            try:
                answer = ask(connection, bodies[k % len(bodies)])
            except (OSError, http.client.HTTPException) as error:
                faults.append(type(error).__name__)
                continue
            finally:
                connection.close()
            answers.append(answer)
            k += clients
            if answer.status == 429:
                time.sleep(0.1)

    took = in_threads(clients, client)
    refused = sorted(answer.seconds for answer in answers if answer.status == 429)
    good = sum(answer.status == 200 for answer in answers)
    return {
        "seconds": took,
        "clients": clients,
        "answered": good,
        "refused": len(refused),
        "other": sorted({answer.status for answer in answers} - {200, 429}),
        "connections_lost": len(faults),
        "goodput_per_s": good / took,
        "refusal_p99_ms": 1000 * refused[int(0.99 * (len(refused) - 1))] if refused else None,
    }


if __name__ == "__main__":
    main()
