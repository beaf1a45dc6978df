"""Pair sets of the world on disk: any size, the same for the same seed, in parallel."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from earshot.data.writer import PairSetWriter
from earshot.errors import InputError
from earshot.rundir import append_jsonl, whole
from earshot.types import Pair
from earshot.world.language import Corruption, write_trace
from earshot.world.pairs import POPULATIONS, draw_pair, pair_generator, render_pair
from earshot.world.scene import prompt_text
from earshot.world.truth import TRUTH_FILE, truth_row

TRACES_FILE = "traces.jsonl"
OnPair = Callable[[int], None]
_CHUNK = 64  # pairs that a worker draws at a time


class Recipe(NamedTuple):
    """What a set of the world is made from; the same recipe gives the same bytes.

    Attributes:
        set_name: A key of `POPULATIONS`.
        seed: Of everything random in it.
        size_px: Side of the square images.
        corruption: Of the reference traces in `traces.jsonl`, from which SFT learns.
    """

    set_name: str
    seed: int = 0
    size_px: int = 56
    corruption: Corruption = Corruption(facts=0.05, verdict=0.10)


class _Drawn(NamedTuple):
    pair: Pair
    truth: dict[str, Any]
    trace: dict[str, Any]


def make_set(
    folder: Path, recipe: Recipe, n_pairs: int, *, workers: int | None = None, on_pair: OnPair | None = None
) -> None:
    """Writes a pair set with its ground truth (`truth.jsonl`) and reference traces (`traces.jsonl`) beside it.

    Args:
        folder: A new or an empty folder.
        recipe: What is drawn.
        n_pairs: How many pairs; the first ones of a larger set are those of a smaller one.
        workers: Processes that draw; the number of processors by default. The result does not depend on it.
        on_pair: Called after every pair with the number written.

    Raises:
        InputError: The set is not known, a number is not positive, or the folder holds something.
    """
    if recipe.set_name not in POPULATIONS:
        raise InputError(f"world: no set {recipe.set_name!r}, expected one of {', '.join(POPULATIONS)}")
    if n_pairs < 1 or recipe.size_px < 16:
        raise InputError(f"world: {n_pairs} pairs of {recipe.size_px} px, expected at least 1 pair and 16 px")
    info = {"source": "earshot world", "licence": "Apache-2.0", "set": recipe.set_name, "seed": recipe.seed}
    with (
        PairSetWriter(folder, info={**info, "size_px": recipe.size_px}, verify=False) as writer,
        whole(folder / TRUTH_FILE) as truth_file,
        whole(folder / TRACES_FILE) as traces_file,
    ):
        for count, drawn in enumerate(_draw_all(recipe, n_pairs, workers), start=1):
            for row in drawn:
                writer.add(row.pair)
            append_jsonl(truth_file, [row.truth for row in drawn])
            append_jsonl(traces_file, [row.trace for row in drawn])
            if on_pair:
                on_pair(min(count * _CHUNK, n_pairs))


def _draw_all(recipe: Recipe, n_pairs: int, workers: int | None) -> Iterator[Sequence[_Drawn]]:
    chunks = [range(start, min(start + _CHUNK, n_pairs)) for start in range(0, n_pairs, _CHUNK)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    if workers == 1:
        yield from map(partial(_draw_chunk, recipe), chunks)
        return
    # Spawned, not forked: the caller may have threads running (torch does).
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(partial(_draw_chunk, recipe), chunks)


def _draw_chunk(recipe: Recipe, indices: range) -> list[_Drawn]:
    return [_draw(recipe, index) for index in indices]


def _draw(recipe: Recipe, index: int) -> _Drawn:
    population = POPULATIONS[recipe.set_name]
    rng = pair_generator(recipe.seed, recipe.set_name, index)
    drawn = draw_pair(rng, population)
    first, second = (_png(image) for image in render_pair(drawn.truth, rng, population, recipe.size_px))
    pair_id = f"{recipe.set_name}-{recipe.seed}-{index:07d}"
    pair = Pair(
        id=pair_id,
        prompt=prompt_text(drawn.truth.wanted),
        first=first,
        second=second,
        votes=drawn.votes,
        axis=population.axis,
        split=recipe.set_name,
        source="earshot world",
    )
    side = drawn.votes.majority
    assert side is not None  # the number of raters is odd
    trace = write_trace(drawn.truth, side, rng, recipe.corruption)
    return _Drawn(pair, truth_row(pair_id, drawn.truth), {"id": pair_id, "trace": trace, "side": side})


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
