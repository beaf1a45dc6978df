"""`earshot score`: one number for a picture by itself; `earshot scale`: what a point is worth to people."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earshot.cli.options import Roots, with_options
from earshot.cli.reward_model import AsJson, ModelOptions, Prompt, Seed

if TYPE_CHECKING:
    from earshot.judging.points import Points

Against = Annotated[
    str,
    typer.Option(
        "--against",
        help="Pictures to measure by: a pair set, a folder of images, or 'world', which ships with Earshot and "
        "measures pictures of the synthetic world.",
    ),
]
Pictures = Annotated[
    int, typer.Option("--pictures", min=2, help="At most so many of them; each is compared with every image.")
]


@with_options
def score_command(
    asked: ModelOptions,
    prompt: Prompt,
    images: list[str] = typer.Argument(metavar="IMAGE...", help="Image files, one or more."),
    against: Against = "world",
    pictures: Pictures = 16,
    scale: Path | None = typer.Option(None, help="What points are worth, from 'earshot scale'."),
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Score pictures one by one: how each does against the pictures of a reference, judged for the same prompt."""
    import json

    from earshot.judging.pictures import take_picture
    from earshot.judging.points import load_reference, load_scale
    from earshot.judging.question import check_prompt

    check_prompt(prompt)
    taken = [take_picture(path, argument=f"IMAGE {k}").image for k, path in enumerate(images, start=1)]
    reference = load_reference(against, pictures=pictures)
    given = None if scale is None else load_scale(scale)
    model = asked.load_aloud()
    told = model.points(prompt, taken, against=reference, scale=given, seed=seed)
    if as_json:
        scores = [{"image": name, **one.as_dict()} for name, one in zip(images, told, strict=True)]
        typer.echo(json.dumps({"scores": scores, "note": model.note}, indent=2))
    else:
        print_points(told, images)


def print_points(told: "list[Points]", names: list[str]) -> None:
    """A line for each image, and what its numbers mean."""
    from earshot.cli.table import table
    from earshot.images import printable
    from earshot.judging.points import meaning
    from earshot.types import Estimate

    def interval(one: Estimate, *, signed: bool = False) -> str:
        value, *ends = one.numbers(digits=2, signed=signed)
        return f"{value} [{', '.join(ends)}]" if ends else value

    rows = [
        (printable(name), interval(one.points, signed=True), interval(one.win_rate))
        for name, one in zip(names, told, strict=True)
    ]
    typer.echo(table(("image", "points [95 %]", "win rate [95 %]"), rows))
    typer.echo(meaning(told[0].reference, told[0].scale))


@with_options
def scale_command(
    asked: ModelOptions,
    out: Path = typer.Argument(metavar="OUT", help="The JSON file to write."),
    data: Path = typer.Option(help="A pair set with votes, of other pictures than those measured by."),
    against: Against = "world",
    pictures: Pictures = 16,
    pairs: int = typer.Option(100, min=1, help="Take the first so many pairs."),
    seed: Seed = 0,
    root: Roots = None,
) -> None:
    """Fit what a point of 'earshot score' is worth to people, on validation pairs, for one model and one reference."""
    from itertools import islice

    from earshot.cli.progress import progress_bar
    from earshot.data.pairset import read_pairs
    from earshot.files import check_folder, write_json
    from earshot.judging.points import fit_scale, load_reference

    check_folder(out.parent, "a folder")
    chosen = list(islice(read_pairs(data, roots=root or ()), pairs))
    reference = load_reference(against, pictures=pictures)
    model = asked.load_aloud()
    with progress_bar("judging") as tell:
        scale = fit_scale(
            chosen,
            reference,
            model.answer,
            data=data.name,
            model=model.identity(),
            seed=seed,
            progress=lambda done: tell(done, len(chosen)),
        )
    write_json(out, scale.record())
    typer.echo(f"{out}: points are log-odds of the win rate times {scale.factor:.3f}, fitted on {scale.n} pairs")
