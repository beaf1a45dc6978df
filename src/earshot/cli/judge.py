"""`earshot judge`: every row of a file of any size, resumable and in shards."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from earshot.cli.reward_model import (
    Device,
    Dtype,
    Listener,
    MaxNewTokens,
    Model,
    Samples,
    Seed,
    Temperature,
    load_reward_model,
)

if TYPE_CHECKING:
    from earshot.judge.bulk import Engine


def judge_command(
    model: Model,
    source: Path = typer.Argument(metavar="IN", help="A pair set's folder, a .parquet or a .jsonl file."),
    out: Path = typer.Argument(help="The parquet file to write; a job that was stopped goes on."),
    listener: Listener = None,
    samples: Samples = 1,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    max_new_tokens: MaxNewTokens = 512,
    shard: str = typer.Option("1/1", help="i/n: only the i-th of n shares of the rows, each with an OUT of its own."),
    tolerate: int = typer.Option(0, min=0, help="Bad rows to write with their error before one stops the work."),
    batch: int = typer.Option(16, min=1, help="Rows judged together."),
    part_rows: int = typer.Option(512, min=1, help="Rows written at a time: what a kill can cost."),
    prompt_column: str = typer.Option("prompt", help="The column with the prompt."),
    first_column: str | None = typer.Option(
        None, help="The column with the first image; 'first_file_name' or 'first' are found without."
    ),
    second_column: str | None = typer.Option(None, help="The column with the second image."),
    device: Device = "auto",
    dtype: Dtype = "auto",
    engine: str = typer.Option("local", help="local, or ray: the same work in many processes, also of many machines."),
    workers: int | None = typer.Option(
        None, min=1, help="With ray: processes, each with its own model; as many as there is place for without."
    ),
    gpus_per_worker: float | None = typer.Option(
        None, min=0.0, help="With ray: 0.5 shares a GPU between two; 1 without, or 0 on CPUs."
    ),
    ray_address: str | None = typer.Option(
        None, help="With ray: the address of a cluster, 'auto' for this machine's; without, one is started for the job."
    ),
) -> None:
    """Judge every row of a pair set, parquet or JSON Lines file into a parquet file, in both orders of the images.

    Images are paths relative to IN, or embedded. Bad rows are errors, or counted and written with their error.
    """
    from earshot.judge.rows import Columns, RowFile

    columns = Columns(prompt_column, first_column, second_column)
    index, of = parse_shard(shard)
    # Looked at before anything slow, so that a wrong file fails at once.
    RowFile(source, columns)
    model_options: dict[str, Any] = {
        "samples": samples,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "dtype": dtype,
        "batch_size": batch,
    }
    cluster = {"workers": workers, "gpus_per_worker": gpus_per_worker, "address": ray_address}
    from earshot.cli.progress import progress
    from earshot.judge.bulk import judge_file

    with _engine(engine, model, listener, device, model_options, cluster) as (who, settings), progress() as bar:
        task = bar.add_task("judging", total=None)
        tally = judge_file(
            source,
            out,
            who,
            seed=seed,
            shard=(index, of),
            batch=batch,
            tolerate=tolerate,
            columns=columns,
            settings=settings,
            part_rows=part_rows,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{out}: {tally.rows:,} rows, {tally.errors:,} of them bad")


@contextmanager
def _engine(
    name: str,
    model: str,
    listener: str | None,
    device: str,
    model_options: Mapping[str, Any],
    cluster: Mapping[str, Any],
) -> "Iterator[tuple[Engine, Mapping[str, Any]]]":
    """Who judges, and what the model's numbers depend on."""
    from earshot.errors import InputError

    if name not in ("local", "ray"):
        raise InputError(f"--engine is {name!r}, expected local or ray")
    if name == "local":
        if any(value is not None for value in cluster.values()):
            raise InputError("--workers, --gpus-per-worker and --ray-address are for --engine ray")
        reward_model = load_reward_model(model, listener, device=device, **model_options)
        from earshot.judge import describe
        from earshot.judge.bulk import Local

        yield Local(reward_model), describe(reward_model)
        return
    if importlib.util.find_spec("ray") is None:
        raise InputError("--engine ray needs Ray; pip install 'earshot[ray]'")
    from earshot.judge import describe
    from earshot.judge.ray_engine import Recipe, open_ray

    load = partial(_load_on, _absolute(model), listener and _absolute(listener), **model_options)
    recipe = Recipe(load, describe)
    with open_ray(recipe, device=device, **cluster) as opened:
        yield opened, opened.settings


def _absolute(model: str) -> str:
    """A model's folder from wherever a worker works; what is none, such as a hub id, stays as it is."""
    return str(Path(model).absolute()) if Path(model).exists() else model


def _load_on(model: str, listener: str | None, device: str, **options: Any) -> Any:
    return load_reward_model(model, listener, device=device, **options)


def parse_shard(shard: str) -> tuple[int, int]:
    """The numbers of `i/n`.

    Raises:
        InputError: It is not of that form, or i is not from 1 to n.
    """
    from earshot.errors import InputError

    index, slash, of = shard.partition("/")
    if not slash or not index.isdecimal() or not of.isdecimal() or not 1 <= int(index) <= int(of):
        raise InputError(f"--shard is {shard!r}, expected i/n with i from 1 to n, such as 1/8")
    return int(index), int(of)
