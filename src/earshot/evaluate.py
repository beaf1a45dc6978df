"""Judging a pair set in both image orders: predictions.jsonl as it goes, metrics.json at the end.

Work is cut into batches at fixed places of the set and appended batch by batch. Started again on the same folder it
judges what is missing, with the same seed for the same pair, so that a run that was killed ends like one that was not.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, runtime_checkable

from earshot.errors import DataError, ImageError, InputError, ListenerUnavailable
from earshot.images import NO_IMAGE, read_header
from earshot.listener import Listener, ask
from earshot.metrics import PredictionTable, summarise
from earshot.metrics.protocols import Protocol
from earshot.protocol import RedactionLevel, redact_trace
from earshot.rundir import RunDir, append_jsonl, describe_environment, read_jsonl, write_json
from earshot.stats import RESAMPLES
from earshot.types import ImageSource, Order, Pair, Sample

DESCRIPTION = ("label", "axis", "category", "model_first", "model_second")
"""What a row of predictions.jsonl repeats of its pair where the set says it: what metrics are told by."""

CountClaims = Callable[[str, str, Order], dict[str, int] | None]
"""`(pair id, trace, order) -> {"true": n, "false": n, "unchecked": n}`, or None where there is no ground truth."""


@runtime_checkable
class Judge(typing.Protocol):
    """What is evaluated. The same pair and seed must give the same samples, whatever else is in the batch."""

    def judge(self, pairs: Sequence[Pair], *, samples: int, seed: int) -> list[list[Sample]]:
        """`samples` completions of each pair in each of the two image orders."""
        ...


def evaluate(
    pairs: Iterable[Pair],
    reasoner: Judge,
    listeners: Mapping[str, Listener],
    out: RunDir | Path,
    *,
    samples: int = 1,
    seed: int = 0,
    batch: int = 8,
    redaction: RedactionLevel = "verdict",
    count_claims: CountClaims | None = None,
    tolerate: int = 0,
    settings: Mapping[str, Any] | None = None,
    total: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    protocols: Sequence[Protocol] = (),
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Judge every pair that the folder has no prediction of, then measure all predictions in it.

    A listener that breaks is left out of the samples of that batch, written to errors.jsonl and counted in
    `n_listener_missing`. A pair with a refused image is written there too and counted in `n_refused`.

    Args:
        pairs: Read once, in a stream.
        reasoner: Who judges.
        listeners: Who reads the traces, by the name to report.
        out: Where the files go; a folder with predictions made with the same settings is continued.
        samples: Completions per pair and order of its images.
        seed: Of the sampling and of the bootstrap.
        batch: Pairs judged together.
        redaction: What of its answer a trace loses before a listener reads it (`protocol.redact_trace`).
        count_claims: Checks a trace against the ground truth where there is one.
        tolerate: How many pairs with refused images are passed over before the evaluation stops.
        settings: What else the predictions depend on (model, data, temperature), kept beside them.
        total: Number of pairs, for `progress`; taken from `pairs` where it has a length.
        progress: Called with the pairs done and the total after every batch.
        protocols: Published metrics to add to metrics.json.
        resamples: Of the prompts, for the intervals.

    Returns:
        The content of metrics.json (`metrics.summarise`), with `n_refused`.

    Raises:
        InputError: The folder's predictions were made with other settings.
        DataError: There are no pairs, or an id comes twice.
        ImageError: More pairs than tolerated have a refused image.
    """
    if samples < 1 or batch < 1:
        raise InputError(f"samples is {samples} and batch {batch}, expected at least 1 of either")
    run = out if isinstance(out, RunDir) else RunDir.create(Path(out), resume=True)
    recorded = {"samples": samples, "seed": seed, "redaction": redaction, "listeners": sorted(listeners)}
    _claim_folder(run, recorded | dict(settings or {}))
    work = _Evaluation(reasoner, listeners, run, samples, seed, redaction, count_claims, tolerate)
    total = len(pairs) if total is None and isinstance(pairs, Sized) else total
    done = 0
    for chunk in _batches(_distinct(pairs), batch):
        work.judge(chunk)
        done += len(chunk)
        if progress is not None:
            progress(done, total)
    if done == work.refused and not work.judged_before:
        raise DataError(
            f"{run.path}: no pair was judged ({work.refused} refused), expected at least one; check the set"
        )
    metrics = measure(run, listeners=list(listeners), protocols=protocols, seed=seed, resamples=resamples)
    metrics["n_refused"] = work.refused
    write_json(run.metrics, metrics)
    return metrics


