"""`earshot compare`: which of two images people prefer for a prompt, and why."""

from typing import TYPE_CHECKING, Any

import typer

from earshot.cli.options import with_options
from earshot.cli.reward_model import AsJson, ModelOptions, Original, Prompt, Seed, print_lines
from earshot.cli.table import table

if TYPE_CHECKING:
    from earshot.predictions.judgement import Judgement


@with_options
def compare_command(
    asked: ModelOptions,
    prompt: Prompt,
    images: list[str] = typer.Argument(metavar="FIRST SECOND", help="Two image files."),
    original: Original = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say which of two images people prefer for a prompt, judged in both orders of the images.

    With --original they are two edits of it, and the model must be one that is asked about edits.
    """
    import json

    from earshot.errors import InputError
    from earshot.judging.pictures import take_picture
    from earshot.judging.question import check_prompt
    from earshot.measured import side_by_side

    # Looked at before anything slow, so that a wrong path fails at once.
    if len(images) != 2:
        raise InputError(f"{len(images)} image{'s' * (len(images) > 1)} given, expected 2; 'earshot rank' orders more")
    check_prompt(prompt)
    one, other = (
        take_picture(path, argument=name).image for path, name in zip(images, ("FIRST", "SECOND"), strict=True)
    )
    edited = None if original is None else take_picture(original, argument="--original").image
    beside = side_by_side(one, other)
    reward_model = asked.load_aloud()
    told = reward_model.compare(prompt=prompt, first=one, second=other, original=edited, seed=seed)
    if as_json:
        typer.echo(json.dumps(told.as_dict() | {"note": reward_model.note, "measured": beside}, indent=2))
    else:
        print_judgement(told, beside)


def print_judgement(told: "Judgement", beside: dict[str, Any]) -> None:
    """The verdict, what it rests on, what is measured beside it, and the traces."""
    if told.p_first is None:
        typer.echo(f"no verdict: {told.reason} ({told.malformed} of {len(told.samples)} completions are malformed)")
    elif told.verdict is None:
        typer.echo(f"no verdict: p(first) = {told.p_first:.4f}, {told.reason}")
    else:
        agree = "both orders agree" if told.orders_agree else "the two orders disagree"
        typer.echo(f"{told.verdict}: p(first) = {told.p_first:.4f}, {agree}, decided by {told.decided_by}")
    for name, p in (("first shown first", told.p_first_forward), ("second shown first", told.p_first_swapped)):
        typer.echo(f"  {name}: {'no verdict' if p is None else f'{p:.4f}'}")
    if told.decided_by != "author":
        typer.echo(f"  the author: {'no verdict' if told.p_author is None else f'{told.p_author:.4f}'}")
    for name, p in told.p_read.items():
        typer.echo(f"  {name}, from the traces: {'no verdict' if p is None else f'{p:.4f}'}")
    typer.echo(f"\n{beside['label']}:")
    typer.echo(table(("", "first", "second"), beside["table"]))
    for sample in told.samples:
        shown = "first, second" if sample.order == "forward" else "second, first"
        typer.echo(f"\nshown {shown}: {sample.side or f'malformed ({sample.malformed})'}")
        print_lines(sample.trace)
