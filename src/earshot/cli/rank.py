"""`earshot rank`: several images of one prompt, best first."""

from typing import TYPE_CHECKING

import typer

from earshot.cli.options import with_options
from earshot.cli.reward_model import AsJson, ModelOptions, Original, Prompt, Seed

if TYPE_CHECKING:
    from earshot.judging.ranking import ImageRanking


@with_options
def rank_command(
    asked: ModelOptions,
    prompt: Prompt,
    images: list[str] = typer.Argument(help="Image files, two or more."),
    original: Original = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Rank images of one prompt: all pairs up to eight images, a tournament of n log n comparisons above."""
    import json

    from earshot.errors import InputError
    from earshot.judging.pictures import take_picture
    from earshot.judging.question import check_prompt

    if len(images) < 2:
        raise InputError(f"{len(images)} image given, expected at least 2: a rank is a place among others")
    check_prompt(prompt)
    pictures = [take_picture(path, argument=f"IMAGE {k}").image for k, path in enumerate(images, start=1)]
    edited = None if original is None else take_picture(original, argument="--original").image
    reward_model = asked.load_aloud()
    ranking = reward_model.rank(prompt=prompt, images=pictures, original=edited, seed=seed)
    if as_json:
        told = ranking.as_dict() | {"note": reward_model.note}
        for name, image in zip(images, told["images"], strict=True):
            image["image"] = name
        typer.echo(json.dumps(told, indent=2))
    else:
        print_ranking(ranking, images)


def print_ranking(ranking: "ImageRanking", names: list[str]) -> None:
    """A line for each image, best first; then what does not fit."""
    from earshot.images import printable

    typer.echo("rank  strength [95 % interval]   wins  image")
    unranked = [k for k in range(len(names)) if k not in ranking.order]
    for k in [*ranking.order, *unranked]:
        image = ranking.images[k]
        if image.rank is None or image.strength.value is None or image.win_rate is None:
            typer.echo(f"   -  {'no comparison came out':<25}     -  {printable(names[k])}")
            continue
        low, high = image.strength.low, image.strength.high
        interval = "" if low is None else f" [{low:+.2f}, {high:+.2f}]"
        strength = f"{image.strength.value:+.2f}{interval}"
        typer.echo(f"{image.rank:>4}  {strength:<25}  {100 * image.win_rate:>3.0f}%  {printable(names[k])}")
    for cycle in ranking.cycles:
        typer.echo(f"a circle: {' > '.join(printable(names[k]) for k in (*cycle, cycle[0]))}")
    if ranking.n_missing:
        typer.echo(f"{ranking.n_missing} of {len(ranking.games)} comparisons came to nothing (malformed completions)")
