"""`earshot judge`: every row of a file of any size, resumable and in shards."""

from pathlib import Path

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
) -> None:
    """Judge every row of a pair set, parquet or JSON Lines file into a parquet file, in both orders of the images.

    Images are paths relative to IN, or embedded. Bad rows are errors, or counted and written with their error.
    """
    from earshot.judge.rows import Columns, RowFile

    columns = Columns(prompt_column, first_column, second_column)
    index, of = parse_shard(shard)
    # Looked at before anything slow, so that a wrong file fails at once.
    RowFile(source, columns)
    reward_model = load_reward_model(
        model,
        listener,
        samples=samples,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        device=device,
        dtype=dtype,
        batch_size=batch,
    )
    from earshot.cli.progress import progress
    from earshot.judge import describe
    from earshot.judge.bulk import Local, judge_file

    with progress() as bar:
        task = bar.add_task("judging", total=None)
        tally = judge_file(
            source,
            out,
            Local(reward_model),
            seed=seed,
            shard=(index, of),
            batch=batch,
            tolerate=tolerate,
            columns=columns,
            settings=describe(reward_model),
            part_rows=part_rows,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"{out}: {tally.rows:,} rows, {tally.errors:,} of them bad")


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
