"""`earshot world`: pair sets of the synthetic world."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from earshot.cli.lazy import Command, lazy_app
from earshot.cli.reward_model import AsJson

app = lazy_app(
    "world",
    {
        "make": Command("earshot.cli.world:make", "Pair sets with their ground truth."),
        "ceilings": Command("earshot.cli.world:tell_ceilings", "How often anybody could be right about a set."),
        "pretrain": Command("earshot.lab.commands.pretrain:pretrain_command", "The world's warm models, from nothing."),
    },
    help="The synthetic world: pair sets with known truth, and its warm models.",
)


World = Annotated[
    Literal["colours", "shortcut", "few", "selective", "edit"],
    typer.Option(
        "--world",
        help="Whose sets: in `shortcut` a mark goes with the label that no trace can name; in `few` there are "
        "few pairs to learn from, and fresh ones to see what was learned by heart; in `selective` traces tell three of "
        "six facts; in `edit` pictures are two edits of an original, by an instruction.",
    ),
]


def make(
    out: Annotated[Path, typer.Argument(help="Folder for the pair sets; each becomes a folder in it.")],
    pairs: Annotated[
        int | None, typer.Option(min=1, help="Pairs of each training set; 4,800 by default, and 240 in `few`.")
    ] = None,
    test_pairs: Annotated[int, typer.Option(min=1, help="Pairs of every other set.")] = 800,
    ood_pairs: Annotated[
        int | None, typer.Option(min=1, help="Pairs of each out-of-distribution set; --test-pairs by default.")
    ] = None,
    sets: Annotated[str, typer.Option(help="Which sets, of any world, by commas; all of --world's by default.")] = "",
    world: World = "colours",
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of the images in pixels.")] = 56,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as processors by default, one for a small set.")
    ] = None,
) -> None:
    """Writes pair sets with their ground truth: of training, validation and tests, in and out of distribution."""
    from earshot.cli.progress import progress
    from earshot.world.make import Recipe, check_set, make_set
    from earshot.world.pairs import TRAINING_PAIRS

    chosen = _chosen_sets(sets, world)
    totals = {name: pairs or TRAINING_PAIRS[of] if "train" in name else test_pairs for name, of in chosen.items()}
    totals |= {name: ood_pairs or test_pairs for name in totals if name.startswith("ood_")}
    for name, total in totals.items():  # all of them before the first is written
        check_set(out / name, Recipe(name, seed, size), total)
    with progress() as bars:
        tell = partial(bars.console.print, markup=False, highlight=False, soft_wrap=True)
        tasks = {name: bars.add_task(name, total=total, start=False) for name, total in totals.items()}
        for name, total in totals.items():
            bars.start_task(tasks[name])

            def show(written: int, name: str = name) -> None:
                bars.update(tasks[name], completed=written)

            recipe = Recipe(name, seed, size)
            make_set(out / name, recipe, total, workers=workers, on_pair=show, tell=tell)
    typer.echo(f"{out}: " + ", ".join(f"{name} {total} pairs" for name, total in totals.items()))


def tell_ceilings(
    sets: Annotated[str, typer.Option(help="Which sets, of any world, by commas; all but train by default.")] = "",
    world: World = "colours",
    as_json: AsJson = False,
) -> None:
    """Prints the accuracy, in percent, of judges who make no mistake in what they go by; no model is in it."""
    from earshot.world.ceilings import set_ceilings

    told = {
        name: set_ceilings(name)
        for name in _chosen_sets(sets, world)
        if sets or name.removeprefix("edit_") not in ("train", "validation")  # drawn like `test`
    }
    if as_json:
        typer.echo(json.dumps({"accuracy": told}, indent=2))
        return
    for name, of in told.items():
        typer.echo(f"{name}: a judge who")
        for judge, right in of.items():
            typer.echo(f"    {judge:<{max(map(len, of))}}  {100 * right:5.1f}")
    typer.echo("(accuracy by the majority of votes, in percent, over all pairs that could be drawn)")


def _chosen_sets(text: str, world: str) -> dict[str, str]:
    """The sets that are named, or all of the world, and the world that each is of."""
    from earshot.world.pairs import SETS, WORLDS

    names = chosen_names(text, SETS, "set", WORLDS[world])
    return {name: next(of for of, known in WORLDS.items() if name in known) for name in names}


def chosen_names(text: str, known: Collection[str], what: str, default: Iterable[str]) -> list[str]:
    """The names in a list with commas, each once; the default where it is empty.

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
    return names or list(default)
