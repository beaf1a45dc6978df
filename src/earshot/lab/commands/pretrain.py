"""`earshot lab pretrain`: the recipe that makes the world's warm models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from earshot.cli.world import World


def pretrain_command(
    out: Annotated[Path, typer.Argument(help="Folder for the models; each becomes a folder in it.")],
    models: Annotated[
        str,
        typer.Option(
            help="By commas: reasoner, listener, held-out (these by default), rationaliser, knowing, checker, doubter."
        ),
    ] = "",
    scale: Annotated[
        float, typer.Option(min=0.0, max=1e6, help="Multiplies the number of steps of every lesson.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of initialisation and examples.")] = 0,
    flip_votes: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the pairs whose votes a listener learns the wrong way round; 0.5: a control.",
        ),
    ] = 0.0,
    world: World = "colours",
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Take those that ship where they are of this very recipe, as of seed 0.")
    ] = False,
) -> None:
    """Makes the world's warm models from nothing: reasoners, listeners of two families, a checker, a doubter."""
    from earshot.cli.progress import progress, quiet_loading
    from earshot.cli.world import chosen_names
    from earshot.lab.pretraining import RECIPES, SHIPPED, make_warm_models

    names = chosen_names(models, RECIPES, "warm model", SHIPPED)
    quiet_loading()
    with progress() as bars:
        tasks: dict[str, Any] = {}

        def on_step(lesson: str, step: int, steps: int, loss: float) -> None:
            if lesson not in tasks:
                tasks[lesson] = bars.add_task(lesson, total=steps)
            bars.update(tasks[lesson], completed=step + 1, description=f"{lesson}, loss {loss:.3f}")

        make_warm_models(
            out, names, scale=scale, seed=seed, flip_votes=flip_votes, world=world, shipped=shipped, on_step=on_step
        )
    typer.echo(f"{out}: {', '.join(names)}")
