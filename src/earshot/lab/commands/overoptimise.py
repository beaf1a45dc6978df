"""`earshot lab overoptimise`: what is left of rewards when somebody optimises against them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from earshot.cli.reward_model import AsJson, Device, Dtype


def overoptimise_command(
    models: Annotated[list[str], typer.Argument(help="Reasoners: model folders or world:reasoner.")],
    listener: Annotated[
        list[str] | None,
        typer.Option(
            "--listener", help="Who reads the traces and might decide: [NAME=]MODEL[,KEY=VALUE…]. Repeatable."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where overoptimise.json goes: a run's folder, or another that a report shows.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=2, help="Prompts of the world.")] = 30,
    pictures: Annotated[int, typer.Option(min=2, help="Pictures of each: the most that are chosen from.")] = 8,
    against: Annotated[
        int | None, typer.Option(min=2, help="How many others each picture is compared with; all by default.")
    ] = None,
    policies: Annotated[
        int | None,
        typer.Option(
            min=0, help="Train a policy over scenes for the first so many prompts, 16 by default; 0 for none."
        ),
    ] = None,
    references: Annotated[
        int, typer.Option(min=1, help="How many of its prompt's pictures each scene is compared with.")
    ] = 2,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longer completions are cut, and malformed.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of the pictures, the sampling and the bootstrap.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Prints what rewards are worth when they are optimised against, by the best of n pictures and by a policy.

    Of each model's own verdict, and of everyone who reads its traces: the reward, what the pictures are worth to the
    raters (gold), and the share of what could be had at the same KL.
    """
    import json
    from textwrap import fill

    from earshot.cli.progress import progress_bar
    from earshot.cli.reward_model import ModelOptions
    from earshot.errors import InputError
    from earshot.files import check_folder, write_json
    from earshot.judging.model import describe
    from earshot.lab.overoptimise.curves import Asked, ask, gains, measure, scenes_of
    from earshot.lab.overoptimise.pictures import draw
    from earshot.lab.overoptimise.policy import Training
    from earshot.lab.overoptimise.table import as_text
    from earshot.predictions.overoptimised import Overoptimised
    from earshot.remote import is_address
    from earshot.rundir import RunDir, describe_environment
    from earshot.vlm import hub

    names = names_of_models(models)
    policies = min(prompts, 16) if policies is None else policies
    if policies > prompts:
        raise InputError(f"--policies is {policies} of {prompts} prompts, expected at most as many; raise --prompts")
    if policies == 1:
        raise InputError("--policies is 1, expected 0 or at least 2: one prompt says nothing of how prompts differ")
    if policies and references > pictures:
        raise InputError(f"--references is {references} of {pictures} pictures, expected at most as many")
    if out is not None:
        check_folder(out, "the folder of a run")
    for source in models:
        if not is_address(source):
            hub.look(source)
    training = Training(seed=seed)
    drawn = draw(prompts, pictures, seed=seed)
    scenes = scenes_of(drawn[:policies], seed=seed)
    asked: dict[str, Asked] = {}
    described = {}
    for name, source in zip(names, models, strict=True):
        options = ModelOptions(source, listener=listener, max_new_tokens=max_new_tokens, device=device, dtype=dtype)
        model = options.load(batch_size=64)
        with progress_bar(name) as tell:
            asked[name] = ask(model, drawn, scenes, against=against, references=references, seed=seed, tell=tell)
        lost, made = asked[name].lost
        described[name] = {**describe(model), "comparisons": made, "comparisons_without_answer": lost}
    measured = measure(drawn, scenes, asked, training=training, resamples=resamples, seed=seed)
    settings = {"prompts": prompts, "pictures": pictures, "against": against, "policies": policies}
    settings |= {"references": references, "seed": seed, "resamples": resamples}
    found = Overoptimised(
        {**settings, "training": training._asdict()},
        described,
        [one.curve for one in measured],
        gains(measured, resamples=resamples, seed=seed),
        describe_environment(),
    )
    record = found.as_record()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(RunDir(out).overoptimise, record)
    if as_json:
        typer.echo(json.dumps(record, indent=2))
        return
    typer.echo(f"{as_text(found.curves, found.gains)}\n")
    scenes_told = f"; policies for {policies} of them, each scene compared with {references}" if policies else ""
    legend = (
        f"{prompts} prompts of {pictures} pictures{scenes_told}; reward: probability of being preferred; gold: what it "
        "is worth to the raters, highest at ←; captured: of what could be had at the same KL (nats); β: what a nat "
        "costs, in standard deviations of the reward; 95\u00a0% intervals, prompts resampled"
    )
    typer.echo(fill(legend, 80))
    for name, told in described.items():
        typer.echo(
            f"{name}: {told['comparisons_without_answer']:,} of {told['comparisons']:,} comparisons came to nothing"
        )
    if out is not None:
        typer.echo(f"{RunDir(out).overoptimise}: all of it, for 'earshot report {out}'")


def names_of_models(models: Sequence[str]) -> list[str]:
    """What to call each model: a folder by its name, a run's `model` by the run's, anything else as it was given.

    Raises:
        InputError: One is given twice.
    """
    from earshot.errors import InputError
    from earshot.rundir import names_of_runs

    folders = {}
    for model in models:
        path = Path(model).expanduser().resolve()
        if path.is_dir():
            folders[model] = path.parent if path.name == "model" else path
    named = dict(zip(folders, names_of_runs([*folders.values()]), strict=True))
    names = [named.get(model, model) for model in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{twice}: is given twice, expected each model once")
    return names
