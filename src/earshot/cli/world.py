"""`earshot world`: pair sets of the synthetic world, and the recipe that makes its warm models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="The synthetic world: pair sets with known truth, and its warm models.")


@app.command("make")
def make(
    out: Annotated[Path, typer.Argument(help="Folder for the pair sets; each becomes a folder in it.")],
    pairs: Annotated[int, typer.Option(help="Pairs of the training set.")] = 4800,
    test_pairs: Annotated[int, typer.Option(help="Pairs of every other set.")] = 800,
    sets: Annotated[str, typer.Option(help="Which sets, separated by commas; all of them by default.")] = "",
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 56,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes; as many as processors by default.")] = None,
) -> None:
    """Writes pair sets with their ground truth: train, validation, test and three out-of-distribution sets."""
    from earshot.cli.progress import progress
    from earshot.world.make import Recipe, make_set
    from earshot.world.pairs import POPULATIONS

    names = [name.strip() for name in sets.split(",") if name.strip()] or list(POPULATIONS)
    with progress() as bars:
        for name in names:
            total = pairs if name == "train" else test_pairs
            bar = bars.add_task(name, total=total)
            make_set(
                out / name,
                Recipe(name, seed, size),
                total,
                workers=workers,
                on_pair=partial(_advance, bars, bar),
            )
    typer.echo(f"{out}: {', '.join(names)}")


def _advance(bars: Any, bar: Any, done: int) -> None:
    bars.update(bar, completed=done)


@app.command("pretrain")
def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder for the models; each becomes a folder in it.")],
    models: Annotated[str, typer.Option(help="Which of the warm models, separated by commas; all by default.")] = "",
    scale: Annotated[float, typer.Option(help="Multiplies the number of steps of every lesson.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of initialisation and examples.")] = 0,
) -> None:
    """Makes the world's warm models from nothing: a reasoner, a listener, and a held-out listener of another family."""
    from earshot.cli.progress import progress
    from earshot.train.pretrain import RECIPES, make_warm_models

    names = [name.strip() for name in models.split(",") if name.strip()] or list(RECIPES)
    with progress() as bars:
        tasks: dict[str, Any] = {}

        def on_step(lesson: str, step: int, steps: int, loss: float) -> None:
            if lesson not in tasks:
                tasks[lesson] = bars.add_task(lesson, total=steps)
            bars.update(tasks[lesson], completed=step + 1, description=f"{lesson}, loss {loss:.3f}")

        make_warm_models(out, names, scale=scale, seed=seed, on_step=on_step)
    typer.echo(f"{out}: {', '.join(names)}")
