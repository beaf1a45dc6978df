"""Training rows from a pair set: what TRL's trainers are fed, decoded as it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from jaxtyping import Int

from earshot.config import DataConfig
from earshot.data.pairset import PairSet
from earshot.errors import DataError
from earshot.files import append_jsonl
from earshot.images import Tolerance, load_image
from earshot.rundir import RunDir
from earshot.types import Pair
from earshot.vlm import Vlm


class Row(NamedTuple):
    """One pair with its images decoded, and where they came from."""

    pair: Pair
    files: tuple[str, str]


class PairRows:
    """Decodes pairs by index; a refused pair gives way to the next good one, as far as `tolerance` allows.

    Args:
        pairs: The pair set.
        tolerance: How many refusals are borne.
        chosen: Positions in `pairs` of the rows there are; all of them by default.
    """

    def __init__(self, pairs: PairSet, tolerance: Tolerance, chosen: Int[np.ndarray, " n"] | None = None) -> None:
        self._pairs = pairs
        self._tolerance = tolerance
        self._chosen = np.arange(len(pairs)) if chosen is None else chosen
        self._stand_in: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Row:
        return self.row(index)[1]

    def row(self, index: int) -> tuple[int, Row]:
        """The row at an index, or the one that stands in for it, with its own index.

        Raises:
            DataError: More rows are bad than are tolerated, or all are.
        """
        start = index
        for _ in range(len(self)):
            while index in self._stand_in:
                index = self._stand_in[index]
            try:
                return index, self._decode(self._pairs[int(self._chosen[index])])
            except DataError as error:
                self.refuse(index, error)
        raise self._none_left(start)

    def refuse(self, index: int, error: DataError) -> None:
        """Leaves a row out from now on; the next one stands in for it.

        Raises:
            DataError: More rows are bad than are tolerated, or all are.
        """
        self._tolerance.refuse(error)
        self._stand_in[index] = (index + 1) % len(self)
        if len(self._stand_in) == len(self):
            raise self._none_left(index)

    def _none_left(self, start: int) -> DataError:
        return DataError(f"pair set: no pair from row {start} on can be used; 'earshot data check' lists the reasons")

    def _decode(self, pair: Pair) -> Row:
        where = f"pair {pair.id!r}"
        first, second = (load_image(source, where=where) for source in (pair.first, pair.second))
        original = None if pair.original is None else load_image(pair.original, where=where)
        files = tuple(source.name if isinstance(source, Path) else "" for source in (pair.first, pair.second))
        return Row(replace(pair, first=first, second=second, original=original), (files[0], files[1]))


def tolerance_of(data: DataConfig, refused: Sequence[DataError], run: RunDir) -> Tolerance:
    """How many rows and images may still be left out; each, and those refused before, is kept in `errors.jsonl`."""

    def note(error: DataError) -> None:
        append_jsonl(run.errors_log, [{"stage": "train", "error": str(error)}])

    for error in refused:
        note(error)
    return Tolerance(data.tolerate_bad - len(refused), note)


def open_pairs(data: DataConfig) -> tuple[PairSet, list[DataError]]:
    """The training pairs, and the rows of their file that were refused, as far as `tolerate_bad` allows.

    Raises:
        InputError: There is no such pair set.
        DataError: More rows are bad than are tolerated.
    """
    refused: list[DataError] = []
    return PairSet(Path(data.train), tolerate=data.tolerate_bad, on_error=refused.append, roots=data.roots), refused


def as_dataset(rows: PairRows, vlm: Vlm, *, limit: int | None) -> Dataset:
    """A Hugging Face data set of prompt, images and pair that decodes on access.

    TRL asks for every pair as often as it wants completions of it; within a batch each is decoded once, and all its
    rows carry the same `Pair`, images included.
    """

    def decode(batch: dict[str, Sequence[int]]) -> dict[str, list[Any]]:
        decoded = {index: rows[index] for index in dict.fromkeys(batch["index"])}
        taken = [decoded[index] for index in batch["index"]]
        return {
            "prompt": [vlm.asked_about(row.pair) for row in taken],
            "images": [[*row.pair.images] for row in taken],
            "pair": [row.pair for row in taken],
            "files": [row.files for row in taken],
        }

    size = len(rows) if limit is None else min(limit, len(rows))
    dataset = Dataset.from_dict({"index": list(range(size))})
    dataset.set_transform(decode)
    return dataset
