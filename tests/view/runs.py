"""Runs made by hand, hostile in their words, whose counts can be worked out by looking."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from earshot.files import append_jsonl, write_json, write_text
from earshot.predictions.run import Evaluation
from earshot.view.judged import JudgedSource
from earshot.view.pictures import Pairs
from earshot.view.rows import Rows

SCRIPT = "<script>window.pwned = 1</script>"
BROKEN_IMAGE = '"><img src=x onerror="window.pwned = 1">'
HOSTILE = f"{SCRIPT}{BROKEN_IMAGE} \u202edrawkcab\u202c NUL\0here {{{{ 7 * 7 }}}} </pre></style> \ud83d &amp; 'quoted'"
LONG = "a long trace, " * 8_000  # 112,000 characters

ROLLOUT_COLUMNS = {
    "step": pa.int64(), "pair_id": pa.string(), "prompt": pa.string(), "first_file": pa.string(),
    "second_file": pa.string(), "votes_first": pa.float64(), "votes_second": pa.float64(), "completion": pa.string(),
    "trace": pa.string(), "trace_redacted": pa.string(), "side": pa.string(), "malformed": pa.string(),
    "reward": pa.float64(), "reward_format": pa.float64(), "reward_accuracy": pa.float64(),
    "reward_listener": pa.float64(), "listener_p_first": pa.float64(), "listener_p_first_no_trace": pa.float64(),
}  # fmt: skip


class P(NamedTuple):
    """A judged pair: p_first in either order (None: malformed), votes, and what two listeners said in either order."""

    forward: float | None
    swapped: float | None
    votes: tuple[float, float]
    far: tuple[float | None, float | None] | None = None
    kin: tuple[float | None, float | None] | None = None
    label: str | None = None
    trace: str = "plain words"


# What each is, worked by hand; a listener that is not given agrees.
PAIRS = {
    "a": P(0.9, 0.8, (3, 1), far=(0.2, 0.2)),  # right; far differs, by |0.9 - 0.2| = 0.7
    "b": P(0.9, 0.2, (1, 3), far=(0.3, 0.3)),  # p 0.55, wrong; flips; far differs in order, by 0.6
    "c": P(0.1, 0.3, (0, 5), far=(0.5, 0.5)),  # right; far is on no side and so differs, by 0.4
    "d": P(None, 0.4, (2, 1)),  # malformed in order, so no p_first: wrong
    "e": P(0.6, 0.6, (2, 2)),  # a tie: open
    "f": P(0.5, 0.5, (5, 0)),  # on no side: wrong, and not consistent
    "g": P(0.05, 0.05, (4, 1), kin=(0.9, 0.9)),  # wrong, surely; kin differs, by 0.85
    "h": P(0.7, 0.7, (1, 0), trace=HOSTILE),  # right
    "i": P(0.4, 0.4, (0, 0), label="second", trace=LONG + "the Grün end"),  # no votes: open, whatever its label says
}


def prediction(name: str, pair: P, prompt: str | None = None) -> dict[str, Any]:
    def sample(order: str, p: float | None, heard: dict[str, float | None]) -> dict[str, Any]:
        side = None if p is None else "first" if p > 0.5 else "second"
        return {
            "order": order, "trace": pair.trace, "side": side, "malformed": "no answer block" if p is None else None,
            "verdict": None if side is None else 1 if (side == "first") == (order == "forward") else 2, "p_first": p,
            "listener": {} if p is None else heard, "claims": None,
        }  # fmt: skip

    ps = (pair.forward, pair.swapped)
    said = [{"far": 0.9 if (p or 0) > 0.5 else 0.1, "kin": 0.9 if (p or 0) > 0.5 else 0.1} for p in ps]
    for listener in ("far", "kin"):
        for k, p in enumerate(getattr(pair, listener) or ()):
            said[k][listener] = p
    return {
        "id": name, "prompt_id": f"prompt {name}" if prompt is None else prompt,
        "p_first": None if None in ps else sum(ps) / 2, "p_first_forward": ps[0], "p_first_swapped": ps[1],
        "votes_first": pair.votes[0], "votes_second": pair.votes[1],
        **({"label": pair.label} if pair.label else {}), "model_first": "<i>generator</i>",
        "samples": [sample("forward", ps[0], said[0]), sample("swapped", ps[1], said[1])],
    }  # fmt: skip


def make_pair_set(folder: Path) -> Path:
    """The pairs of PAIRS, whose prompts are not in the predictions, and two that lead to no image of the set."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for name, pair in PAIRS.items():
        for side in ("first", "second"):
            pixels = rng.integers(0, 255, (24, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"images/{name}-{side}.png")
        rows.append(
            {
                "id": name,
                "prompt": f"The prompt of {name}: {HOSTILE.replace(chr(0xD83D), '')}",
                "first_file_name": f"images/{name}-first.png",
                "second_file_name": f"images/{name}-second.png",
                "votes_first": pair.votes[0],
                "votes_second": pair.votes[1],
            }
        )
    rows[3]["second_file_name"] = "images/gone.png"  # of d
    rows[4]["first_file_name"] = "../secret.png"  # of e
    Image.new("RGB", (32, 32), "red").save(folder.parent / "secret.png")
    append_jsonl(folder / "metadata.jsonl", rows)
    return folder


def rollout(step: int, **values: Any) -> dict[str, Any]:
    side = values.get("side", "first")
    row = dict.fromkeys(ROLLOUT_COLUMNS) | {
        "step": step, "pair_id": "a", "prompt": f"a rollout's prompt {SCRIPT}", "first_file": "x", "second_file": "y",
        "votes_first": 3.0, "votes_second": 1.0, "completion": f"<think>words of step {step}</think>", "side": side,
        "trace_redacted": "words", "reward": 1.0, "reward_format": 1.0, "listener_p_first": 0.9,
    }  # fmt: skip
    return row | values


def write_rollouts(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(ROLLOUT_COLUMNS.items()))), path, row_group_size=2)


ROLLOUTS = {
    "step-000000-rank0.parquet": [
        rollout(0, side="first", reward=1.5),  # right
        rollout(0, side="second", reward=0.5, listener_p_first=0.8),  # wrong; the listener differs, by 0.8
        rollout(0, side=None, malformed="two answers", reward=0.0, listener_p_first=None),  # malformed: wrong
    ],
    "step-000002-rank0.parquet": [
        rollout(
            2, side="second", reward=None, listener_p_first=None, completion="Some OTHER words"
        ),  # wrong, no reward
        rollout(2, side="first", reward=2.0, votes_first=1.0, prompt=HOSTILE.replace("\ud83d", "")),  # a tie: open
    ],
}


def make_run(path: Path, data: Path) -> Path:
    """A training run with rollouts, and an evaluation of the pairs above."""
    write_text(path / "config.yaml", "data: {train: runs/elsewhere/data}\nout: runs/elsewhere/run\n")
    folder = path / "eval" / f"set {BROKEN_IMAGE.replace('/', '')}"
    append_jsonl(folder / "predictions.jsonl", [prediction(name, pair) for name, pair in PAIRS.items()])
    write_json(folder / "evaluation.json", {"data": f"../../../{data.name}", "listeners": ["far", "kin"]})
    for name, rows in ROLLOUTS.items():
        write_rollouts(path / "rollouts" / name, rows)
    return path


def judged_rows(*folders: Path) -> Rows:
    """The rows of evaluations, not read yet, and without their pair sets."""
    return Rows([JudgedSource(Evaluation(f"run {k}", folder), Pairs(None)) for k, folder in enumerate(folders)])
