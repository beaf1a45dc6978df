"""`earshot eval`: judge a pair set in both image orders and measure it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from earshot.cli.engine import EngineOptions
from earshot.cli.options import Roots, with_options
from earshot.cli.reward_model import ModelOptions
from earshot.types import Estimate

if TYPE_CHECKING:
    from earshot.benchmarks.protocols import Protocol
    from earshot.types import Order


@with_options
def evaluate_command(
    asked: ModelOptions,
    among: EngineOptions,
    data: Path = typer.Option(..., help="The pair set."),
    out: Path = typer.Option(..., help="Where predictions and metrics go; an evaluation that was cut off goes on."),
    pairs: int | None = typer.Option(None, min=1, help="Judge only the first so many pairs."),
    seed: int = typer.Option(0, min=0, help="Of the sampling and of the bootstrap."),
    protocol: list[str] = typer.Option(
        [], help="Add a published metric to metrics.json: 'earshot metrics --list' has them. Repeatable."
    ),
    threshold: float | None = typer.Option(
        None, min=0.0, help="The gap up to which images are called equal, where a protocol needs one."
    ),
    resamples: int = typer.Option(10_000, min=1, help="Of the prompts, for the intervals."),
    as_json: bool = typer.Option(False, "--json", help="Print metrics.json instead of a table."),
    root: Roots = None,
) -> None:
    """Judge every pair in both image orders, then measure accuracy, consistency, calibration and disagreement."""
    import json

    names = {name: "+".join(spec.sources) for name, spec in asked.listeners().items()}
    protocols = chosen_protocols(protocol, threshold)
    # Looked at before anything slow, so that a wrong folder fails at once.
    from earshot.data.rows import iter_rows

    next(iter_rows(data))
    from earshot.cli.progress import progress_bar
    from earshot.evaluate import evaluate
    from earshot.judging.rows import RowFile
    from earshot.rundir import RunDir

    rows = RowFile(data, whole_pairs=True, roots=root or ())
    if not among.tolerate:
        rows.check_first()
    RunDir(out).check_free()
    shard = among.share()
    with among.opened(asked, lenient=True) as (who, described):
        run = RunDir.create(out, resume=True)
        with progress_bar(f"judging {data.resolve().name}") as tell:
            metrics = evaluate(
                data,
                run,
                who,
                listeners=list(names),
                seed=seed,
                count_claims=claim_counter(data),
                protocols=protocols,
                resamples=resamples,
                shard=shard,
                batch=among.batch,
                tolerate=among.tolerate,
                roots=root or (),
                pairs=pairs,
                settings=evaluation_settings(described, run.path, data, {"model": asked.model, **names}),
                progress=tell,
            )
    if metrics is None:
        typer.echo(f"{out}: shard {among.shard} is judged; the last of the others to end computes the metrics")
    elif as_json:
        typer.echo(json.dumps(metrics, indent=2))
    else:
        print_metrics(metrics, described["model"]["name"], data, run.path)


def chosen_protocols(names: list[str], threshold: float | None) -> "list[Protocol]":
    """The protocols of those names, with the threshold where they take one.

    Raises:
        InputError: There is no such protocol, or it needs a threshold that was not given.
    """
    from earshot.benchmarks.protocols import find_protocol
    from earshot.errors import InputError

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


def evaluation_settings(described: Mapping[str, Any], out: Path, data: Path, sources: dict[str, str]) -> dict[str, Any]:
    """What predictions depend on: the set, and which models these are; a server does not tell its weights' hash.

    Args:
        described: What the numbers of the model depend on (`judging.describe`).
        out: The run's folder, from which paths are told.
        data: The pair set.
        sources: What the model and the listeners were called, by name.
    """
    hashes = {
        name: told.get("sha256") for name, told in {"model": described["model"], **described["listeners"]}.items()
    }
    models = model_records(out, sources, hashes)
    asked = described["listeners"]
    return {**described, "models": models, "listeners": sorted(asked), "asked": asked, "data": relative(data, out)}


def model_records(
    out: Path, sources: Mapping[str, str], hashes: Mapping[str, str | None]
) -> dict[str, dict[str, str | None]]:
    """Where models came from, and the hash of their weights where it is known, by their names."""
    return {
        name: {
            "source": relative(Path(source), out) if Path(source).is_dir() else source,
            "sha256": hashes.get(name),
        }
        for name, source in sources.items()
    }


def relative(path: Path, start: Path) -> str:
    """The path as seen from a folder, so that both can be moved together and no user's name is kept."""
    import os

    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()


def claim_counter(data: Path) -> "Callable[[str, str, Order], dict[str, int] | None] | None":
    """Counts a trace's claims against the ground truth kept beside a world pair set; None where there is none.

    Also how many false ones favour either side of the pair (`earshot.world.checker.favoured_sides`).
    """
    from earshot.data.rows import TRUTH_FILE
    from earshot.world.truth import read_truth

    if not (data / TRUTH_FILE).exists():
        return None
    from collections import Counter
    from typing import get_args

    from earshot.types import Side, other
    from earshot.world.checker import check_trace, favoured_sides

    truths = read_truth(data) or {}

    def count_claims(pair_id: str, trace: str, order: "Order") -> dict[str, int] | None:
        truth = truths.get(pair_id)
        if truth is None:
            return None
        shown = truth if order == "forward" else truth.swapped()
        counts = Counter(claim.status for claim in check_trace(trace, shown))
        favoured = favoured_sides(trace, shown)
        return {
            **{status: counts[status] for status in ("true", "false", "unchecked")},
            **{
                f"favours_{side}": favoured.count(side if order == "forward" else other(side))
                for side in get_args(Side)
            },
        }

    return count_claims


COUNTS = ("n_pairs", "n_ties", "n_samples", "n_malformed", "n_listener_missing", "n_refused")


def print_metrics(metrics: dict[str, Any], model: str, data: Path, out: Path) -> None:
    """The table at the end of an evaluation, and what to make of it next."""
    from earshot.cli.table import table
    from earshot.data.rows import read_info
    from earshot.world.ceilings import ceiling_line

    typer.echo(f"{model} on {data.resolve().name}, 95 % intervals, prompts resampled\n")
    typer.echo(table(("", model), metric_rows(metrics)) + "\n")
    if line := ceiling_line(read_info(data)):
        typer.echo(f"accuracy: {line}")
    for warning in metrics.get("warnings", ()):
        typer.echo(f"warning: {warning}")
    typer.echo(f"{out}: predictions.jsonl, metrics.json; 'earshot report {out}' makes a page")


def metric_rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a metrics.json says, a quantity a row; parts of a score are for the page, which has room to explain them."""
    from earshot.metrics import read_estimate
    from earshot.report.tables import quantity_of, summary_rows

    for row in summary_rows([metrics]):
        known = quantity_of(row.key)
        if known is not None and row.place in ("headline", "more"):
            percent = known[1].percent
            yield row.label + ", %" * percent, read_estimate(metrics, row.key).text(percent=percent)
    for name, record in metrics.items():
        if name.startswith("protocol.") and record["value"] is not None:
            value = Estimate.from_record(record).text(percent=True)
            yield f"{name.removeprefix('protocol.')}, % (n {record['n']:,})", value
    for key in COUNTS:
        if metrics.get(key):
            yield key.removeprefix("n_").replace("_", " "), f"{metrics[key]:,}"
