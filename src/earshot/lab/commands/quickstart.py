"""`earshot quickstart`: the main job on the synthetic world, offline, from pair sets to the report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from earshot.lab.experiment.config import ExperimentConfig

SETS = {
    "test": "in distribution",
    "ood_combinations": "new combinations",
    "ood_style": "another style",
    "ood_raters": "other raters",
}
QUANTITIES = ("accuracy", "disagreement.held-out", "false_claims")
PAIRS_A_STEP = 24
LIMITS_OF_IT = (
    "What a run this small can show: that the pieces work together, that GRPO teaches this reasoner something that "
    "holds on pairs it never saw, and in which direction the listener moves agreement and truthfulness here. What it "
    "cannot: whether the listener helps in general. One seed, models of about a million parameters, shapes instead of "
    "photographs; differences inside the intervals are noise, and another seed may order the two arms differently."
)


def quickstart_command(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("runs/quickstart"),
    steps: Annotated[int | None, typer.Option(min=1, help="GRPO steps of each arm; the config's by default.")] = None,
    test_pairs: Annotated[int, typer.Option(min=3, help="Pairs of the in-distribution test set.")] = 600,
    ood_pairs: Annotated[int, typer.Option(min=3, help="Pairs of each out-of-distribution set.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the world, the training and the sampling.")] = 0,
) -> None:
    """Trains a small reasoner with GRPO, without and with a listener, and shows what the listener changed."""
    from rich.console import Console
    from transformers.utils.logging import disable_progress_bar

    from earshot.errors import EarshotError, InputError
    from earshot.lab.experiment.plan import expand
    from earshot.lab.experiment.running import Experiment
    from earshot.report import write_report

    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: holds files already; remove it, or choose another folder with --out")
    console = Console()
    began = time.monotonic()
    disable_progress_bar()  # of loading: these models are there at once
    options = {"seeds": seed, "world.seed": seed, "world.test_pairs": test_pairs, "world.ood_pairs": ood_pairs}
    if steps is not None:
        options |= {"base.grpo.trl.max_steps": steps, "world.pairs": PAIRS_A_STEP * steps}
    plan = quickstart_plan(out, *(f"{key}={value}" for key, value in options.items()))
    runs = expand(plan)
    experiment = Experiment(plan, say=typer.echo, here=_carry_out)
    console.rule("1/4  the world: pair sets with known truth", align="left")
    experiment.carry_out([])
    for number, run in enumerate(runs, 2):
        console.rule(f"{number}/4  {plan.arms[run.arm].title}", align="left")
        if run.config is None:
            _keep_warm_model(run.model, run.trained)
        if problems := experiment.carry_out([run]):
            raise EarshotError(problems[0])
    write_report([out / arm for arm in plan.arms], out / "report.html")
    _show(console, plan)
    console.print(f"{out / 'report.html'}: the report", markup=False)
    console.print(f"{time.monotonic() - began:.0f} s in all")


def quickstart_plan(out: Path, *overrides: str) -> ExperimentConfig:
    """Three arms and one seed; the two that are trained differ in one weight."""
    import earshot
    from earshot.config import load_config
    from earshot.lab.experiment.config import ExperimentConfig

    plan = load_config(ExperimentConfig, Path(earshot.__file__).parent / "configs" / "quickstart.yaml", overrides)
    return plan.model_copy(update={"out": out.as_posix()})


def _carry_out(words: Sequence[str]) -> None:
    """One of our commands, in this process; an evaluation's own table would stand between ours and its bars."""
    import contextlib
    import io

    from earshot.cli.main import app

    quiet = contextlib.redirect_stdout(io.StringIO()) if words[0] == "eval" else contextlib.nullcontext()
    command = typer.main.get_command(app)
    with quiet, command.make_context("earshot", list(words)) as context:
        command.invoke(context)


def _keep_warm_model(path: str, run: Path) -> None:
    """The SFT-only arm: the warm reasoner as it is, in a run directory like the others'."""
    from earshot.files import write_json
    from earshot.rundir import RunDir, describe_environment
    from earshot.vlm import load

    kept = RunDir.create(run)
    vlm = load(path, dtype="float32")
    kept.write_config({"model": {"path": path}, "training": "none: the warm reasoner, as SFT left it"})
    models = {"reasoner": {"name": path, "sha256": vlm.fingerprint()}}
    write_json(kept.environment, describe_environment(models=models))
    vlm.save(kept.model)


def _show(console: Console, plan: ExperimentConfig) -> None:
    """What the arms' metrics.json say of every set, the paired differences, and a few pairs."""
    from rich.table import Table

    from earshot.lab.experiment.endpoints import endpoint
    from earshot.metrics import read_estimate
    from earshot.predictions.run import Run
    from earshot.report.comparing import differences

    out = Path(plan.out)
    judged = {arm: {one.set_name: one for one in Run(arm, out / arm).evaluations} for arm in plan.arms}
    title = "the same warm reasoner, the same pairs, the same number of steps"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("", width=23)
    for arm, spec in plan.arms.items():
        table.add_column(spec.title or arm, no_wrap=True)
    for key in QUANTITIES:
        read = endpoint(key)
        table.add_row(f"[bold]{read.label}{', %' if read.percent else ''}[/bold]")
        for name, where in SETS.items():
            estimates = [read_estimate(sets[name].metrics, key) for sets in judged.values()]
            digits = 1 if read.percent else 2
            table.add_row(f"  {where}", *(one.text(percent=read.percent, digits=digits) for one in estimates))
    console.print(table)
    for one in differences({arm: sets["test"].table() for arm, sets in judged.items()}):
        text = one.estimates["accuracy"].text(percent=True)
        console.print(f"accuracy in distribution, {one.run} - {one.against}: {text} (points, paired)")
    _show_examples(console, out)
    console.print(LIMITS_OF_IT, markup=False)


def _show_examples(console: Console, out: Path, n: int = 3) -> None:
    """The first pairs that the warm reasoner got wrong and the listener arm got right, with both traces."""
    from rich.panel import Panel
    from rich.text import Text

    from earshot.predictions.run import Evaluation

    before, after = (Evaluation(arm, out / arm / "eval" / "test").rows() for arm in ("sft", "listener"))
    corrected = [(old, new) for old, new in zip(before, after, strict=True) if _corrected(old, new)]
    for old, new in corrected[:n]:
        votes = f"votes {new['votes_first']:g} : {new['votes_second']:g}"
        lines = [f"before: {_sample_text(old)}", f"after:  {_sample_text(new)}"]
        console.print(Panel(Text("\n".join(lines)), title=f"{new['prompt_id']}   ({votes})", title_align="left"))
    if not corrected:
        console.print("no pair was wrong before and right after")


def _corrected(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    from earshot.predictions.facts import side_of_people

    people, (before, after) = side_of_people(new), (row["samples"][0]["side"] for row in (old, new))
    return people is not None and before not in (people, None) and after == people


def _sample_text(row: Mapping[str, Any]) -> str:
    sample = row["samples"][0]
    heard = ", ".join(f"{name} {p:.2f}" for name, p in (sample.get("listener") or {}).items())
    return f"{sample['trace']}  ->  {sample['side']}   (listeners' p of first: {heard})"
