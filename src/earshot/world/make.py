"""Pair sets of the world on disk: any size, the same for the same seed, in parallel."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from earshot.data.rows import TRACES_FILE, TRUTH_FILE
from earshot.data.writer import PairSetWriter, Tell, is_made
from earshot.errors import InputError
from earshot.files import plain
from earshot.types import Pair
from earshot.world.corpus import label
from earshot.world.language import Corruption, write_trace
from earshot.world.pairs import SETS, SOURCE, draw_pair, pair_generator, render_pair
from earshot.world.truth import truth_row

OnPair = Callable[[int], None]
MIN_SIZE_PX, MAX_SIZE_PX = 16, 1024
_CHUNK = 64  # pairs that a worker draws at a time
_CHUNKS_AHEAD = 4  # a worker; drawing is quicker than writing, and a million pairs must not wait in memory
_PAIRS_A_WORKER = 1000  # below this, starting a process takes longer than drawing the pairs


class Recipe(NamedTuple):
    """What a set of the world is made from; the same recipe gives the same bytes.

    Attributes:
        set_name: A key of `earshot.world.pairs.SETS`.
        seed: Of everything random in it.
        size_px: Side of the square images.
        corruption: Of the reference traces and verdicts in `traces.jsonl`, from which SFT learns; by default every
            trace concludes what the raters preferred.
    """

    set_name: str
    seed: int = 0
    size_px: int = 56
    corruption: Corruption = Corruption(facts=0.05)


class _Drawn(NamedTuple):
    pair: Pair
    truth: dict[str, Any]
    trace: dict[str, Any]


def make_set(
    folder: Path,
    recipe: Recipe,
    n_pairs: int,
    *,
    workers: int | None = None,
    on_pair: OnPair | None = None,
    tell: Tell | None = None,
) -> None:
    """Writes a pair set with its ground truth (`truth.jsonl`) and reference traces (`traces.jsonl`) beside it.

    Where this very set is there already, nothing is done. A script that asks for several workers needs the usual
    `if __name__ == "__main__"`: they are started afresh.

    Args:
        folder: A new or an empty folder, or one with a set that was never finished.
        recipe: What is drawn.
        n_pairs: How many pairs; the first ones of a larger set are those of a smaller one.
        workers: Processes that draw; by default as many processors as there are, and one for a small set. The result
            does not depend on it.
        on_pair: Called now and then, and at the end, with the number of pairs written so far.
        tell: Hears when the set is there already, or was never finished and is begun anew.

    Raises:
        InputError: The set is not known, a number is out of its range, or the folder holds something else.
    """
    writer = check_set(folder, recipe, n_pairs, workers=workers, tell=tell)
    if writer is None:
        if tell:
            tell(f"{folder}: is made already, by the same command, and stays as it is")
        if on_pair:
            on_pair(n_pairs)
        return
    written = 0
    with writer:
        for drawn in _draw_all(recipe, n_pairs, workers):
            for row in drawn:
                writer.add(row.pair)
                writer.write_beside(TRUTH_FILE, row.truth)
                writer.write_beside(TRACES_FILE, row.trace)
            written += len(drawn)
            if on_pair:
                on_pair(written)


def check_set(
    folder: Path, recipe: Recipe, n_pairs: int, *, workers: int | None = None, tell: Tell | None = None
) -> PairSetWriter | None:
    """Lets a call of `make_set` pass that can succeed; nothing is written.

    Returns:
        The set's writer, not entered yet; None where this very set is there already.

    Raises:
        InputError: As `make_set`.
    """
    if recipe.set_name not in SETS:
        raise InputError(f"world: no set {recipe.set_name!r}, expected one of {', '.join(SETS)}")
    if n_pairs < 1:
        raise InputError(f"world: set {recipe.set_name!r} of {n_pairs} pairs, expected at least 1")
    if not MIN_SIZE_PX <= recipe.size_px <= MAX_SIZE_PX:
        raise InputError(f"world: images of {recipe.size_px} px, expected {MIN_SIZE_PX} to {MAX_SIZE_PX}")
    if recipe.seed < 0:
        raise InputError(f"world: seed {recipe.seed}, expected 0 or more")
    if workers is not None and workers < 1:
        raise InputError(f"world: {workers} workers, expected at least 1")
    info = {"source": SOURCE, "licence": "Apache-2.0", "set": recipe.set_name, "seed": recipe.seed}
    info |= {"size_px": recipe.size_px, "corruption": plain(recipe.corruption)}
    if is_made(folder, info, n_pairs):
        return None
    return PairSetWriter(folder, info=info, verify=False, beside=(TRUTH_FILE, TRACES_FILE), tell=tell)


def _draw_all(recipe: Recipe, n_pairs: int, workers: int | None) -> Iterator[Sequence[_Drawn]]:
    chunks = [range(start, min(start + _CHUNK, n_pairs)) for start in range(0, n_pairs, _CHUNK)]
    if workers is None:
        workers = min(os.cpu_count() or 1, n_pairs // _PAIRS_A_WORKER)
    workers = min(workers, len(chunks))
    if workers <= 1:
        yield from map(partial(_draw_chunk, recipe), chunks)
        return
    # Spawned, not forked: the caller may have threads running (torch does).
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[list[_Drawn]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(_draw_chunk, recipe, chunk))
            if len(waiting) == workers * _CHUNKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _draw_chunk(recipe: Recipe, indices: range) -> list[_Drawn]:
    return [_draw(recipe, index) for index in indices]


def _draw(recipe: Recipe, index: int) -> _Drawn:
    population = SETS[recipe.set_name]
    rng = pair_generator(recipe.seed, population.drawn_as or recipe.set_name, index)
    drawn = draw_pair(rng, population)
    *original, first, second = (_png(image) for image in render_pair(drawn, rng, population, recipe.size_px))
    pair_id = f"{recipe.set_name}-{recipe.seed}-{index:07d}"
    pair = Pair(
        id=pair_id,
        prompt=drawn.truth.prompt,
        first=first,
        second=second,
        votes=drawn.votes,
        axis=population.axis,
        split=recipe.set_name,
        source=SOURCE,
        category=None if drawn.marked is None else "with" if drawn.marked == drawn.votes.majority else "against",
        original=original[0] if original else None,
    )
    flipped = bool(recipe.corruption.verdict) and rng.random() < recipe.corruption.verdict
    side = label(drawn, flipped=flipped)
    trace = write_trace(drawn.truth, side, rng, recipe.corruption, population.facts_told)
    return _Drawn(pair, truth_row(pair_id, drawn.truth), {"id": pair_id, "trace": trace, "side": side})


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
