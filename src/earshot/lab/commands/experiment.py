"""`earshot lab experiment`: arms × seeds of a plan, their summary, tables and figures, power and positive control."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from earshot.cli.lazy import Group

if TYPE_CHECKING:
    from earshot.lab.experiment.control import Design, Rates
    from earshot.lab.experiment.power import Components
    from earshot.lab.experiment.running import StepState
    from earshot.lab.experiment.summary import Summary

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Arms × seeds of a plan, what they show, and how many it takes."
)

Source = Annotated[Path, typer.Argument(help="An experiment's folder, or the folder of a summary.")]


@app.command("run")
def run(
    plan: Annotated[Path, typer.Argument(help="A YAML plan, or the name of one of ours, such as experiments/smoke.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value or key.sub=value; win over the file.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once; threads are divided among them.")] = 1,
    arms: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    seeds: Annotated[str, typer.Option(help="Only these, such as 0-4 or 0,2.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is done, missing or stale; make nothing.")
    ] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Make stale runs again; what they had made is removed.")] = False,
    recorded: Annotated[Path | None, typer.Option(help="A summary: runs that stand in it are not made again.")] = None,
) -> None:
    """Makes every run of a plan that is missing, and continues those that were cut off."""
    from earshot.config import load_config
    from earshot.errors import EarshotError, InputError
    from earshot.lab.experiment.config import ExperimentConfig, seed_numbers
    from earshot.lab.experiment.plan import expand
    from earshot.lab.experiment.registration import register
    from earshot.lab.experiment.running import Experiment

    loaded = load_config(ExperimentConfig, plan, overrides or [])
    try:
        numbers = seed_numbers(seeds) if seeds else ()
    except ValueError as error:
        raise InputError(f"--seeds: {error}") from error
    runs = expand(loaded, [name.strip() for name in arms.split(",") if name.strip()], numbers)
    if recorded is not None:
        from earshot.lab.experiment.plan import recipe
        from earshot.lab.experiment.summary import read_summary, recorded_runs

        known = recorded_runs(read_summary(recorded))
        missing = [run for run in runs if known.get(run.key) != recipe(loaded, run)]
        typer.echo(f"{recorded}: {len(runs) - len(missing)} of {len(runs)} runs are recorded there")
        runs = missing
    experiment = Experiment(loaded, jobs=jobs, redo=redo, say=typer.echo)
    if dry_run:
        _print_states(list(experiment.states(runs)))
        return
    register(loaded, plan)
    problems = experiment.carry_out(runs)
    for problem in problems:
        typer.echo(f"failed: {problem}", err=True)
    if problems:
        raise EarshotError(
            f"{loaded.out}: {len(problems)} steps failed; the rest is done, and the same command tries again"
        )
    typer.echo(
        f"{loaded.out}: {len(runs)} runs are done; 'earshot lab experiment report {loaded.out}' shows what they say"
    )


def _print_states(states: list[StepState]) -> None:
    from collections import Counter

    for state in states:
        changed = f" ({'; '.join(state.changed)})" if state.changed else ""
        typer.echo(f"{state.run}, {state.step}: {state.state}{changed}")
    counts = Counter(state.state for state in states)
    typer.echo("nothing was made; " + ", ".join(f"{count} {state}" for state, count in counts.items()))


@app.command("summarise")
def summarise(
    folder: Annotated[Path, typer.Argument(help="An experiment's folder.")],
    recorded: Annotated[
        list[Path] | None, typer.Argument(help="Summaries of other runs of the same plan, made elsewhere or before.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the two files go; by default into the folder itself.")] = None,
) -> None:
    """Writes totals per prompt of every run, small enough to commit, from which all tables and figures are made."""
    from earshot.lab.experiment.summary import ABOUT, TABLE, merge, read_summary, write_summary
    from earshot.lab.experiment.summary import summarise as read_runs

    summary = merge([read_runs(folder), *(read_summary(other) for other in recorded or ())])
    out = out or folder
    write_summary(summary, out)
    size = (out / TABLE).stat().st_size / 1024
    typer.echo(f"{out}: {TABLE} ({size:.0f} KiB), {ABOUT}: {len(summary.totals)} evaluations{_missing(summary)}")


def _missing(summary: Summary) -> str:
    missing = summary.about["missing"]
    return f", {len(missing)} missing (the first: {missing[0]})" if missing else ""


@app.command("report")
def report(
    source: Source,
    out: Annotated[Path | None, typer.Option(help="Where it goes; by default into the same folder.")] = None,
    name: Annotated[str, typer.Option(help="The page's title; by default the folder's name.")] = "",
) -> None:
    """Writes the tables (Markdown) and the two figures (SVG) of an experiment or of its recorded summary."""
    from earshot.lab.experiment.report import write_results
    from earshot.lab.experiment.summary import load_summary

    summary = load_summary(source)
    written = write_results(summary, out or source, name=name or (out or source).resolve().name)
    typer.echo("\n".join(str(path) for path in written))
    if note := _missing(summary):
        typer.echo(note.removeprefix(", "), err=True)


@app.command("power")
def power(
    pilot: Source,
    difference: Annotated[float, typer.Option(min=1e-9, help="That is to be shown, in the endpoint's unit.")] = 0.03,
    target: Annotated[float, typer.Option("--power", min=0.01, max=0.999, help="Chance of showing it.")] = 0.8,
    comparisons: Annotated[
        int | None, typer.Option(min=1, help="Size of the family; by default the largest of the pilot's plan.")
    ] = None,
    endpoint: Annotated[str, typer.Option(help="Such as accuracy or disagreement.held-out.")] = "accuracy",
    most_pairs: Annotated[int, typer.Option(min=2, help="No set is made larger.")] = 8000,
) -> None:
    """The seeds × pairs that show a difference, from a pilot's spread between seeds and between prompts."""
    from earshot.errors import InputError
    from earshot.lab.experiment.power_page import power_text
    from earshot.lab.experiment.summary import load_summary

    summary = load_summary(pilot)
    if endpoint not in summary.endpoints:
        raise InputError(f"--endpoint {endpoint}: not in this pilot, expected one of {', '.join(summary.endpoints)}")
    text = power_text(
        summary,
        difference=difference,
        power=target,
        comparisons=comparisons,
        endpoint=endpoint,
        most_pairs=most_pairs,
    )
    typer.echo(text)


