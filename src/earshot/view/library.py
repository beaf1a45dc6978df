"""All rows of the given runs: followed while they are written, filtered, read."""

from __future__ import annotations

import threading
import traceback
from collections import OrderedDict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from earshot.view.details import judged_detail, judged_summary, rollout_detail, rollout_summary
from earshot.view.judged import JudgedIndex, is_set
from earshot.view.pictures import PairSets
from earshot.view.query import Query, Selection, listeners_of, select
from earshot.view.rollouts import LISTENER, RolloutIndex
from earshot.view.sources import Source, Sources

Kind = Literal["judged", "rollouts"]
_KEPT_SEARCHES, _KEPT_SELECTIONS = 8, 8


class Library:
    """The indexes of judged pairs and of rollouts, and the pair sets that their pictures are in.

    `refresh` is for one thread (`follow` is that thread's work); everything else may be called from any number.
    """

    def __init__(self, sources: Sources) -> None:
        self.judged = JudgedIndex(sources.judged)
        self.rollouts = RolloutIndex(sources.rollouts)
        self.sets = PairSets()
        self.ready = False
        """Whether everything that was there at the start has been indexed."""
        self.trouble: str | None = None
        """Why indexing cannot go on, if it cannot."""
        self._searches: OrderedDict[tuple[Kind, str, bool], np.ndarray] = OrderedDict()
        self._selections: OrderedDict[tuple[Kind, int, bool, Query], Selection] = OrderedDict()
        self._searching, self._selecting = threading.Lock(), threading.Lock()

    def index(self, kind: Kind) -> JudgedIndex | RolloutIndex:
        return self.judged if kind == "judged" else self.rollouts

    def refresh(self, stop: threading.Event | None = None) -> int:
        """Indexes what has been added since, unless told to stop, and returns how many rows that were."""
        added = self.judged.refresh(stop) + self.rollouts.refresh(stop)
        if not self.ready:
            for source in (*self.judged.sources, *self.rollouts.sources):
                if source.data is not None and not is_set(stop):
                    self._open_quietly(source)
            self.ready = not is_set(stop)
        return added

    def _open_quietly(self, source: Source) -> None:
        try:
            self.sets.open(source.data)  # type: ignore[arg-type]
        except Exception as error:
            self.index("judged" if source in self.judged.sources else "rollouts").notes.append(
                f"{source.run}, {source.name}: no pictures: {error}"
            )

    def follow(self, stop: threading.Event, every_s: float = 2.0) -> None:
        """Indexes, and goes on indexing what a run that is being written adds, until told to stop."""
        while not stop.is_set():
            try:
                self.refresh(stop)
            except Exception as error:  # the page goes on with what is indexed, and says so
                self.trouble = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            stop.wait(every_s)

    def state(self) -> dict[str, Any]:
        """What there is, and how much of it has been indexed."""
        kinds: tuple[Kind, ...] = ("judged", "rollouts")
        return {"ready": self.ready, "trouble": self.trouble, **{kind: self._state_of(kind) for kind in kinds}}

    def _state_of(self, kind: Kind) -> dict[str, Any]:
        index = self.index(kind)
        asked = {name for source in index.sources for name in source.listeners}
        return {
            "sources": [{"run": source.run, "name": source.name} for source in index.sources],
            "rows": int(np.count_nonzero(index.columns.snapshot()["alive"])),
            "progress": index.progress,
            "listeners": sorted(asked | set(listeners_of(index.columns.snapshot()))),
            "notes": list(index.notes),
            "left_out": index.left_out,
        }

    def select(self, kind: Kind, query: Query) -> Selection:
        """The rows of a query among those indexed so far."""
        key = (kind, self.index(kind).columns.version, self.ready, query)
        found = self._selections.get(key)
        if found is None:
            columns = self.index(kind).columns.snapshot()
            text_mask = self._with_text(kind, query.text, len(columns["source"])) if query.text else None
            found = select(columns, query, has_text=text_mask)
            with self._selecting:
                self._selections[key] = found
                while len(self._selections) > _KEPT_SELECTIONS:
                    self._selections.popitem(last=False)
        return found

    def _with_text(self, kind: Kind, text: str, n: int) -> np.ndarray:
        """Which of the first n rows hold a text; what was searched before is not searched again."""
        key = (kind, text.lower(), self.ready)
        with self._searching:  # one at a time: two at once would only take turns on the same disk
            known = self._searches.get(key, np.zeros(0, bool))
            if len(known) < n:
                known = np.concatenate([known, self._search(kind, text, len(known), n)])
                self._searches[key] = known
                while len(self._searches) > _KEPT_SEARCHES:
                    self._searches.popitem(last=False)
        return known[:n]

    def _search(self, kind: Kind, text: str, start: int, stop: int) -> np.ndarray:
        hits = self.index(kind).search(text, start, stop)
        if kind == "judged":  # a rollout has its prompt beside it, a prediction only where it is the prompt's id
            columns = self.judged.columns.snapshot()
            for number, source in enumerate(self.judged.sources):
                here = columns["source"][start:stop] == number
                hits |= here & np.isin(columns["pair_hash"][start:stop], self.sets.matching(source.data, text))
        return hits

    def summaries(self, kind: Kind, rows: list[int]) -> list[dict[str, Any]]:
        """What a list shows of rows; a row whose file was replaced meanwhile has no `id`."""
        columns = self.index(kind).columns.snapshot()
        found = self.index(kind).read(rows)
        prompts = self._prompts(columns["source"][rows], found) if kind == "judged" else [None] * len(rows)
        out = []
        for row, value, prompt in zip(rows, found, prompts, strict=True):
            place = {"index": row, "source": int(columns["source"][row])}
            if value is not None:
                place |= judged_summary(value, prompt) if kind == "judged" else rollout_summary(value)
            out.append(place)
        return out

    def _prompts(self, numbers: np.ndarray, rows: list[dict[str, Any] | None]) -> list[str | None]:
        prompts: list[str | None] = [None] * len(rows)
        for number in set(numbers.tolist()):
            here = [k for k, n in enumerate(numbers.tolist()) if n == number and rows[k] is not None]
            ids = [str((rows[k] or {}).get("id")) for k in here]
            for k, prompt in zip(here, self.sets.prompts(self.judged.sources[number].data, ids), strict=True):
                prompts[k] = prompt
        return prompts

    def detail(self, kind: Kind, row: int) -> dict[str, Any] | None:
        """Everything about a row; None where there is no such row, or its file was replaced meanwhile."""
        if not 0 <= row < len(self.index(kind).columns):
            return None
        (value,) = self.index(kind).read([row])
        if value is None:
            return None
        source = self._source(kind, row)
        place = {"index": row, "run": source.run, "set": source.name, "fault": self.sets.fault(source.data)}
        if kind == "rollouts":
            return place | rollout_detail(value, LISTENER, source.weights)
        (prompt,) = self.sets.prompts(source.data, [str(value["id"])])
        return place | judged_detail(value, prompt)

    def _source(self, kind: Kind, row: int) -> Source:
        return self.index(kind).sources[int(self.index(kind).columns.snapshot()["source"][row])]

    def image(self, kind: Kind, row: int, side: Literal["first", "second"]) -> Path | None:
        """The file of one image of a row's pair; None where there is no such row or no pair set.

        Raises:
            DataError: The pair set cannot be read, or is another than the one the row was made with.
            ImageError: The image is missing or outside the set's folder.
        """
        if not 0 <= row < len(self.index(kind).columns):
            return None
        (value,) = self.index(kind).read([row])
        data = self._source(kind, row).data
        if value is None or data is None:
            return None
        return self.sets.image(data, str(value["id" if kind == "judged" else "pair_id"]), side)
