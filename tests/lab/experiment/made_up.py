"""Made-up experiments: rows of predictions with known truth, and a program that stands in for our commands."""

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from earshot.config import build_config
from earshot.files import append_jsonl
from earshot.lab.experiment.config import ExperimentConfig
from earshot.lab.experiment.plan import expand
from earshot.lab.experiment.running import Experiment

PROGRAM = """
import pathlib
from tests.lab.experiment.made_up import carry_out
carry_out(pathlib.Path(sys.argv[1]), sys.argv[2:])
"""


def carry_out(desk: Path, words: Sequence[str]) -> None:
    """What a command of ours would leave, made up; it fails or hangs where `desk` says so."""
    line = " ".join(words)
    with (desk / "calls").open("a") as told:
        told.write(line + "\n")
    for part in (desk / "fail").read_text().split("\n") if (desk / "fail").exists() else ():
        if part and part in line:
            print("reading\nboom: " + part)
            raise SystemExit(3)
    if (desk / "hang").exists() and (desk / "hang").read_text() in line:
        if words[0] == "train":
            folder = Path(yaml.safe_load(Path(words[2]).read_text())["out"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text("begun: yes")
        (desk / "hanging").touch()
        time.sleep(60)
    if [*words[:2]] == ["world", "make"]:
        for name in words[words.index("--sets") + 1].split(","):
            folder = Path(words[2]) / name
            folder.mkdir(parents=True)
            (folder / "metadata.jsonl").write_text(line)
    elif words[0] == "train":
        config = yaml.safe_load(Path(words[2]).read_text())
        model = Path(config["out"]) / "model"
        model.mkdir(parents=True, exist_ok=True)
        (model.parent / "config.yaml").write_text("begun: yes")
        arm = Path(config["out"]).parts[-3]
        (model / "model.safetensors").write_text(json.dumps([arm, config["trl"], config["seed"], config["model"]]))
    elif words[0] == "model":
        folder = Path(words[1])
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_text("made")
    elif words[0] == "eval":
        out = Path(words[words.index("--out") + 1])
        arm = out.parts[-4]
        rows = judged_rows(int(words[words.index("--seed") + 1]), better=0.2 if arm == "listener" else 0.0)
        out.mkdir(parents=True, exist_ok=True)
        (out / "predictions.jsonl").unlink(missing_ok=True)
        append_jsonl(out / "predictions.jsonl", rows)
        (out / "metrics.json").write_text("{}")


def stand_in(desk: Path) -> tuple[str, ...]:
    """A program to call in place of ours; what it was asked stands in `desk/calls`."""
    desk.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parents[3]
    (desk / "program.py").write_text(f"import sys\nsys.path.insert(0, {str(root)!r})\n{PROGRAM}")
    return (sys.executable, str(desk / "program.py"), str(desk))


def calls(desk: Path) -> list[str]:
    path = desk / "calls"
    return path.read_text().splitlines() if path.exists() else []


def plan_tree(out: Path) -> dict[str, Any]:
    """Two arms, two seeds, one set."""
    return {
        "out": str(out),
        "seeds": [0, 1],
        "world": {"pairs": 8, "test_pairs": 8, "sets": ["train", "test"]},
        "base": {
            "common": {"model": {"path": "world:reasoner"}},
            "grpo": {
                "listener": {"paths": "world:listener"},
                "trl": {"max_steps": 3, "per_device_train_batch_size": 8, "num_generations": 4},
            },
            "sft": {"trl": {"max_steps": 3, "per_device_train_batch_size": 2}},
        },
        "arms": {
            "naive": {"kind": "grpo", "overrides": {"listener": None, "rewards": {"listener": 0.0}}},
            "listener": {"kind": "grpo", "title": "with listener"},
        },
        "reference": "naive",
        "evaluation": {
            "sets": ["test"],
            "listeners": {"training": "world:listener", "held-out": "world:held-out"},
        },
        "primary": [
            {"endpoint": "accuracy", "sets": ["test"], "arms": ["listener"], "goal": 0.06},
            {
                "endpoint": "disagreement.held-out",
                "sets": ["test"],
                "arms": ["listener"],
                "relative": True,
                "goal": -0.3,
            },
        ],
    }


def plan_of(tree: dict[str, Any]) -> ExperimentConfig:
    return build_config(ExperimentConfig, tree, "plan")


def make_experiment(folder: Path) -> Path:
    """A finished experiment: three arms, three seeds, one set; the listener arm is 20 points better."""
    tree = plan_tree(folder / "x")
    tree["seeds"] = [0, 1, 2]
    tree["arms"]["blind"] = {"kind": "grpo", "role": "control", "overrides": {"listener": {"control": "blind"}}}
    plan = plan_of(tree)
    (desk := folder / "desk").mkdir(parents=True)
    made = Experiment(plan, say=lambda line: None, here=partial(carry_out, desk))
    assert made.carry_out(expand(plan)) == []
    return folder / "x"


def judged_rows(seed: int, *, better: float = 0.0, pairs: int = 120, prompts: int = 60) -> list[dict[str, Any]]:
    """Predictions of a run: right in six of ten completions and `better` more; the same pairs whatever the seed."""
    hard = np.random.default_rng(99).normal(0, 0.1, pairs)
    rng = np.random.default_rng([7, seed])
    rows = []
    for number in range(pairs):
        first = number % 2 == 0
        samples = [_sample(rng, first, 0.6 + better + hard[number], order) for order in ("forward", "swapped")]
        forward, swapped = (sample["p_first"] for sample in samples)
        rows.append(
            {
                "id": f"p{number}",
                "prompt_id": f"q{number % prompts}",
                "p_first": (forward + swapped) / 2,
                "p_first_forward": forward,
                "p_first_swapped": swapped,
                "p_read": {
                    name: sum(sample["listener"][name] for sample in samples) / 2 for name in samples[0]["listener"]
                },
                "votes_first": 4 if first else 1,
                "votes_second": 1 if first else 4,
                "samples": samples,
            }
        )
    return rows


def _sample(rng: np.random.Generator, first: bool, chance: float, order: str) -> dict[str, Any]:
    right = bool(rng.random() < chance)
    says_first = first == right
    p = 0.5 + (0.3 if says_first else -0.3) + float(rng.normal(0, 0.05))
    heard = {
        name: float(np.clip(0.5 + (0.2 if first else -0.2) + rng.normal(0, 0.2), 0, 1))
        for name in ("training", "held-out")
    }
    return {
        "order": order,
        "trace": "a b c",
        "side": "first" if says_first else "second",
        "malformed": None,
        "verdict": 1 if says_first == (order == "forward") else 2,
        "p_first": float(np.clip(p, 0, 1)),
        "listener": heard,
        "claims": {"true": 2, "false": int(rng.random() < (0.2 if right else 0.6)), "unchecked": 0},
    }
