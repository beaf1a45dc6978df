"""GRPO whose listener is an `earshot serve` in another process, which is gone for twenty seconds in the middle."""

import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from earshot.config import GrpoConfig, load_config
from earshot.files import read_jsonl
from earshot.rundir import RunDir
from earshot.train.grpo import train_grpo
from earshot.world.make import Recipe, make_set

ROOT = Path(__file__).resolve().parents[2]
OUTAGE_S = 20.0


@contextmanager
def serving(port: int) -> Iterator[subprocess.Popen[str]]:
    words = ["serve", "--model", "world:reasoner", "--listener", "world:listener", "--port", str(port)]
    command = [sys.executable, "-m", "earshot.cli.main", *words, "--max-new-tokens", "16"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert str(port) in server.stdout.readline()
            yield server
        finally:
            server.kill()


@pytest.mark.slow
def test_an_outage_costs_rewards_and_invents_none(tmp_path: Path) -> None:
    make_set(tmp_path / "pairs", Recipe("train"), 64, workers=1)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    overrides = [
        f"out={tmp_path / 'run'}",
        f"data.train={tmp_path / 'pairs'}",
        "data.validation=null",
        "evaluation.every_steps=null",
        f"listener.paths=http://127.0.0.1:{port}",
        "listener.prompts=brief",
        "listener.remote.patience_s=2",
        "log_rollouts_every=1",
        "trl.per_device_train_batch_size=32",
        "trl.max_steps=24",
    ]
    config = load_config(GrpoConfig, ROOT / "configs/world-listener-grpo.yaml", overrides)
    log = RunDir(tmp_path / "run").metrics_log
    times: dict[str, float] = {}

    def interrupt() -> None:
        """After five steps the server is killed; it is back when the time is over."""
        with serving(port) as server:
            up.set()
            while not log.exists() or log.read_bytes().count(b"\n") < 5:
                time.sleep(0.1)
            server.send_signal(signal.SIGKILL)
            server.wait()
        times["gone"] = time.time()
        time.sleep(OUTAGE_S)
        with serving(port):
            times["back"] = time.time()
            over.wait()

    up, over = threading.Event(), threading.Event()
    outage = threading.Thread(target=interrupt, daemon=True)
    outage.start()
    assert up.wait(120)
    try:
        train_grpo(config)
    finally:
        over.set()
        outage.join(60)
    assert times["back"] - times["gone"] >= OUTAGE_S
    steps = [row for row in read_jsonl(log) if "rewards_missing" in row]
    missing = [row["rewards_missing"] for row in steps]
    print([round(share, 2) for share in missing], times["back"] - times["gone"])
    assert len(missing) == 24 and missing[0] == missing[-1] == 0 and max(missing) > 0.9
    for file in sorted(RunDir(tmp_path / "run").rollouts.glob("*.parquet")):
        for row in pq.read_table(file).to_pylist():
            heard = row["listener_p_first"] is not None
            if row["malformed"] is None and not heard:
                assert row["reward"] is None and row["reward_listener"] is None
            if heard:
                sign = 1 if row["votes_first"] > row["votes_second"] else -1
                assert math.isclose(row["reward_listener"], 0.5 + sign * (row["listener_p_first"] - 0.5), abs_tol=1e-6)
