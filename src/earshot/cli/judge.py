"""`earshot judge`: every row of a file of any size, resumable and in shards."""

from pathlib import Path

import typer

from earshot.cli.engine import EngineOptions
from earshot.cli.options import Roots, with_options
from earshot.cli.reward_model import ModelOptions, Seed


@with_options
def judge_command(
    asked: ModelOptions,
    among: EngineOptions,
    source: Path = typer.Argument(
        metavar="IN", help="A pair set's folder, a .parquet or .jsonl file, or a folder of the hub's shards."
    ),
    out: Path = typer.Argument(help="The parquet file to write; a job that was stopped goes on."),
    seed: Seed = 0,
    part_rows: int = typer.Option(512, min=1, help="Rows written at a time: what a kill can cost."),
    prompt_column: str = typer.Option("prompt", help="The column with the prompt."),
    first_column: str | None = typer.Option(
        None, help="The column with the first image; 'first_file_name' or 'first' are found without."
    ),
    second_column: str | None = typer.Option(None, help="The column with the second image."),
    rank: str | None = typer.Option(
        None,
        metavar="COLUMN",
        help="Rank instead: a row is a prompt with two or more images, in lists in this column; for 'earshot prefer'.",
    ),
    original_column: str | None = typer.Option(
        None, help="The column with the originals of edits; 'original_file_name' is found without."
    ),
    split: str | None = typer.Option(None, help="Which split, where IN is a folder with the shards of several."),
    root: Roots = None,
) -> None:
    """Judge every row of a pair set, parquet or JSON Lines file into a parquet file, in both orders of the images.

    Images are paths relative to IN, or embedded. Bad rows are errors, or counted and written with their error. With
    --rank each row is ranked as 'earshot rank' does it, and OUT holds the pictures too.
    """
    from earshot.errors import InputError
    from earshot.judging.rows import Columns, RowFile

    columns = Columns(prompt_column, first_column, second_column, original=original_column)
    if rank is not None and (first_column, second_column, original_column) != (None, None, None):
        raise InputError(
            "--first-column, --second-column and --original-column are of pairs, and --rank ranks lists; leave out one "
            "of them"
        )
    shard = among.share()
    # Looked at before anything slow, so that a wrong file fails at once.
    rows = RowFile(source, columns, groups=rank, split=split, roots=root or ())
    if not among.tolerate:
        rows.check_first()
    from earshot.cli.progress import progress_bar
    from earshot.judging.to_file import check_name, judge_file

    check_name(out)
    with among.opened(asked) as (who, settings), progress_bar("judging") as tell:
        tally = judge_file(
            source,
            out,
            who,
            seed=seed,
            shard=shard,
            batch=among.batch,
            tolerate=among.tolerate,
            split=split,
            roots=root or (),
            columns=columns,
            groups=rank,
            settings=settings,
            part_rows=part_rows,
            progress=tell,
        )
    typer.echo(f"{out}: {tally.rows:,} rows, {tally.errors:,} of them bad")
