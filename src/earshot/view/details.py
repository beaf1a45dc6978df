"""Rows as the page gets them: plain values, of hostile length cut, with everything the page says worked out here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from earshot.predictions.facts import is_flipped, listener_gaps, outcome_of, side_of_people
from earshot.predictions.judgement import AUTHOR
from earshot.predictions.rollout import parts_of
from earshot.predictions.sides import differs
from earshot.types import Side

MAX_PROMPT_CHARACTERS = 300
"""Of a prompt in the list."""
MAX_TRACE_CHARACTERS = 200_000
"""Of a text in the detail of a row; the page says how much more there is."""

Row = Mapping[str, Any]


def cut(value: Any, limit: int = MAX_TRACE_CHARACTERS) -> dict[str, Any] | None:
    """A text to show, and how many characters of it are left out; None stays None."""
    if value is None:
        return None
    text = str(value)
    return {"text": text[:limit], "more": max(0, len(text) - limit)}


def judged_summary(row: Row, prompt: str | None) -> dict[str, Any]:
    """What the list shows of a judged pair."""
    return {
        "id": str(row["id"])[:MAX_PROMPT_CHARACTERS],
        "prompt": str(row.get("prompt_id") if prompt is None else prompt)[:MAX_PROMPT_CHARACTERS],
        "p_first": row["p_first"],
        "votes": [row["votes_first"], row["votes_second"]],
        "preferred": side_of_people(row),
        "outcome": outcome_of(row),
        "malformed": sum(sample["malformed"] is not None for sample in row["samples"]),
        "samples": len(row["samples"]),
        "flip": is_flipped(row),
        "gap": max(listener_gaps(row["samples"]).values(), default=None),
    }


def judged_detail(row: Row, prompt: str | None) -> dict[str, Any]:
    """Everything about a judged pair."""
    return {
        **judged_summary(row, prompt),
        "id": cut(row["id"]),
        "prompt": cut(row.get("prompt_id") if prompt is None else prompt),
        "prompt_id": cut(row.get("prompt_id"), MAX_PROMPT_CHARACTERS),
        "p_forward": row["p_first_forward"],
        "p_swapped": row["p_first_swapped"],
        "decided_by": row.get("decided_by", AUTHOR),
        "p_author": row.get("p_author", row["p_first"]),
        "p_read": row.get("p_read") or {},
        "reason": row.get("reason"),
        "label": row.get("label"),
        "models": [cut(row.get(name), MAX_PROMPT_CHARACTERS) for name in ("model_first", "model_second")],
        "about": {
            name: cut(row[name], MAX_PROMPT_CHARACTERS) for name in ("axis", "category") if row.get(name) is not None
        },
        "samples": [_sample(sample) for sample in row["samples"]],
    }


def _sample(sample: Row) -> dict[str, Any]:
    return {
        "order": sample["order"],
        "side": sample["side"],
        "malformed": cut(sample["malformed"]),
        "p_first": sample["p_first"],
        "trace": cut(sample["trace"]),
        "listeners": [_heard(name, p, sample["side"]) for name, p in (sample.get("listener") or {}).items()],
        "claims": sample.get("claims"),
    }


def _heard(name: str, p_first: float | None, side: Side | None) -> dict[str, Any]:
    return {"name": name, "p_first": p_first, "differs": bool(differs(p_first, side))}


def rollout_summary(row: Row) -> dict[str, Any]:
    """What the list shows of a rollout."""
    people, side = side_of_people(row), row["side"]
    verdict = "open" if people is None else "right" if side == people else "wrong"
    # The reasoner's own probability is not in a rollout: its verdict stands for 1 or 0.
    gaps = listener_gaps([{"side": side, "listener": {"listener": row["listener_p_first"]}}])
    return {
        "id": str(row["pair_id"])[:MAX_PROMPT_CHARACTERS],
        "prompt": str(row["prompt"])[:MAX_PROMPT_CHARACTERS],
        "step": row["step"],
        "votes": [row["votes_first"], row["votes_second"]],
        "preferred": people,
        "outcome": verdict,
        "side": side,
        "malformed": int(row["malformed"] is not None),
        "samples": 1,
        "reward": row["reward"],
        "gap": max(gaps.values(), default=None),
    }


def rollout_detail(row: Row, listener: str, weights: Mapping[str, Any]) -> dict[str, Any]:
    """Everything about a rollout."""
    heard = [] if row["listener_p_first"] is None else [_heard(listener, row["listener_p_first"], row["side"])]
    return {
        **rollout_summary(row),
        "id": cut(row["pair_id"]),
        "prompt": cut(row["prompt"]),
        "malformed_reason": cut(row["malformed"]),
        "completion": cut(row["completion"]),
        "heard": cut(row["trace_redacted"]),
        "listeners": heard,
        "p_no_trace": row["listener_p_first_no_trace"],
        "parts": [{**part._asdict(), "paid": part.paid} for part in parts_of(row, weights)],
    }
