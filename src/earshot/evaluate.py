"""An evaluation: a pair set is judged in both image orders, then all its predictions are measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from earshot.benchmarks.protocols import Protocol, protocol_records
from earshot.errors import DataError
from earshot.files import remove_left, write_json
from earshot.judging.parts import Engine, Json
from earshot.judging.to_run import Tally, judge_set
from earshot.locks import sole_writer
from earshot.metrics import summarise
from earshot.predictions.run import Evaluation
from earshot.rundir import RunDir
from earshot.stats import RESAMPLES
from earshot.types import Order

CountClaims = Callable[[str, str, Order], dict[str, int] | None]
"""`(pair id, trace, order) -> {"true": n, "false": n, "unchecked": n}`, or None where there is no ground truth."""


def evaluate(
    data: Path,
    run: RunDir,
    engine: Engine,
    *,
    listeners: Sequence[str] = (),
    seed: int = 0,
    count_claims: CountClaims | None = None,
    protocols: Sequence[Protocol] = (),
    resamples: int = RESAMPLES,
    **how: Any,
) -> dict[str, Any] | None:
    """Judge every pair that the folder has no prediction of, then measure all predictions in it.

    One process at a time writes into the folder, or several of different shards.

    Args:
        data: The pair set.
        run: Where the files go.
        engine: Who judges.
        listeners: Who reads the traces: their metrics are there, if only as missing.
        seed: Of the sampling and of the bootstrap.
        count_claims: Checks a trace against the ground truth where there is one.
        protocols: Published metrics to add to metrics.json.
        resamples: Of the prompts, for the intervals.
        how: Further arguments of `judge_set`, such as its `shard`.

    Returns:
        The content of metrics.json (`metrics.summarise`), with `n_refused`; None while other shards are missing.

    Raises:
        DataError: No pair was judged.
    """

    def told(row: Json) -> Json:
        for sample in row.get("samples", ()) if count_claims is not None else ():
            if sample["malformed"] is None:
                assert count_claims is not None
                sample["claims"] = count_claims(row["id"], sample["trace"], sample["order"])
        return row

    run.path.mkdir(parents=True, exist_ok=True)
    alone = how.get("shard", (1, 1))[1] == 1
    with sole_writer(run.path) if alone else nullcontext():
        if alone:
            remove_left(run.path)
        tally = judge_set(data, run, engine, seed=seed, told=told, **how)
        if not tally.complete:
            return None
        metrics = _measured(run, tally, listeners, protocols, resamples=resamples, seed=seed)
        write_json(run.metrics, metrics)
    return metrics


def _measured(
    run: RunDir, tally: Tally, listeners: Sequence[str], protocols: Sequence[Protocol], *, resamples: int, seed: int
) -> dict[str, Any]:
    if tally.errors == tally.rows:
        raise DataError(
            f"{run.path}: no pair was judged ({tally.errors} refused), expected at least one; check the set"
        )
    judged = Evaluation("", run.path)
    table = judged.table()
    metrics = summarise(table, listeners=listeners, resamples=resamples, seed=seed)
    metrics |= protocol_records(table, protocols, resamples=resamples, seed=seed)
    metrics["n_refused"] = tally.errors
    if 2 * metrics["n_malformed"] > metrics["n_samples"]:
        metrics["warnings"] = [*metrics["warnings"], _why_malformed(judged.rows())]
    return metrics


def _why_malformed(rows: Iterable[Json]) -> str:
    """What is wrong with most of the completions, in words, with the first of them."""
    samples = [sample for row in rows for sample in row["samples"]]
    reasons = Counter(sample["malformed"] for sample in samples if sample["malformed"] is not None)
    reason, n = reasons.most_common(1)[0]
    first = next(sample["trace"] for sample in samples if sample["malformed"] == reason)
    return (
        f"{n:,} of {len(samples):,} completions are malformed because of {reason!r}, so that the accuracy says little "
        f"of the model; one of them: {first[:200]!r}"
    )
