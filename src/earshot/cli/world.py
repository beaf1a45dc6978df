"""`earshot world`: pair sets of the synthetic world, and the recipe that makes its warm models."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="The synthetic world: pair sets with known truth, and its warm models.")


@app.command("make")
def make(
    out: Annotated[Path, typer.Argument(help="Folder for the pair sets; each becomes a folder in it.")],
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of the training set.")] = 4800,
    test_pairs: Annotated[int, typer.Option(min=1, help="Pairs of every other set.")] = 800,
    sets: Annotated[str, typer.Option(help="Which sets, separated by commas; all of them by default.")] = "",
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of the images in pixels.")] = 56,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as processors by default, one for a small set.")
    ] = None,
) -> None:
    """Writes pair sets with their ground truth: train, validation, test and three out-of-distribution sets."""
    from earshot.cli.progress import progress
    from earshot.world.make import Recipe, check_set, make_set
    from earshot.world.pairs import POPULATIONS

    totals = {name: pairs if name == "train" else test_pairs for name in _chosen(sets, POPULATIONS, "set")}
    for name, total in totals.items():  # all of them before the first is written
        check_set(out / name, Recipe(name, seed, size), total)
    with progress() as bars:
        tasks = {name: bars.add_task(name, total=total, start=False) for name, total in totals.items()}
        for name, total in totals.items():
            bars.start_task(tasks[name])

            def show(written: int, name: str = name) -> None:
                bars.update(tasks[name], completed=written)

            make_set(out / name, Recipe(name, seed, size), total, workers=workers, on_pair=show)
    typer.echo(f"{out}: " + ", ".join(f"{name} {total} pairs" for name, total in totals.items()))


def _chosen(text: str, known: Collection[str], what: str) -> list[str]:
    """The names in a list with commas, each once; all that are known where it is empty.

    Raises:
        InputError: A name is not known; the message offers the nearest one.
    """
    from earshot.config import nearest
    from earshot.errors import InputError

    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            close = nearest(name, known)
            hint = f", did you mean '{close}'?" if close else ""
            raise InputError(f"world: no {what} '{name}'{hint}; expected some of {', '.join(known)}")
    return names or list(known)


@app.command("pretrain")
def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder for the models; each becomes a folder in it.")],
    models: Annotated[
        str,
        typer.Option(help="Separated by commas: reasoner, listener, held-out (these by default), checker, doubter."),
    ] = "",
    scale: Annotated[float, typer.Option(help="Multiplies the number of steps of every lesson.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of initialisation and examples.")] = 0,
    flip_votes: Annotated[
        float,
        typer.Option(help="Share of the pairs whose votes a listener learns the wrong way round; 0.5: a control."),
    ] = 0.0,
) -> None:
    """Makes the world's warm models from nothing: a reasoner, listeners of two families, a checker, a doubter."""
    from earshot.cli.progress import progress
    from earshot.train.pretrain import RECIPES, SHIPPED, make_warm_models

    names = _chosen(models, RECIPES, "warm model") if models.strip(", ") else list(SHIPPED)
    with progress() as bars:
        tasks: dict[str, Any] = {}

        def on_step(lesson: str, step: int, steps: int, loss: float) -> None:
            if lesson not in tasks:
                tasks[lesson] = bars.add_task(lesson, total=steps)
            bars.update(tasks[lesson], completed=step + 1, description=f"{lesson}, loss {loss:.3f}")

        make_warm_models(out, names, scale=scale, seed=seed, flip_votes=flip_votes, on_step=on_step)
    typer.echo(f"{out}: {', '.join(names)}")
