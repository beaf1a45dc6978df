"""Evaluations whose numbers can be worked out by looking."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from earshot.benchmarks.protocols import find_protocol, protocol_records
from earshot.files import append_jsonl, write_json
from earshot.metrics import PredictionTable, summarise

RIGHT, WRONG = 0.9, 0.1  # of pairs whose first image won


def row(
    name: str,
    p: float | None,
    votes: tuple[float, float] = (3, 1),
    *,
    prompt: str | None = None,
    orders: tuple[float | None, float | None] | None = None,
    heard: Mapping[str, float | None] | None = None,
    trace: str = "some words here",
    **more: Any,
) -> dict[str, Any]:
    """A row of predictions.jsonl with a sample in either order; a p_first of None is malformed."""
    forward, swapped = (p, p) if orders is None else orders

    def sample(order: str, p_first: float | None) -> dict[str, Any]:
        side = None if p_first is None else "first" if p_first > 0.5 else "second"
        shown = None if side is None else 1 if (side == "first") == (order == "forward") else 2
        return {
            "order": order, "trace": trace, "side": side, "malformed": None if side else "no answer block",
            "verdict": shown, "p_first": p_first, "listener": dict(heard or {}) if side else {}, "claims": None,
        }  # fmt: skip

    mean = None if forward is None or swapped is None else (forward + swapped) / 2
    return {
        "id": name, "prompt_id": prompt or f"prompt of {name}", "p_first": mean, "p_first_forward": forward,
        "p_first_swapped": swapped, "votes_first": votes[0], "votes_second": votes[1], "first_bytes": 10,
        "second_bytes": 20, "samples": [sample("forward", forward), sample("swapped", swapped)], **more,
    }  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]]) -> PredictionTable:
    return PredictionTable.from_rows(rows)


def write_evaluation(
    folder: Path, rows: Sequence[Mapping[str, Any]], protocols: Sequence[str] = (), **settings: Any
) -> dict[str, Any]:
    """The files of an evaluation; the content of its metrics.json."""
    append_jsonl(folder / "predictions.jsonl", rows)
    write_json(folder / "evaluation.json", settings)
    metrics = summarise(table(rows), resamples=500)
    metrics |= protocol_records(table(rows), [find_protocol(name) for name in protocols], resamples=500)
    write_json(folder / "metrics.json", metrics)
    return metrics
