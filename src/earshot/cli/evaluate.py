"""`earshot eval`: judge a pair set in both image orders and measure it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from earshot.metrics.protocols import Protocol
    from earshot.rundir import RunDir
    from earshot.types import Order


def evaluate_command(
    model: str = typer.Option(..., help="The reasoner: a model folder or hub id."),
    data: Path = typer.Option(..., help="The pair set."),
    out: Path = typer.Option(..., help="Where predictions and metrics go; an evaluation that was cut off goes on."),
    listener: list[str] = typer.Option([], help="A listener: folder, hub id, address, or NAME=MODEL. Repeatable."),
    samples: int = typer.Option(1, min=1, help="Completions per pair and order of its images."),
    pairs: int | None = typer.Option(None, min=1, help="Judge only the first so many pairs."),
    seed: int = typer.Option(0, min=0, help="Of the sampling and of the bootstrap."),
    temperature: float = typer.Option(1.0, min=0.0, help="Of the sampling; 0 is greedy."),
    max_new_tokens: int = typer.Option(512, min=1, help="Longer completions are cut, and malformed."),
    redaction: str = typer.Option(
        "verdict", help="What a trace loses before a listener reads it: none, answer, verdict."
    ),
    tolerate: int = typer.Option(0, min=0, help="Bad rows, and pairs with bad images, to pass over before stopping."),
    protocol: list[str] = typer.Option(
        [], help="Add a published metric to metrics.json: 'earshot metrics --list' has them. Repeatable."
    ),
    threshold: float | None = typer.Option(
        None, min=0.0, help="The gap up to which images are called equal, where a protocol needs one."
    ),
    batch: int = typer.Option(16, min=1, help="Pairs judged together."),
    device: str = typer.Option("auto", help="auto, cpu or cuda."),
    dtype: str = typer.Option("auto", help="auto, float32 or bfloat16."),
    resamples: int = typer.Option(10_000, min=1, help="Of the prompts, for the intervals."),
    as_json: bool = typer.Option(False, "--json", help="Print metrics.json instead of a table."),
) -> None:
    """Judge every pair in both image orders, then measure accuracy, consistency, calibration and disagreement."""
    import importlib.util
    import json

    from earshot.errors import InputError

    if redaction not in ("none", "answer", "verdict"):
        raise InputError(f"--redaction is {redaction!r}, expected none, answer or verdict")
    if samples > 1 and temperature == 0:
        raise InputError("--temperature 0 is greedy, so that several --samples would be equal; use --samples 1")
    names = listener_names(listener)
    protocols = chosen_protocols(protocol, threshold)
    # Looked at before anything slow, so that a wrong folder fails at once.
    from earshot.data.pairset import count_pairs, read_pairs

    total = count_pairs(data) if pairs is None else min(pairs, count_pairs(data))
    if importlib.util.find_spec("torch") is None:
        raise InputError("an evaluation needs torch and transformers; pip install 'earshot[train]'")
    from itertools import islice

    from earshot.evaluate import evaluate
    from earshot.listener.local import LocalListener
    from earshot.listener.named import named_listener
    from earshot.reasoner import Reasoner
    from earshot.rundir import RunDir
    from earshot.vlm import load

    run = RunDir.create(out, resume=True)
    vlm = load(model, dtype=dtype, device=device).freeze()
    listeners = {
        name: named_listener(path, name=name, batch_size=batch, device=device, dtype=dtype)
        for name, path in names.items()
    }
    readers = {name: one.vlm for name, one in listeners.items() if isinstance(one, LocalListener)}
    settings = {
        **model_settings(run.path, {"model": vlm, **readers}, {"model": model, **names}),
        "data": relative(data, run.path),
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "dtype": dtype,
    }
    with progress_bar("judging") as tell:
        metrics = evaluate(
            islice(read_pairs(data, tolerate=tolerate, on_error=row_logger(run)), pairs),
            Reasoner(vlm, max_new_tokens=max_new_tokens, temperature=temperature, batch_size=batch),
            listeners,
            run,
            samples=samples,
            seed=seed,
            batch=batch,
            redaction=redaction,  # type: ignore[arg-type]
            count_claims=claim_counter(data),
            tolerate=tolerate,
            settings=settings,
            total=total,
            progress=tell,
            protocols=protocols,
            resamples=resamples,
        )
    if as_json:
        typer.echo(json.dumps(metrics, indent=2))
    else:
        print_metrics(metrics, vlm.name, data, run.path)


def listener_names(listeners: list[str]) -> dict[str, str]:
    """Listeners by the name to report: NAME of NAME=MODEL, else the folder's own.

    Raises:
        InputError: Two have the same name.
    """
    from earshot.errors import InputError

    named: dict[str, str] = {}
    for given in listeners:
        name, _, path = given.rpartition("=")
        name = name or Path(path).resolve().name
        if name in named:
            raise InputError(f"two listeners are called '{name}'; tell them apart with --listener NAME=MODEL")
        named[name] = path
    return named


def chosen_protocols(names: list[str], threshold: float | None) -> "list[Protocol]":
    """The protocols of those names, with the threshold where they take one.

    Raises:
        InputError: There is no such protocol, or it needs a threshold that was not given.
    """
    from earshot.errors import InputError
    from earshot.metrics.protocols import find_protocol

    chosen = []
    for name in dict.fromkeys(names):
        protocol = find_protocol(name)
        if protocol.tunes is not None:
            if threshold is None:
                raise InputError(
                    f"{name} tells ties by a threshold; give --threshold, or judge now and fit it on validation pairs "
                    "with 'earshot metrics OUT --validation FILE'"
                )
            protocol = protocol.with_threshold(threshold)
        chosen.append(protocol)
    return chosen


def model_settings(out: Path, models: dict[str, Any], sources: dict[str, str]) -> dict[str, Any]:
    """Which models these are: where they came from, and the hash of their weights; a server does not tell it."""
    return {
        "models": {
            name: {"source": relative(Path(source), out) if Path(source).is_dir() else source,
                   "sha256": models[name].fingerprint() if name in models else None}
            for name, source in sources.items()
        }
    }  # fmt: skip


def relative(path: Path, start: Path) -> str:
    """The path as seen from a folder, so that both can be moved together and no user's name is kept."""
    import os

    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()


