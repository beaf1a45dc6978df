"""Run directories with hostile contents, made by hand, for the tests of the report."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earshot.files import append_jsonl, write_json, write_text
from earshot.metrics import PredictionTable, summarise
from earshot.predictions.overoptimised import Curve, Gain, Overoptimised, Point
from earshot.types import Estimate

HOSTILE = '<script>alert("x")</script> & "quotes" \u202e backwards {{ 7 * 7 }} </pre></style>'


def make_pair_set(folder: Path, n: int = 12) -> Path:
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(n):
        names = [f"images/{i}_{side}.png" for side in ("a", "b")]
        for name in names:
            Image.fromarray(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8)).save(folder / name)
        row = {"id": f"p{i}", "prompt": f"prompt {i} {HOSTILE}", "first_file_name": names[0]}
        rows.append(row | {"second_file_name": names[1], "votes_first": 3, "votes_second": i % 5})
    append_jsonl(folder / "metadata.jsonl", rows)
    return folder


def prediction(i: int, p: float) -> dict[str, Any]:
    def sample(order: str, p_first: float) -> dict[str, Any]:
        side = "first" if p_first > 0.5 else "second"
        return {
            "order": order, "trace": f"trace {i}: {HOSTILE}", "side": side, "malformed": None,
            "verdict": 1 if (side == "first") == (order == "forward") else 2, "p_first": p_first,
            "listener": {"kin": 0.5, "far <b>": round(1 - p_first, 3)},
            "claims": {"true": 2, "false": i % 2, "unchecked": 0},
        }  # fmt: skip

    swapped = min(1.0, p + 0.3)
    return {
        "id": f"p{i}", "prompt_id": f"prompt {i // 2}", "p_first": (p + swapped) / 2, "p_first_forward": p,
        "p_first_swapped": swapped, "votes_first": 3, "votes_second": i % 5, "first_bytes": 100 + i,
        "second_bytes": 105, "samples": [sample("forward", p), sample("swapped", swapped)],
    }  # fmt: skip


def make_evaluation(folder: Path, data: str | None = None, n: int = 12, shift: float = 0.0) -> None:
    rows = [prediction(i, min(1.0, round((i * 7 % n) / n + shift, 3))) for i in range(n)]
    append_jsonl(folder / "predictions.jsonl", rows)
    write_json(folder / "metrics.json", summarise(PredictionTable.from_rows(rows), resamples=200) | {"n_refused": 0})
    write_json(folder / "evaluation.json", {"samples": 1, "model": HOSTILE} | ({"data": data} if data else {}))


def make_run(path: Path, *, steps: int = 60, data: Path | None = None, shift: float = 0.0) -> Path:
    """A training run with two evaluations, in and out of distribution."""
    write_text(path / "config.yaml", f"model:\n  path: {HOSTILE}\n")
    write_json(path / "environment.json", {"commit": "abc", "packages": {"torch": "2.13.0"}, "cpu_count": 2})
    rows = []
    for step in range(1, steps + 1):
        rise = 1 - math.exp(-step / 20) + shift
        row: dict[str, Any] = {"step": step, "reward": 1 + rise / 2, "reward/format": 1.0, "reward/accuracy": rise}
        row |= {"reward/listener": None if step % 7 == 0 else rise / 2, "listener/p_label": 0.5 + rise / 4}
        row |= {"kl": 0.01 * step, "entropy": 1 / step, "trace_words": 20 + math.sin(step), "step_seconds": 1.5}
        rows.append(row | {"malformed": 0.02, "listener/disagreement": 0.3 - rise / 10})
    append_jsonl(path / "metrics.jsonl", rows)
    for name in ("test_id", "test_ood"):
        make_evaluation(path / "eval" / name, "../../../data" if data else None, shift=shift / 2)
    return path


def make_overoptimised(path: Path, *models: str) -> Path:
    """What is left of rewards, where gold falls while the reward rises."""

    def some(value: float) -> Estimate:
        return Estimate(value, value - 0.1, value + 0.1, 30)

    def curve(method: Any, model: str | None, judge: str, gold: list[float]) -> Curve:
        points = [Point(1.0, some(0.0), some(0.5), some(gold[0]), Estimate.missing())]
        points += [
            Point(2.0**k, some(0.4 * k), some(0.5 + k / 10), some(g), some(0.6)) for k, g in enumerate(gold) if k
        ]
        return Curve(method, model, judge, int(np.argmax(gold)), points)

    judged = [(model, judge) for model in models for judge in ("its own verdict", f"reader {HOSTILE}")]
    curves = [
        curve(method, model, judge, gold)
        for method in ("best-of-n", "policy")
        for model, judge, gold in [
            (None, "gold", [0.9, 1.5, 1.9]),
            (None, "random, once", [0.9, 0.8, 0.7]),
            *((model, judge, [0.9, 1.2, 1.1]) for model, judge in judged),
        ]
    ]
    gains = [
        Gain(method, "its own verdict", other, models[0], what, pressure, some(0.3))
        for other in models[1:]
        for method, what, pressure in (("best-of-n", "captured", 2.0), ("policy", "gold", None))
    ]  # fmt: skip
    told = {"comparisons": 4040, "comparisons_without_answer": 147, "listeners": {HOSTILE: {"sha256": "f" * 64}}}
    settings = {"prompts": 30, "pictures": 8, "policies": 16, "references": 2, "seed": 0}
    found = Overoptimised(settings, {m: {**told, "model": {"sha256": "0" * 64}} for m in models}, curves, gains, {})
    write_json(path / "overoptimise.json", found.as_record())
    return path


@pytest.fixture()
def hostile() -> str:
    return HOSTILE


def make_three_runs(folder: Path) -> list[Path]:
    """Three training runs, evaluated twice each on a pair set whose images are there."""
    data = make_pair_set(folder / "data")
    runs = [make_run(folder / name, data=data, shift=0.2 * i) for i, name in enumerate(("sft", "naive", "heard"))]
    make_overoptimised(runs[1], "naive", "heard", f"else {HOSTILE}")
    return runs


@pytest.fixture()
def three_runs(tmp_path: Path) -> list[Path]:
    return make_three_runs(tmp_path)


@pytest.fixture()
def new_run() -> Callable[..., Path]:
    return make_run
