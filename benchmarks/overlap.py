"""Seconds a GRPO step takes when a remote listener reads while completions are still sampled, and when it reads after.

    python -m benchmarks.overlap --out overlap.json

Both models are stand-ins. The reasoner is a tiny one, taught before anything is measured to write traces of very
different lengths, that waits `--token-ms` for every token as if it were large. The server, in a process of its own,
takes `--ms` for a trace, one at a time, and answers by a rule. With and without run by turns.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import numpy as np
from rich.console import Console

from earshot.config import GrpoConfig
from earshot.data.pairset import PairSet
from earshot.images import load_image
from earshot.lab.bench.paired import in_turns
from earshot.lab.curriculum import Example
from earshot.lab.pretraining import Schedule, learn
from earshot.protocol import reasoner_messages, write_completion
from earshot.rundir import RunDir, describe_environment, read_jsonl, write_json
from earshot.train.grpo import train_grpo
from earshot.train.reward import CombinedReward
from earshot.types import Verdict
from earshot.vlm.prefix import sampling
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.corpus import corpus
from earshot.world.make import Recipe, make_set

FIRST_STEPS = 2  # of every run, which do not count: a chat server is tried out, and caches are cold
KINDS = {"earshot serve": "", "chat API": "/v1#stand-in"}


def serve(ms: float, port: Connection) -> None:
    """Answers as `earshot serve` and as a chat API do, after the time that the reading takes."""
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            traces = body.get("traces", [None])
            if found := self.path != "/tokenize":
                with one_at_a_time:
                    time.sleep(ms / 1000 * len(traces))
            token = {"token": "1", "logprob": -0.5}
            both = [token, {"token": "2", "logprob": -1.0}]
            chat = {"choices": [{"logprobs": {"content": [{**token, "top_logprobs": both}]}}]}
            text = json.dumps({"p_first": [0.6] * len(traces)} if self.path == "/v1/listen" else chat).encode()
            self.send_response(200 if found else 404)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def serving(ms: float) -> Any:
    """The address of the stand-in."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(ms, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


@contextmanager
def slow_sampling(ms: float) -> Any:
    """Every pass of sampling waits, as for a model that computes elsewhere."""
    stock = sampling._Drawing.__call__

    def drawing(self: Any, *args: Any) -> Any:
        time.sleep(ms / 1000)
        return stock(self, *args)

    with patch.object(sampling._Drawing, "__call__", drawing):
        yield


def teach(folder: Path, data: Path) -> Path:
    """A reasoner whose traces say one to forty-eight things, how many by chance, and the fewer the likelier."""
    rng, known = np.random.default_rng(0), PairSet(data)
    vlm = build_tiny("qwen2_5_vl", list(corpus(40)), size=TinySize(hidden=64, layers=2, image_px=56))

    def draw() -> Example:
        pair = known[int(rng.integers(len(known)))]
        images = [load_image(pair.first), load_image(pair.second)]
        trace = " ".join(["red ."] * min(int(rng.geometric(1 / 20)), 48))
        text = write_completion(Verdict("first" if rng.random() < 0.5 else "second", trace))
        return Example(reasoner_messages(pair.prompt, vlm.prompts), images, text)

    learn(vlm, draw, Schedule(150, 5e-3, batch_size=8))
    vlm.save(folder)
    return folder


def train(model: Path, data: Path, address: str, options: argparse.Namespace) -> dict[str, float]:
    """One run; means over its steps of their seconds and of how long completions were."""
    with tempfile.TemporaryDirectory() as out:
        config = GrpoConfig.model_validate(
            {
                "model": {"path": str(model), "device": "cpu"},
                "data": {"train": str(data)},
                "out": f"{out}/run",
                "listener": {"paths": address, "remote": {"prompts": "brief"}, "needs_claims": False},
                "trl": {
                    "per_device_train_batch_size": options.completions,
                    "num_generations": 8,
                    "max_completion_length": 128,
                    "max_steps": FIRST_STEPS + options.steps,
                },
            }
        )
        run = RunDir(train_grpo(config, console=Console(quiet=True)))
        rows = [row for row in read_jsonl(run.metrics_log) if "loss" in row]
    columns = {"step": "step_seconds", "malformed": "malformed"}
    columns |= {name: f"trl/completions/{name}_length" for name in ("min", "mean", "max")}
    return {name: fmean(row[column] for row in rows[FIRST_STEPS:]) for name, column in columns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ms", type=float, default=20.0)
    parser.add_argument("--token-ms", type=float, default=20.0)
    parser.add_argument("--completions", type=int, default=32)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    told: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.overlap", *sys.argv[1:]]),
        "environment": describe_environment(completions=options.completions, ms=options.ms, token_ms=options.token_ms),
    }
    with tempfile.TemporaryDirectory() as folder, serving(options.ms) as url:
        data = Path(folder) / "pairs"
        make_set(data, Recipe("train"), 64, workers=1)
        model = teach(Path(folder) / "model", data)
        for name, path in KINDS.items():

            def with_it(address: str = url + path) -> dict[str, float]:
                return train(model, data, address, options)

            def without(address: str = url + path) -> dict[str, float]:
                with patch.object(CombinedReward, "ahead", lambda self, pairs: nullcontext()):
                    return train(model, data, address, options)

            with slow_sampling(options.token_ms):
                found = in_turns(with_it, without, options.runs)
            step = found.pop("step")
            told[name] = {
                "without_over_with": step.ratio, "low": step.low, "high": step.high, "runs": step.runs,
                "with_s": step.ours, "without_s": step.stock,
            } | {part: ratio.ours for part, ratio in found.items()}  # fmt: skip
            print(name, told[name], flush=True)
    write_json(options.out, told)


if __name__ == "__main__":
    main()