@app.command("control")
def control(
    pilot: Annotated[Path | None, typer.Option(help="Take the variances of this pilot's set.")] = None,
    set_name: Annotated[str, typer.Option("--set", help="Of the pilot.")] = "test",
    difference: Annotated[float, typer.Option(min=1e-9, max=1.0, help="That is planted in half of the arms.")] = 0.03,
    seeds: Annotated[int, typer.Option(min=2, help="Of every arm.")] = 5,
    prompts: Annotated[
        int | None, typer.Option(min=2, help="By default as many as 'power' asks for at 80 % with these seeds.")
    ] = None,
    arms: Annotated[int, typer.Option(min=2, help="Beside the reference; their number is that of comparisons.")] = 8,
    simulations: Annotated[int, typer.Option(min=1, help="Of the whole experiment.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Plants a difference in some arms and none in others, and counts how often the analysis shows it."""
    import json

    from earshot.errors import EarshotError, InputError
    from earshot.lab.experiment.control import DEFAULT, Design, simulate
    from earshot.lab.experiment.power import prompts_needed
    from earshot.stats import simultaneous_level

    components = DEFAULT if pilot is None else _from_pilot(pilot, set_name)
    if prompts is None:
        prompts = prompts_needed(components, difference, seeds, power=0.8, level=simultaneous_level(arms))
        if prompts is None:
            raise InputError(f"no number of prompts shows {difference:g} at 80 % with {seeds} seeds; take more --seeds")
    design = Design(seeds, prompts, arms, difference, components)
    rates = simulate(design, simulations, seed=seed)
    if as_json:
        told = {**design._asdict(), "components": design.components._asdict()}
        typer.echo(json.dumps({"design": told, "rates": rates._asdict(), "passed": rates.passed}))
    else:
        _print_rates(rates, design)
    if rates.failures():
        raise EarshotError("control: " + "; ".join(rates.failures()))


def _from_pilot(pilot: Path, set_name: str) -> Components:
    from earshot.errors import InputError
    from earshot.lab.experiment.power import pilot_components
    from earshot.lab.experiment.summary import load_summary

    summary = load_summary(pilot)
    if set_name not in summary.sets:
        raise InputError(f"--set {set_name}: not in this pilot, expected one of {', '.join(summary.sets)}")
    return pilot_components(summary, set_name, "accuracy")


def _print_rates(rates: Rates, design: Design) -> None:
    parts = design.components
    typer.echo(
        f"{rates.simulations} simulated experiments: a reference and {design.arms} arms × {design.seeds} seeds × "
        f"{design.prompts} prompts; {design.arms // 2} arms {design.difference:+.3f}, the others 0; "
        f"sd of a difference: seeds {parts.seeds**0.5:.4f}, prompts {parts.prompts**0.5:.3f}, "
        f"chance {parts.chance**0.5:.3f}"
    )
    for words, rate, stated in (
        ("planted difference shown, corrected", rates.detected, f"at least {rates.expected:.1%} (one step of Holm's)"),
        ("any planted zero shown, corrected", rates.family_error, "at most 5 %"),
        ("95 % intervals that hold the truth", rates.coverage, "95 %"),
        ("all simultaneous intervals hold", rates.family_coverage, "at least 95 %"),
    ):
        typer.echo(f"  {words:<42} {rate:6.1%}   stated {stated}")
    typer.echo("passed" if rates.passed else "NOT passed")