def claim_counter(data: Path) -> "Callable[[str, str, Order], dict[str, int] | None] | None":
    """Counts a trace's claims against the ground truth kept beside a world pair set; None where there is none."""
    from earshot.world.truth import TRUTH_FILE, read_truth

    if not (data / TRUTH_FILE).exists():
        return None
    from collections import Counter

    from earshot.world.checker import check_trace

    truths = read_truth(data) or {}

    def count_claims(pair_id: str, trace: str, order: "Order") -> dict[str, int] | None:
        truth = truths.get(pair_id)
        if truth is None:
            return None
        claims = check_trace(trace, truth if order == "forward" else truth.swapped())
        counts = Counter(claim.status for claim in claims)
        return {status: counts[status] for status in ("true", "false", "unchecked")}

    return count_claims


@contextmanager
def progress_bar(description: str) -> "Iterator[Callable[[int, int | None], None]]":
    """A bar on standard error while the block runs; gives `(done, total) -> None`."""
    from earshot.cli.progress import progress

    with progress() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def row_logger(run: "RunDir") -> "Callable[[Exception], None]":
    """Writes bad rows of the pair set to errors.jsonl, each once however often the evaluation is continued."""
    from earshot.rundir import append_jsonl, read_jsonl

    known = read_jsonl(run.errors_log) if run.errors_log.exists() else iter(())
    logged = {row.get("error") for row in known if row.get("kind") == "row"}

    def log(error: Exception) -> None:
        if str(error) not in logged:
            append_jsonl(run.errors_log, [{"kind": "row", "error": str(error)}])

    return log


def print_metrics(metrics: dict[str, Any], model: str, data: Path, out: Path) -> None:
    """The table at the end of an evaluation, and what to make of it next."""
    import sys

    from rich.console import Console

    from earshot.report import render_summary_table

    console = Console(file=sys.stdout)
    console.print(render_summary_table({model: metrics}, title=f"{model} on {data.resolve().name}"))
    for name, record in metrics.items():
        if name.startswith("protocol.") and record["value"] is not None:
            interval = "" if record["low"] is None else f" [{100 * record['low']:.1f}, {100 * record['high']:.1f}]"
            value = f"{100 * record['value']:.1f}{interval}"
            console.print(f"{name.removeprefix('protocol.')}: {value} (n {record['n']:,})", markup=False)
    for warning in metrics.get("warnings", ()):
        console.print(f"warning: {warning}", markup=False, style="yellow")
    console.print(f"{out}: predictions.jsonl, metrics.json; 'earshot report {out}' makes a page", markup=False)
