"""Example pairs chosen by rule, never by hand, and their pictures as small embedded images."""

from __future__ import annotations

import base64
import heapq
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from earshot.data.pairset import read_pairs
from earshot.errors import EarshotError, ImageError
from earshot.images import load_image
from earshot.report.reading import Evaluation
from earshot.rundir import read_jsonl
from earshot.types import ImageSource, Pair

PER_RULE = 3
THUMBNAIL_PX = 320
MAX_TRACE_CHARACTERS = 2_000
MAX_SAMPLES = 4

Row = Mapping[str, Any]


def confident_mistake(row: Row) -> float | None:
    """How sure a wrong verdict is: p_first's distance from an even guess; None where nothing is wrong."""
    votes = row["votes_first"] - row["votes_second"]
    if votes == 0 or row["p_first"] is None:
        return None
    lean = row["p_first"] - 0.5
    return abs(lean) if lean * votes < 0 else None


def listener_gap(row: Row) -> float | None:
    """The widest gap between the reasoner and a listener, among samples in which they are on different sides."""
    gaps = [
        abs(sample["p_first"] - p)
        for sample in row["samples"]
        if sample["malformed"] is None and sample["p_first"] is not None
        for p in (sample.get("listener") or {}).values()
        if (sample["side"] == "first") != (p > 0.5)
    ]
    return max(gaps, default=None)


def order_flip(row: Row) -> float | None:
    """How far the two orders are apart, where they point to different sides."""
    forward, swapped = row["p_first_forward"], row["p_first_swapped"]
    if forward is None or swapped is None or (forward - 0.5) * (swapped - 0.5) >= 0:
        return None
    return abs(forward - swapped)


RULES: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("Most confident mistakes", confident_mistake),
    ("Largest disagreement with a listener", listener_gap),
    ("Verdicts that turn with the order", order_flip),
)


class Example(NamedTuple):
    """One pair to show."""

    row: Row
    size: float
    pair: Pair | None


def choose(rows: Iterable[Row], per_rule: int = PER_RULE) -> dict[str, list[Example]]:
    """The rows that each rule ranks highest, in one pass; of equals, the earlier."""
    heaps: dict[str, list[tuple[float, int, Row]]] = {title: [] for title, _ in RULES}
    for number, row in enumerate(rows):
        for title, rule in RULES:
            size = rule(row)
            if size is None:
                continue
            heap = heaps[title]
            if len(heap) < per_rule:
                heapq.heappush(heap, (size, -number, row))
            elif (size, -number) > heap[0][:2]:
                heapq.heapreplace(heap, (size, -number, row))
    return {
        title: [Example(row, size, None) for size, _, row in sorted(heap, key=lambda item: item[:2], reverse=True)]
        for title, heap in heaps.items()
    }


def examples_of(evaluation: Evaluation) -> tuple[dict[str, list[Example]], str | None]:
    """The examples of one test set by rule, with their pairs; and why those are not at hand, if they are not."""
    if not evaluation.predictions.exists():
        return {}, None
    chosen = choose(read_jsonl(evaluation.predictions))
    wanted = {str(example.row["id"]) for examples in chosen.values() for example in examples}
    pairs, fault = find_pairs(evaluation.data_folder, wanted)
    with_pairs = {
        title: [example._replace(pair=pairs.get(str(example.row["id"]))) for example in examples]
        for title, examples in chosen.items()
    }
    return with_pairs, fault


def find_pairs(folder: Path | None, ids: set[str]) -> tuple[dict[str, Pair], str | None]:
    """Those pairs of the set that was judged, or why there are none: a report can do without its pictures."""
    if folder is None:
        return {}, "the evaluation does not say which pair set it judged"
    found: dict[str, Pair] = {}
    try:
        for pair in read_pairs(folder, tolerate=sys.maxsize):
            if pair.id in ids:
                found[pair.id] = pair
            if len(found) == len(ids):
                break
    except EarshotError as error:
        return found, f"the pair set cannot be read: {error}"
    return found, None


@dataclass
class Pictures:
    """Turns images into data URLs until a budget is spent, so that the page stays small whatever is in it."""

    budget_bytes: int
    left_out: int = 0
    _known: dict[tuple[str, str], str] = field(default_factory=dict)

    def url(self, key: tuple[str, str], source: ImageSource) -> str | None:
        """A small WebP as a data URL, once for each key; None where the image is refused or the budget spent."""
        if key in self._known:
            return self._known[key]
        try:
            picture = load_image(source).copy()
        except ImageError:
            return None
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        out = io.BytesIO()
        picture.save(out, format="WEBP", quality=78)
        url = "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
        if len(url) > self.budget_bytes:
            self.left_out += 1
            return None
        self.budget_bytes -= len(url)
        self._known[key] = url
        return url


def shown_samples(samples: Sequence[Row]) -> list[Row]:
    """A few samples to show, of both orders, with their traces cut to a readable length."""
    by_order = [[s for s in samples if s["order"] == order] for order in ("forward", "swapped")]
    few = [sample for group in by_order for sample in group[: MAX_SAMPLES // 2]]
    optional: Row = {"listener": {}, "claims": None}
    return [{**optional, **sample, "trace": shortened(str(sample["trace"] or ""))} for sample in few]


def shortened(text: str, limit: int = MAX_TRACE_CHARACTERS) -> str:
    """The text, or its beginning and how much more there is."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"
