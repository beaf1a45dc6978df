"""Example pairs chosen by rule, never by hand, and their pictures as small embedded images."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from earshot.data.pairset import read_pairs
from earshot.errors import EarshotError, ImageError
from earshot.images import load_image
from earshot.predictions.facts import Row, is_flipped, listener_gaps, outcome_of
from earshot.predictions.sides import differs, gap, side_of
from earshot.types import ImageSource, Pair

PER_RULE = 3
THUMBNAIL_PX = 320
MAX_TRACE_CHARACTERS = 1_500
MAX_SAMPLES = 4


def confident_mistake(row: Row) -> float | None:
    """How sure a wrong verdict is: p_first's distance from an even guess; None where none is wrong, or on no side."""
    if outcome_of(row) != "wrong" or side_of(row["p_first"]) is None:
        return None
    return abs(row["p_first"] - 0.5)


def listener_gap(row: Row) -> float | None:
    """The widest gap between the reasoner and a listener, among samples in which they are on different sides."""
    return max(listener_gaps(row["samples"]).values(), default=None)


def order_flip(row: Row) -> float | None:
    """How far the two orders are apart, where they are not on one side."""
    return gap(row["p_first_forward"], row["p_first_swapped"]) if is_flipped(row) else None


def malformed_share(row: Row) -> float | None:
    """The share of the pair's completions that are no verdict; None where all are."""
    malformed = sum(sample["malformed"] is not None for sample in row["samples"])
    return malformed / len(row["samples"]) if malformed else None


class Rule(NamedTuple):
    """How examples are chosen: the pairs of the largest size, of equals the earlier."""

    title: str
    meaning: str
    size: Callable[[Row], float | None]
    """None for a pair that the rule is not about."""


RULES = (
    Rule(
        "Most confident mistakes",
        "strict pairs judged to the wrong side, with p(first) farthest from an even guess",
        confident_mistake,
    ),
    Rule(
        "Largest disagreement with a listener",
        "completions whose side is not a listener's, with |p listener − p reasoner| largest",
        listener_gap,
    ),
    Rule(
        "Verdicts that turn with the order",
        "pairs of which the two orders name different sides, with the two p(first) farthest apart",
        order_flip,
    ),
    Rule("Malformed", "pairs with the largest share of completions that are no verdict", malformed_share),
)


class Chooser:
    """Keeps the rows that each rule ranks highest while rows go by; of equals, the earlier."""

    def __init__(self) -> None:
        self._kept: dict[str, list[tuple[float, Row]]] = {rule.title: [] for rule in RULES}

    def passing(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows as they are, each looked at once it was taken: a bad one is the taker's to refuse."""
        for row in rows:
            yield row
            for rule in RULES:
                size = rule.size(row)
                if size is not None:
                    kept = self._kept[rule.title]
                    kept.append((size, row))
                    kept.sort(key=lambda one: -one[0])
                    del kept[PER_RULE:]

    def chosen(self) -> dict[str, list[Row]]:
        """The examples by their rule's title, the largest first."""
        return {title: [row for _, row in kept] for title, kept in self._kept.items()}


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


class Budget:
    """Room for one kind of thing on the page, so that it stays small whatever is in it; what found none is counted."""

    def __init__(self, size_bytes: int) -> None:
        self.left = size_bytes
        self.taken = self.refused = 0

    def takes(self, size_bytes: int) -> bool:
        """Whether there is room, which is then taken; a thing is asked about once."""
        if size_bytes > self.left:
            self.refused += 1
            return False
        self.left -= size_bytes
        self.taken += 1
        return True


class Pictures:
    """Turns images into data URLs until a budget is spent."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._known: dict[tuple[str, str], str] = {}

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
        if not self.budget.takes(len(url)):
            return None
        self._known[key] = url
        return url


def shown_samples(samples: Sequence[Row]) -> list[Row]:
    """A few samples to show, of both orders, with their traces cut to a readable length."""
    by_order = [[s for s in samples if s["order"] == order] for order in ("forward", "swapped")]
    few = [sample for group in by_order for sample in group[: MAX_SAMPLES // 2]]
    optional: Row = {"listener": {}, "claims": None}
    return [
        {**optional, **sample, "trace": shortened(str(sample["trace"] or "")), "heard": _heard(sample)}
        for sample in few
    ]


def _heard(sample: Row) -> list[dict[str, Any]]:
    """What each listener said of a completion, and whether it is on its side."""
    heard = {name: p for name, p in (sample.get("listener") or {}).items() if p is not None}
    return [{"name": name, "p": p, "agrees": differs(p, sample["side"]) is False} for name, p in heard.items()]


def shortened(text: str, limit: int = MAX_TRACE_CHARACTERS) -> str:
    """The text, or its beginning and how much more there is."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"
