"""`earshot lab overoptimise`: what is left of rewards when somebody optimises against them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earshot.cli.reward_model import AsJson, Device, Dtype

if TYPE_CHECKING:
    from earshot.lab.overoptimise import Pressure


def overoptimise_command(
    models: Annotated[list[str], typer.Argument(help="Reasoners: model folders or world:reasoner.")],
    listener: Annotated[
        list[str] | None,
        typer.Option(
            "--listener", help="Who reads the traces and might decide: [NAME=]MODEL[,KEY=VALUE…]. Repeatable."
        ),
    ] = None,
    prompts: Annotated[int, typer.Option(min=2, help="Prompts of the world.")] = 30,
    pictures: Annotated[int, typer.Option(min=2, help="Pictures of each: the most that are chosen from.")] = 8,
    against: Annotated[
        int | None, typer.Option(min=2, help="How many others each picture is compared with; all by default.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longer completions are cut, and malformed.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of the pictures, the sampling and the bootstrap.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Prints what the best of n pictures is worth, chosen by each model and by those who read it: reward and truth."""
    import json
    from dataclasses import asdict
    from typing import Any

    from earshot.cli.progress import progress_bar
    from earshot.cli.reward_model import ModelOptions
    from earshot.lab.overoptimise import compared, draw, measure, scores
    from earshot.lab.screen import CONTROLS

    drawn = draw(prompts, pictures, seed=seed)
    judged: dict[str, list[Any]] = {}
    lost: dict[str, int] = {}
    for name in models:
        asked = ModelOptions(name, listener=listener, max_new_tokens=max_new_tokens, device=device, dtype=dtype)
        model = asked.load(batch_size=64)
        judged[name], lost[name] = [], 0
        with progress_bar(Path(name).name) as tell:
            for number, one in enumerate(drawn):
                told, missing = scores(model, one, against=against, seed=seed + number)
                judged[name].append(told)
                lost[name] += missing
                tell(number + 1, len(drawn))
    found = {name: measure(drawn, told, resamples=resamples, seed=seed) for name, told in judged.items()}
    most = found[models[0]][CONTROLS[0]][-1].n
    differences = {
        (name, judge): compared(
            most,
            drawn,
            [one[judge] for one in judged[name]],
            [one[judge] for one in judged[models[0]]],
            resamples=resamples,
            seed=seed,
        )
        for name in models[1:]
        for judge in judged[name][0]
    }
    if as_json:
        about = {"prompts": prompts, "pictures": pictures, "seed": seed, "comparisons_without_answer": lost}
        rows = {
            name: {judge: [one._asdict() for one in told] for judge, told in by_judge.items()}
            for name, by_judge in found.items()
        }
        more = {
            name: {judge: asdict(told) for (which, judge), told in differences.items() if which == name}
            for name in models[1:]
        }
        typer.echo(json.dumps(about | {"models": rows, "less_first": more}, indent=2, default=asdict))
        return
    for name, by_judge in found.items():
        typer.echo(f"{name} ({lost[name]} comparisons came to nothing)")
        for judge, pressures in by_judge.items():
            if judge in CONTROLS and name != models[0]:
                continue  # the same of all
            _tell(judge, pressures)
            if (name, judge) in differences:
                gained = differences[name, judge].text(percent=True, signed=True)
                typer.echo(f"    at n = {most}, less {models[0]}: {gained} points")
    typer.echo(
        f"{prompts} prompts of {pictures} pictures; captured: the share of what could be gained over any picture, %; "
        "KL: at most so many nats; 95 % intervals, prompts resampled"
    )


def _tell(judge: str, told: list[Pressure]) -> None:
    typer.echo(f"  {judge}\n      n    KL  reward    gold  captured")
    for one in told:
        typer.echo(
            f"    {one.n:3}  {one.kl:4.2f}   {one.proxy.numbers()[0]}  {one.gold.numbers(digits=2)[0]:>6}  "
            f"{one.captured.text(percent=True)}"
        )
