"""Training rows from a pair set: what TRL's trainers are fed, decoded as it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset

from earshot.data.pairset import PairSet
from earshot.errors import DataError
from earshot.images import Tolerance, load_image
from earshot.protocol import reasoner_messages
from earshot.types import Pair
from earshot.vlm import Vlm


class Row(NamedTuple):
    """One pair with its images decoded, and where they came from."""

    pair: Pair
    files: tuple[str, str]


class PairRows:
    """Decodes pairs by index; a refused pair gives way to the next good one, as far as `tolerance` allows."""

    def __init__(self, pairs: PairSet, tolerance: Tolerance) -> None:
        self._pairs = pairs
        self._tolerance = tolerance
        self._stand_in: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Row:
        start = index
        for _ in range(len(self._pairs)):
            index = self._stand_in.get(index, index)
            try:
                return self._decode(self._pairs[index])
            except DataError as error:
                self._tolerance.refuse(error)
                self._stand_in[index] = (index + 1) % len(self._pairs)
        raise DataError(f"pair set: no pair from row {start} on can be read; 'earshot data check' lists the reasons")

    def _decode(self, pair: Pair) -> Row:
        where = f"pair {pair.id!r}"
        first, second = (load_image(source, where=where) for source in (pair.first, pair.second))
        files = tuple(source.name if isinstance(source, Path) else "" for source in (pair.first, pair.second))
        return Row(replace(pair, first=first, second=second), (files[0], files[1]))


def as_dataset(rows: PairRows, vlm: Vlm, *, limit: int | None) -> Dataset:
    """A Hugging Face data set of prompt, images and pair that decodes on access.

    TRL asks for every pair as often as it wants completions of it; within a batch each is decoded once, and all its
    rows carry the same `Pair`, images included.
    """

    def decode(batch: dict[str, Sequence[int]]) -> dict[str, list[Any]]:
        decoded = {index: rows[index] for index in dict.fromkeys(batch["index"])}
        taken = [decoded[index] for index in batch["index"]]
        return {
            "prompt": [
                reasoner_messages(row.pair.prompt, vlm.prompts, control_tokens=vlm.control_tokens) for row in taken
            ],
            "images": [[row.pair.first, row.pair.second] for row in taken],
            "pair": [row.pair for row in taken],
            "files": [row.files for row in taken],
        }

    size = len(rows) if limit is None else min(limit, len(rows))
    dataset = Dataset.from_dict({"index": list(range(size))})
    dataset.set_transform(decode)
    return dataset
