"""`earshot data`: import published sets, and check any pair set."""

import json
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from earshot.cli.options import Roots
from earshot.cli.overlap import overlap_command

app = typer.Typer(
    help="Import published pair sets, check any pair set, and find what two of them share.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


class _ImportCommand(TyperCommand):
    """`import`, whose help lists the published sets from their table."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from earshot.data.public import IMPORTERS

        super().format_help(ctx, formatter)
        formatter.write("\nThe sets that NAME can be (docs/datasets.md says more of each):\n")
        for i in IMPORTERS.values():
            lines = (i.title, f"from: {i.origin}", f"licence: {i.licence}", f"size: {i.size}", f"SRC: {i.layout}")
            formatter.write(f"\n  {i.name}\n")
            formatter.write("".join(f"{_wrapped(line)}\n" for line in lines) + f"    example: {i.command}\n")


def _wrapped(text: str) -> str:
    """A paragraph of the help, in which no address is broken."""
    indents = "    ", "      "
    return "\n".join(textwrap.TextWrapper(100, *indents, break_long_words=False, break_on_hyphens=False).wrap(text))


@app.command("import", cls=_ImportCommand)
def import_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of the sets named above.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Where the published set lies.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder for the pair set.")],
    split: Annotated[
        str | None, typer.Option(help="Which part, where SRC holds several; 'all' for all splits of parquet shards.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which image of a pair comes first.")] = 0,
    no_images: Annotated[bool, typer.Option("--no-images", help="Build the pair list from annotations alone.")] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out pairs whose images are not there.")
    ] = False,
    tolerate: Annotated[int, typer.Option(min=0, help="How many bad entries or pairs to leave out.")] = 0,
    revision: Annotated[str | None, typer.Option(help="The publisher's version, kept in dataset.json.")] = None,
) -> None:
    """Turn a published set into a pair set.

    Sides are shuffled with a recorded seed and images get neutral names, because published sets tell the winner by
    both.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from earshot.data.importing import import_set

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"importing {name}", total=None)
        imported = import_set(
            name,
            source,
            out,
            split=split,
            seed=seed,
            images=not no_images,
            skip_missing=skip_missing,
            tolerate=tolerate,
            revision=revision,
            on_error=lambda error: typer.echo(f"left out: {error}", err=True),
            on_pair=lambda done: progress.update(task, completed=done),
        )
    counts = imported.counts
    typer.echo(f"{out}: {counts.pairs} pairs, {counts.strict} strict, {counts.tied} tied, {counts.images} images")
    if counts.strict:
        published = imported.listed_first_preferred / counts.strict
        now = counts.first_preferred / counts.strict
        typer.echo(f"first side preferred in {published:.1%} of the strict pairs as published, {now:.1%} as shuffled")
    if imported.refused or imported.missing:
        typer.echo(f"left out: {imported.refused} bad, {imported.missing} with missing images")
    for rule, count in imported.by_rule.items():
        typer.echo(f"by rule: {count} {rule.replace('_', ' ')}")
    if imported.label_against_votes:
        typer.echo(f"{imported.label_against_votes} pairs have a label that the majority of their votes is against")


@app.command("check")
def check_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The pair set.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode images.")] = 4,
    root: Roots = None,
) -> None:
    """List every bad row of a pair set with its place and reason; every image is decoded.

    Exits with 0 when there is none, 1 when there are some, 2 when there is no such folder.
    """
    from earshot.data.check import check_pairset

    problems = []
    for problem in check_pairset(folder, workers=workers, roots=root or ()):
        problems.append(problem)
        if not as_json:
            typer.echo(f"{problem.place}: {problem.reason}")
    n_bad_rows = len({problem.row for problem in problems} - {None})
    if as_json:
        listed = [problem._asdict() for problem in problems]
        typer.echo(json.dumps({"problems": listed, "n_problems": len(listed), "n_bad_rows": n_bad_rows}, indent=2))
    else:
        found = f"{len(problems)} problems in {n_bad_rows} rows" if problems else "no problems"
        typer.echo(f"{folder}: {found}")
    if problems:
        raise typer.Exit(1)


app.command("overlap")(overlap_command)