def measure(
    run: RunDir,
    *,
    listeners: Sequence[str] = (),
    protocols: Sequence[Protocol] = (),
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The metrics of the predictions in a folder; nothing is written."""
    table = PredictionTable.from_rows(read_jsonl(run.predictions), where=str(run.predictions))
    return summarise(table, listeners=listeners, protocols=protocols, resamples=resamples, seed=seed)


def _distinct(pairs: Iterable[Pair]) -> Iterator[Pair]:
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise DataError(
                f"pair '{pair.id}' comes twice, expected each id once; 'earshot data check' lists such rows"
            )
        seen.add(pair.id)
        yield pair


def _batches(pairs: Iterator[Pair], size: int) -> Iterator[list[Pair]]:
    while chunk := list(islice(pairs, size)):
        yield chunk


def _claim_folder(run: RunDir, settings: dict[str, Any]) -> None:
    """Keep what the predictions are made with, or find that it is what those in the folder were made with."""
    path = run.settings
    if path.exists():
        found = _read_settings(path)
        for key in sorted(found.keys() | settings.keys()):
            if found.get(key) != settings.get(key):
                raise InputError(
                    f"{path}: predictions were made with {key} {found.get(key)!r}, asked for {settings.get(key)!r}; "
                    "choose another --out or the same settings"
                )
    elif run.predictions.exists():
        raise InputError(f"{run.predictions}: has no {path.name} beside it to continue by; choose another --out")
    else:
        write_json(path, settings)
    if not run.environment.exists():
        run.write_environment(describe_environment())


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}), expected settings; choose another --out") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds a {type(found).__name__}, expected settings by name; choose another --out")
    return found


@dataclass
class _Evaluation:
    """One evaluation at work: what is judged already, and what was refused."""

    reasoner: Judge
    listeners: Mapping[str, Listener]
    run: RunDir
    samples: int
    seed: int
    redaction: RedactionLevel
    count_claims: CountClaims | None
    tolerate: int
    refused: int = 0
    judged_before: set[str] = field(init=False)
    refused_before: set[str] = field(init=False)

    def __post_init__(self) -> None:
        rows = read_jsonl(self.run.predictions) if self.run.predictions.exists() else iter(())
        self.judged_before = {str(row["id"]) for row in rows}
        errors = read_jsonl(self.run.errors_log) if self.run.errors_log.exists() else iter(())
        self.refused_before = {str(row["id"]) for row in errors if row.get("kind") == "image"}

    def judge(self, chunk: Sequence[Pair]) -> None:
        """Append the predictions of those pairs of a batch that have none yet."""
        missing = [pair for pair in chunk if pair.id not in self.judged_before]
        append_jsonl(self.run.predictions, self._rows(missing))

    def _rows(self, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
        """The rows of the pairs, but for those with a refused image, which halving finds."""
        if not pairs:
            return []
        try:
            return self._judged(pairs)
        except ImageError as error:
            if len(pairs) == 1:
                self._refuse(pairs[0], error)
                return []
            half = len(pairs) // 2
            return self._rows(pairs[:half]) + self._rows(pairs[half:])

    def _refuse(self, pair: Pair, error: ImageError) -> None:
        self.refused += 1
        if pair.id not in self.refused_before:
            append_jsonl(self.run.errors_log, [{"kind": "image", "id": pair.id, "error": str(error)}])
        if self.refused > self.tolerate:
            raise ImageError(
                f"pair '{pair.id}': {error} (refused pair {self.refused}, tolerated are {self.tolerate}; "
                "mend the set or raise --tolerate)"
            ) from error

    def _judged(self, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
        judged = self.reasoner.judge(pairs, samples=self.samples, seed=self.seed)
        heard = self._heard(pairs, judged)
        records = []
        for pair, samples in zip(pairs, judged, strict=True):
            claims = [self._claims(pair.id, sample) for sample in samples]
            said = [next(heard) if sample.malformed is None else {} for sample in samples]
            records.append(prediction_row(pair, samples, said, claims))
        return records

    def _heard(self, pairs: Sequence[Pair], judged: Sequence[Sequence[Sample]]) -> Iterator[dict[str, float]]:
        """For each well-formed sample, in order, the listeners' probabilities in the pair's own sides."""
        asked = [
            (pair, sample)
            for pair, samples in zip(pairs, judged, strict=True)
            for sample in samples
            if sample.malformed is None
        ]
        shown = [pair if sample.order == "forward" else pair.swapped() for pair, sample in asked]
        traces = [redact_trace(sample.trace, self.redaction) for _, sample in asked]
        heard: list[dict[str, float]] = [{} for _ in asked]
        for name, listener in self.listeners.items() if asked else ():
            try:
                p_shown = ask(listener, shown, traces)
            except ListenerUnavailable as error:
                ids = [pair.id for pair in pairs]
                append_jsonl(
                    self.run.errors_log, [{"kind": "listener", "listener": name, "ids": ids, "error": str(error)}]
                )
                continue
            for record, (_, sample), p in zip(heard, asked, p_shown.tolist(), strict=True):
                record[name] = p if sample.order == "forward" else 1 - p
        return iter(heard)

    def _claims(self, pair_id: str, sample: Sample) -> dict[str, int] | None:
        if self.count_claims is None or sample.malformed is not None:
            return None
        return self.count_claims(pair_id, sample.trace, sample.order)


def prediction_row(
    pair: Pair,
    samples: Sequence[Sample],
    heard: Sequence[Mapping[str, float]],
    claims: Sequence[Mapping[str, int] | None],
) -> dict[str, Any]:
    """A row of predictions.jsonl. Without a well-formed sample in one of the orders there is no p_first."""
    forward, swapped = (_mean_p_first(samples, order) for order in ("forward", "swapped"))
    return {
        "id": pair.id,
        "prompt_id": pair.cluster,
        "p_first": None if forward is None or swapped is None else (forward + swapped) / 2,
        "p_first_forward": forward,
        "p_first_swapped": swapped,
        "votes_first": pair.votes.first,
        "votes_second": pair.votes.second,
        "first_bytes": _size(pair.first),
        "second_bytes": _size(pair.second),
        "first_pixels": _pixels(pair.first),
        "second_pixels": _pixels(pair.second),
        **{name: getattr(pair, name) for name in DESCRIPTION if getattr(pair, name) is not None},
        "samples": [
            {
                "order": sample.order,
                "trace": sample.trace,
                "side": sample.side,
                "malformed": sample.malformed,
                "verdict": verdict_as_shown(sample),
                "p_first": sample.p_first,
                "listener": dict(said),
                "claims": None if counted is None else dict(counted),
            }
            for sample, said, counted in zip(samples, heard, claims, strict=True)
        ],
    }


def verdict_as_shown(sample: Sample) -> int | None:
    """The answer as it was written: in a swapped sample 1 means the pair's second image."""
    if sample.side is None:
        return None
    return 1 if (sample.side == "first") == (sample.order == "forward") else 2


def _mean_p_first(samples: Iterable[Sample], order: str) -> float | None:
    known = [s.p_first for s in samples if s.order == order and s.p_first is not None]
    return sum(known) / len(known) if known else None


def _size(source: ImageSource) -> int | None:
    """Bytes of an image file; None for a decoded picture, which has no file."""
    if isinstance(source, bytes):
        return len(source)
    return source.stat().st_size if isinstance(source, Path) and source.exists() else None


def _pixels(source: ImageSource) -> int | None:
    """Pixels of a picture, of a file by its header alone; None where there is no picture."""
    if isinstance(source, bytes | Path):
        if source == NO_IMAGE or (isinstance(source, Path) and not source.exists()):
            return None
        header = read_header(source)
        return header.width_px * header.height_px
    return source.width * source.height
