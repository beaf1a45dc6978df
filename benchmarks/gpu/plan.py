"""Runs the phases, each as a process within its limit, and prints one table of what they found.

bash benchmarks/gpu/plan.sh                          all of them, in the order of what matters
bash benchmarks/gpu/plan.sh test/logps speed/token   only these, for a second look
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.gpu.lines import OUT, REHEARSAL, lines, note

TOTAL_S = 580.0
"""Of everything, the installation of wheels among it."""
INSTALLING_S = 20.0
SPEED_S = 15.0  # until the first part of `speed` begins
SPEED = {
    "build": 25.0, "ceilings": 6.0, "token": 40.0, "vision": 12.0, "steps": 70.0, "adapters": 20.0, "training": 40.0,
    "listener": 20.0, "pictures": 6.0, "profile": 12.0,
}  # fmt: skip
"""Parts of `speed`, one process that makes the models once, with their limits."""
# A rehearsal shares a CPU with whatever else runs there.
_PATIENCE = 6 if REHEARSAL else 1


class Phase(NamedTuple):
    """One process.

    Attributes:
        words: What is called; parts of `speed` are added.
        limit_s: When it is ended.
    """

    words: list[str]
    limit_s: float


def _tests(name: str) -> list[str]:
    return ["pytest", "-q", "-m", "gpu", "-p", "benchmarks.gpu.lines", f"tests/gpu/test_{name}.py"]


_QUICK = ["--steps", "1", "--test-pairs", "3", "--ood-pairs", "3"]
_SMALL = ["pixels=56", "new_tokens=8", "hidden=64", "layers=1", "vision_hidden=32", "vision_layers=1"]
_LARGE = ["device=cuda", "dtype=bfloat16", "hidden=1024", "layers=24", "vision_hidden=768", "vision_layers=12"]
PHASES: dict[str, Phase] = {
    "facts": Phase(["benchmarks.gpu.facts"], 20),
    # Right? A wrong number makes every time below worthless.
    "test/sampling": Phase(_tests("sampling"), 45),
    "test/logps": Phase(_tests("logps"), 65),
    # How fast?
    "speed": Phase(["benchmarks.gpu.speed"], SPEED_S + sum(SPEED.values())),
    "test/training": Phase(_tests("training"), 60),
    # What users type.
    "quickstart": Phase(["earshot", "quickstart", *(_QUICK if REHEARSAL else ["--steps", "5", *_QUICK[2:]])], 60),
    "bench": Phase(
        ["earshot", "lab", "bench", "step", *(_SMALL if REHEARSAL else _LARGE), "--runs", "1", "--json"], 30
    ),
}


def chosen(names: Sequence[str]) -> dict[str, list[str]]:
    """The phases with these names, all where there are none, each with the parts that are asked of it.

    Raises:
        SystemExit: There is no such phase.
    """
    wanted: dict[str, list[str]] = {}
    for name in names or PHASES:
        phase, _, part = name.partition("/") if name.startswith("speed") else (name, "", "")
        if phase not in PHASES or part not in ("", *SPEED):
            known = [*PHASES, *(f"speed/{part}" for part in SPEED)]
            raise SystemExit(f"no phase {name!r}, expected one of {', '.join(known)}")
        wanted.setdefault(phase, []).extend([part] if part else SPEED if phase == "speed" else [])
    return wanted


def main(names: Sequence[str]) -> int:
    """Runs them; 1 where a phase failed or was left out."""
    began, wanted = time.time(), chosen(names)
    left = float(os.environ.get("GPU_SECONDS", TOTAL_S - INSTALLING_S)) * _PATIENCE
    before = len(lines())
    for name, parts in wanted.items():
        while True:
            seen = len(lines())
            _call(name, parts, end=began + left)
            # Where a part has broken the process, as an error of CUDA does, those behind it have one of their own.
            told = {line["phase"] for line in lines()[seen:]}
            unsaid = [part for part in parts if f"speed/{part}" not in told]
            if not unsaid or unsaid == parts:
                break
            parts = ["build", *unsaid[1:]] if unsaid[1:] and "build" not in unsaid else unsaid[1:]
            if not parts:
                break
    return summary(lines()[before:])


def _call(name: str, parts: Sequence[str], end: float) -> None:
    phase, began = PHASES[name], time.time()
    limit = min(phase.limit_s * _PATIENCE, end - began)
    if limit < 5:
        note(f"plan/{name}", skipped="no time left")
        return
    environment = {**os.environ, "GPU_DEADLINE": str(began + limit - 3)}
    with tempfile.TemporaryDirectory() as folder, (OUT / "log.txt").open("a", encoding="utf-8") as log:
        extra = ["--out", f"{folder}/quickstart"] if name == "quickstart" else list(parts)
        log.write(f"\n##### {name}\n")
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", *phase.words, *extra],
            stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(timeout=limit)
            failed = {"error": f"exit code {code}"} if code else {}
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            failed = {"error": f"ended after {limit:.0f} s"}
    note(f"plan/{name}", **failed, s=round(time.time() - began, 1))


def summary(found: Sequence[Mapping[str, Any]]) -> int:
    """Writes `summary.txt` and prints it; 1 where anything failed or was left out."""
    bad = [line for line in found if "error" in line or (line["phase"].startswith("plan/") and "skipped" in line)]
    head = "a rehearsal on a CPU: its figures mean nothing" if REHEARSAL else "figures of one run"
    rows = [f"{head}; {len(found)} lines, {len(bad)} bad"]
    for line in found:
        told = {key: value for key, value in line.items() if key != "phase"}
        rows.append(f"{'BAD ' if line in bad else '    '}{line['phase']}")
        rows.extend(f"        {key}: {_short(value)}" for key, value in told.items())
    text = "\n".join(rows) + "\n"
    (OUT / "summary.txt").write_text(text, encoding="utf-8")
    print(text, end="", flush=True)
    return 1 if bad else 0


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(one)}" for key, one in value.items())
    return str(value)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    sys.exit(main(sys.argv[1:]))
