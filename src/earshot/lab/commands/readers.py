"""`earshot lab readers`: whether judges' verdicts are what their texts imply, by readers who see nothing else."""

from pathlib import Path
from typing import Annotated

import typer


def readers_command(
    answers: Annotated[
        list[Path],
        typer.Argument(
            metavar="ANSWERS",
            help="Judges' texts with people's votes, or runs with their traces; one file a judge, all on one set.",
        ),
    ],
    prompts: Annotated[
        str, typer.Option(help="The prompt set whose language the texts are written in; the world's is brief.")
    ] = "standard",
    folds: Annotated[
        int, typer.Option(min=2, help="Of the prompts; a text is read by who was taught by the others.")
    ] = 5,
    permutations: Annotated[int, typer.Option(min=1, help="Readers that are taught votes dealt anew.")] = 20,
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of folds, permutations and resamples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of the tables.")] = False,
) -> None:
    """How right judges are where a reader of their text alone names the same side, and where it names the other."""
    import json

    from earshot.benchmarks.explanations import read_explanations
    from earshot.benchmarks.forms import answers_file
    from earshot.cli.progress import progress_bar
    from earshot.errors import InputError
    from earshot.lab.readers.measure import measure_reader
    from earshot.lab.readers.table import as_text
    from earshot.protocol import prompt_set

    if repeated := next((path for path in answers if answers.count(path) > 1), None):
        raise InputError(f"{repeated}: is given twice, expected a file a judge; leave one out")
    split = prompt_set(prompts).language.split
    told = {str(path): read_explanations(answers_file(path)) for path in answers}
    found = {}
    with progress_bar("reading") as tell:
        for done, (name, own) in enumerate(told.items(), start=1):
            others = [one.judged for other, one in told.items() if other != name]
            found[name] = measure_reader(
                own, others, split=split, folds=folds, permutations=permutations, resamples=resamples, seed=seed
            )
            tell(done, len(told))
    if not as_json:
        typer.echo(as_text(found, permutations=permutations))
        return
    settings = {"prompts": prompts, "folds": folds, "permutations": permutations, "resamples": resamples, "seed": seed}
    files = {name: measured.record() for name, measured in found.items()}
    typer.echo(json.dumps({"settings": settings, "files": files}, indent=2))
