"""How soon the leak alarm hears a bias that is planted in the training pairs, and whether it is silent without one.

    python benchmarks/leak_alarm.py --out benchmarks/leak_alarm.json --shares 0.5,0.75,1 --seeds 0,1

Pairs of the synthetic world are turned so that people's choice is the first image in such a share of them, as in a
published set that was never shuffled. GRPO from `world:reasoner`, paid by accuracy and by `world:listener`, then learns
to speak for the first image; what it says tells a listener that sees grey images the label. The alarm is asked at every
step, as `listener.leak_alarm` does it. Nothing is planted at a share of one half.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from earshot.data.pairset import PairSet
from earshot.data.writer import PairSetWriter
from earshot.files import read_jsonl, write_json
from earshot.rundir import describe_environment
from earshot.types import Pair, Votes

TRAINING = [
    "listener.leak_alarm.every_steps=1", "rewards.listener=0.5", "data.validation=null", "log_rollouts_every=100",
    "trl.per_device_train_batch_size=192", "trl.learning_rate=5e-5", "trl.max_completion_length=60",
    "trl.max_grad_norm=0.5", "trl.save_steps=1000",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shares", type=lambda text: [float(one) for one in text.split(",")], default=[0.5, 0.75, 1.0])
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0, 1])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        root = Path(folder)
        call(["world", "make", str(root / "world"), "--pairs", str(24 * options.steps), "--sets", "train"])
        for share in options.shares:
            turn(root / "world" / "train", root / f"share-{share}", share)
        runs = [(share, seed) for share in options.shares for seed in options.seeds]
        told = list(pool.map(lambda run: train(root, *run, steps=options.steps), runs))
    environment = describe_environment(command=f"python benchmarks/leak_alarm.py {' '.join(sys.argv[1:])}")
    write_json(options.out, {"environment": environment, "runs": told})
    for one in told:
        print(json.dumps({key: value for key, value in one.items() if not isinstance(value, list)}))


def call(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "earshot.cli.main", *words], check=True, stdout=subprocess.DEVNULL)


def turn(source: Path, target: Path, share: float) -> None:
    """The same pairs with the majority's image first in a share of those that have a majority."""
    pairs = PairSet(source)
    chance = np.random.default_rng(0)
    with PairSetWriter(target, info={"share_first": share}) as writer:
        for pair in (pairs[k] for k in range(len(pairs))):
            first = bool(chance.random() < share)
            tie = pair.votes.majority is None
            writer.add(pair if tie or (pair.votes.majority == "first") == first else turned(pair))


def turned(pair: Pair) -> Pair:
    return replace(pair, first=pair.second, second=pair.first, votes=Votes(pair.votes.second, pair.votes.first))


def train(root: Path, share: float, seed: int, *, steps: int) -> dict[str, Any]:
    out = root / f"run-{share}-{seed}"
    overrides = [f"data.train={root / f'share-{share}'}", f"out={out}", f"seed={seed}", f"trl.max_steps={steps}"]
    call(["train", "grpo", "configs/world-grpo.yaml", *overrides, *TRAINING])
    rows = [row for row in read_jsonl(out / "metrics.jsonl") if "leak/pairs" in row]
    alarms = [row["step"] for row in rows if row.get("leak/alarm")]
    first = [(row["step"] - 1, row["verdict_first"]) for row in rows if (row["step"] - 1) % 5 == 0]
    blind = [row["leak/blind_accuracy"] for row in rows]
    return {
        "share_first": share,
        "seed": seed,
        "checks": len(rows),
        "first_alarm": alarms[0] if alarms else None,
        "blind_accuracy_first_10": float(np.mean(blind[:10])),
        "blind_accuracy_last_10": float(np.mean(blind[-10:])),
        "said_first_at_start": first[0][1],
        "said_first_at_alarm": [one for step, one in first if step < alarms[0]][-1] if alarms else None,
        "said_first_at_end": first[-1][1],
        "blind_accuracy": blind,
        "said_first": first,
    }


if __name__ == "__main__":
    main()
