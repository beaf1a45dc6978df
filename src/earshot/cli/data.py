"""`earshot data`: import published sets, and check any pair set."""

import json
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from earshot.cli.lazy import Group
from earshot.cli.options import Roots
from earshot.cli.overlap import overlap_command

By = Literal["prompt", "pair", "image"]

app = typer.Typer(
    cls=Group,
    help="Import published pair sets, split and check any pair set, and find what two of them share.",
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


def _tell(message: str) -> None:
    typer.echo(message, err=True)


@app.command("import", cls=_ImportCommand)
def import_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="One of the sets named above.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Where the published set lies.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder for the pair set.")],
    split: Annotated[
        str | None, typer.Option(help="Which part, where SRC holds several; 'all' for all splits of parquet shards.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many pairs: a sample, drawn by --seed from all of them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which image of a pair comes first, and what --limit draws.")] = 0,
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
    from earshot.cli.progress import counting
    from earshot.data.importing import import_set

    with counting() as on_pair:
        imported = import_set(
            name,
            source,
            out,
            split=split,
            limit=limit,
            seed=seed,
            images=not no_images,
            skip_missing=skip_missing,
            tolerate=tolerate,
            revision=revision,
            on_error=lambda error: typer.echo(f"left out: {error}", err=True),
            on_pair=on_pair,
            tell=_tell,
        )
    counts = imported.counts
    pairs, pictures = _number(counts.pairs, "pair"), _number(counts.images, "image")
    typer.echo(f"{out}: {pairs}, {counts.strict} strict, {counts.tied} tied, {pictures}")
    if counts.strict:
        published = imported.listed_first_preferred / counts.strict
        now = counts.first_preferred / counts.strict
        typer.echo(f"first side preferred in {published:.1%} of the strict pairs as published, {now:.1%} as shuffled")
    if imported.refused or imported.missing:
        typer.echo(f"left out: {imported.refused} bad, {imported.missing} with missing images")
    if imported.drawn_from is not None:
        typer.echo(f"drawn from {imported.drawn_from} pairs by the seed {seed} and their ids")
    for rule, count in imported.by_rule.items():
        typer.echo(f"by rule: {count} {rule.replace('_', ' ')}")
    if imported.label_against_votes:
        typer.echo(f"{imported.label_against_votes} pairs have a label that the majority of their votes is against")


@app.command("split")
def split_command(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="The pair set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder; each part becomes a folder in it.")],
    by: Annotated[By, typer.Option(help="What the parts must not share.")] = "prompt",
    validation: Annotated[str | None, typer.Option(help="Its share of the pairs, such as 5%, or their number.")] = None,
    test: Annotated[str | None, typer.Option(help="As --validation.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which pairs go where.")] = 0,
) -> None:
    """Split a pair set into train, validation and test sets that share no prompt, or no picture.

    Prompts are the same that differ in case, spaces, punctuation or Unicode form. Pictures are hard links to those of
    SET where the disk can do that.
    """
    from earshot.cli.progress import counting
    from earshot.data.splitting import split_set

    sizes = {name: size for name, size in (("validation", validation), ("test", test)) if size is not None}
    with counting() as on_pair:
        parts = split_set(folder, out, sizes, by=by, seed=seed, tell=_tell, on_pair=on_pair)
    noun = {"prompt": "prompt", "pair": "pair", "image": "group"}[by]
    for part in parts:
        asked = f", asked for {sizes[part.name]}" if part.name in sizes else ""
        pairs, groups = _number(part.pairs, "pair"), _number(part.groups, noun)
        typer.echo(f"{out / part.name}: {pairs} of {groups} ({part.share:.1%}{asked})")


@app.command("equalise")
def equalise_command(
    folder: Annotated[Path, typer.Argument(metavar="SET", help="The pair set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder for the copy.")],
    side: Annotated[int, typer.Option(help="The longer side in pixels that every picture is shrunk to.")] = 256,
    quality: Annotated[int, typer.Option(help="Of the JPEG that every picture becomes, 1 to 95.")] = 90,
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
) -> None:
    """Copy a pair set with both pictures of a pair scaled down and up and compressed alike.

    A control: what a judge loses on the copy, it had from sharpness, size or compression. What is left of the rules
    that tell the preferred image without the prompt is printed.
    """
    from earshot.cli.progress import counting
    from earshot.data.equalising import equalise_set
    from earshot.metrics.blind import blind_lines, blind_of_set

    with counting() as on_pair:
        counts = equalise_set(
            folder, out, side_px=side, quality=quality, tell=_tell, on_pair=lambda done: on_pair("equalising", done)
        )
        blind = blind_of_set(out, resamples=resamples, on_pair=lambda done: on_pair("measuring", done))
    typer.echo(f"{out}: {_number(counts.pairs, 'pair')}, by way of {side} px and JPEG of quality {quality}")
    typer.echo("\n".join(blind_lines(blind)))


@app.command("check")
def check_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The pair set.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode images.")] = 4,
    root: Roots = None,
) -> None:
    """List every bad row of a pair set with its place and reason; every image is decoded.

    Exits with 0 when there is none, 1 when there are some, 2 when there is no pair set. Notes (equal pictures, repeated
    pairs, opposite votes, rules that tell the preferred image without the prompt) are no problems.
    """
    from earshot.data.check import Note, check_pairset
    from earshot.metrics.blind import blind_estimates, blind_notes
    from earshot.predictions.people import unjudged_row
    from earshot.predictions.table import TableBuilder

    problems, notes, sound = [], list[Note](), TableBuilder()
    for problem in check_pairset(
        folder,
        workers=workers,
        roots=root or (),
        on_note=notes.append,
        on_pair=lambda pair, measured: sound.add(unjudged_row(pair, measured)),
    ):
        problems.append(problem)
        if not as_json:
            typer.echo(f"{problem.place}: {problem.reason}")
    n_bad_rows = len({problem.row for problem in problems} - {None})
    blind = blind_estimates(sound.table()) if len(sound) else {}
    if as_json:
        listed = [problem._asdict() for problem in problems]
        document = {"problems": listed, "n_problems": len(listed), "n_bad_rows": n_bad_rows}
        told = {name: estimate.as_record() for name, estimate in blind.items()}
        typer.echo(json.dumps({**document, "notes": [note._asdict() for note in notes], **told}, indent=2))
    else:
        for note in notes:
            has = f"{_number(note.n_rows, 'row')} {'has' if note.n_rows == 1 else 'have'}"
            rows = [f"{row} like {earlier}" for row, earlier in zip(note.rows, note.earlier, strict=False)] or note.rows
            more = ", ..." if note.n_rows > len(rows) else ""
            typer.echo(f"note: {has} {note.reason} (row {', '.join(map(str, rows))}{more})")
        for text in blind_notes(blind):
            typer.echo(f"note: {text}")
        found = f"{_number(len(problems), 'problem')} in {_number(n_bad_rows, 'row')}" if problems else "no problems"
        typer.echo(f"{folder}: {found}")
    if problems:
        raise typer.Exit(1)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


app.command("overlap")(overlap_command)
