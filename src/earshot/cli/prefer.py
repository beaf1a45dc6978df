"""`earshot prefer`: preference data for trainers from ranked pictures."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def prefer_command(
    ranked: Annotated[
        Path, typer.Argument(metavar="RANKED", help="What 'earshot judge --rank' wrote, or a folder of its shards.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    form: Annotated[
        Literal["pairs", "dpo", "diffusion-dpo"],
        typer.Option(
            "--format",
            help="pairs: a pair set of ours; dpo: TRL's, to train a judge; diffusion-dpo: Pick-a-Pic's columns, to "
            "train a generator.",
        ),
    ],
    margin: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="The winner's probability less the loser's, at least.")
    ] = 0.2,
    agreement: Annotated[
        bool,
        typer.Option(
            "--agreement/--no-agreement", help="Whether the author and every listener must have the same winner."
        ),
    ] = True,
    select: Annotated[
        Literal["all", "best-against-rest", "best-against-worst"],
        typer.Option(
            help="Of the pairs that pass: all, those of each prompt's best picture, or one of these a prompt."
        ),
    ] = "all",
    seed: Annotated[int, typer.Option(min=0, help="Decides which picture of a pair comes first.")] = 0,
    prompts: Annotated[
        str | None, typer.Option(help="dpo: how the author was asked, if by no prompt set that ships with Earshot.")
    ] = None,
) -> None:
    """Make preference data from ranked pictures: which pairs are kept, and why each of the others is not.

    A pair is kept where both orders have the same winner, by a margin, the author and the listeners agree on it and the
    whole ranking does. Beside the data choices.jsonl says of each pair what became of it.
    """
    from earshot.cli.table import table
    from earshot.preferences.choosing import WHY, Rules
    from earshot.preferences.writing import write_preferences

    rules = Rules(margin, agreement, select)
    tally = write_preferences(
        ranked, out, form, rules, seed=seed, prompts=prompts, tell=lambda line: typer.echo(line, err=True)
    )
    rows = [(text, f"{tally.reasons[reason]:,}") for reason, text in WHY.items() if tally.reasons[reason]]
    typer.echo(table(("pairs that were compared", f"{tally.reasons.total():,}"), rows))
    bad = f", {tally.bad:,} bad rows passed over" if tally.bad else ""
    typer.echo(f"{out}: {tally.rows:,} rows of {tally.prompts:,} prompts{bad}")
