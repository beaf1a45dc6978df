"""`earshot judge`: every row of a file of any size, resumable and in shards."""

from pathlib import Path
from typing import Any

import typer

from earshot.cli.engine import EngineName, RayAddress, RayGpus, RayWorkers, Shard, opened_engine, parse_shard
from earshot.cli.reward_model import (
    Decide,
    Device,
    Dtype,
    Listeners,
    MaxNewTokens,
    Model,
    Samples,
    Seed,
    Temperature,
)


def judge_command(
    model: Model,
    source: Path = typer.Argument(metavar="IN", help="A pair set's folder, a .parquet or a .jsonl file."),
    out: Path = typer.Argument(help="The parquet file to write; a job that was stopped goes on."),
    listener: Listeners = [],  # noqa: B006
    decide: Decide = "author",
    samples: Samples = 1,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    max_new_tokens: MaxNewTokens = 512,
    shard: Shard = "1/1",
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
    engine: EngineName = "local",
    workers: RayWorkers = None,
    gpus_per_worker: RayGpus = None,
    ray_address: RayAddress = None,
) -> None:
    """Judge every row of a pair set, parquet or JSON Lines file into a parquet file, in both orders of the images.

    Images are paths relative to IN, or embedded. Bad rows are errors, or counted and written with their error.
    """
    from earshot.judging.rows import Columns, RowFile

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
        "decide": decide,
    }
    cluster = {"workers": workers, "gpus_per_worker": gpus_per_worker, "address": ray_address}
    from earshot.cli.progress import progress
    from earshot.judging.to_file import judge_file

    with opened_engine(engine, model, listener, device, model_options, cluster) as (who, settings), progress() as bar:
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
