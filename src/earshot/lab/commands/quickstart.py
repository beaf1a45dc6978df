"""`earshot quickstart`: the main job on the synthetic world, offline, from pair sets to the report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from earshot.lab.experiment.config import ExperimentConfig
    from earshot.types import Estimate

SETS = {
    "test": "in distribution",
    "ood_combinations": "new combinations",
    "ood_style": "another style",
    "ood_raters": "other raters",
}
QUANTITIES = ("accuracy", "disagreement.held-out", "false_claims")
PAIRS_A_STEP = 24
LIMITS_OF_IT = (
    "One seed, models of about a million parameters, shapes in place of photographs: so small a run cannot tell "
    "whether a listener helps in general, and another seed may order the two arms differently."
)


def quickstart_command(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("runs/quickstart"),
    steps: Annotated[int | None, typer.Option(min=1, help="GRPO steps of each arm; the config's by default.")] = None,
    test_pairs: Annotated[int, typer.Option(min=3, help="Pairs of the in-distribution test set.")] = 600,
    ood_pairs: Annotated[int, typer.Option(min=3, help="Pairs of each out-of-distribution set.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the world, the training and the sampling.")] = 0,
) -> None:
    """Trains a small reasoner with GRPO, without and with a listener, and shows what the listener changed."""
    from earshot.cli.progress import quiet_loading
    from earshot.cli.reward_model import told_once
    from earshot.errors import EarshotError, InputError
    from earshot.lab.experiment.plan import expand
    from earshot.lab.experiment.running import Experiment
    from earshot.report import write_report

    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: holds files already; remove it, or choose another folder with --out")
    began = time.monotonic()
    quiet_loading()
    options = {"seeds": seed, "world.seed": seed, "world.test_pairs": test_pairs, "world.ood_pairs": ood_pairs}
    if steps is not None:
        options |= {"base.grpo.trl.max_steps": steps, "world.pairs": PAIRS_A_STEP * steps}
    plan = quickstart_plan(out, *(f"{key}={value}" for key, value in options.items()))
    runs = expand(plan)
    experiment = Experiment(plan, say=typer.echo, here=_carry_out)
    typer.echo("1/4  the world: pair sets with known truth")
    experiment.carry_out([])
    with told_once():
        for number, run in enumerate(runs, 2):
            typer.echo(f"{number}/4  {plan.arms[run.arm].title}")
            if run.config is None:
                _keep_warm_model(run.model, run.trained)
            if problems := experiment.carry_out([run]):
                raise EarshotError(problems[0])
    write_report([out / arm for arm in plan.arms], out / "report.html")
    _show(plan)
    typer.echo(f"{out / 'report.html'}: the report")
    typer.echo(f"{time.monotonic() - began:.0f} s in all")


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


def _show(plan: ExperimentConfig) -> None:
    """What the arms' metrics.json say of every set, the paired differences, and a few pairs."""
    from earshot.cli.table import table
    from earshot.lab.experiment.endpoints import endpoint
    from earshot.metrics import read_estimate
    from earshot.predictions.run import Run
    from earshot.report.comparing import differences
    from earshot.world.ceilings import STUDENT, set_ceilings

    out = Path(plan.out)
    judged = {arm: {one.set_name: one for one in Run(arm, out / arm).evaluations} for arm in plan.arms}
    typer.echo("\nthe same warm reasoner, the same pairs, the same number of steps; 95 % intervals\n")
    rows = []
    for key in QUANTITIES:
        read = endpoint(key)
        rows.append([f"{read.label}{', %' if read.percent else ''}"])
        for name, where in SETS.items():
            estimates = [read_estimate(sets[name].metrics, key) for sets in judged.values()]
            digits = 1 if read.percent else 2
            rows.append([f"  {where}", *(one.text(percent=read.percent, digits=digits) for one in estimates)])
    typer.echo(table(("", *(spec.title or arm for arm, spec in plan.arms.items())), rows) + "\n")
    most = ", ".join(f"{where} {100 * set_ceilings(name)[STUDENT]:.1f}" for name, where in SETS.items())
    typer.echo(f"a perfect student of the training raters gets {most}; above that is no benefit\n")
    for one in differences({arm: sets["test"].table() for arm, sets in judged.items()}):
        found = one.estimates["accuracy"]
        text = found.text(percent=True, signed=True)
        typer.echo(f"accuracy in distribution, {one.run} - {one.against}: {text} points, paired; {_reading(found)}")
    _show_examples(out)
    typer.echo(LIMITS_OF_IT)


def _reading(difference: Estimate) -> str:
    """What a difference's interval allows to be said of it."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return "no interval, so that nothing can be said of it"
    if low <= 0 <= high:
        return "0 is in the interval, so that this run shows no difference"
    return f"0 is not in the interval: {'more' if low > 0 else 'less'} accurate on these pairs"


def _show_examples(out: Path, n: int = 3) -> None:
    """The first pairs that the warm reasoner got wrong and the listener arm got right, with both traces."""
    from earshot.predictions.run import Evaluation

    before, after = (Evaluation(arm, out / arm / "eval" / "test").rows() for arm in ("sft", "listener"))
    corrected = [(old, new) for old, new in zip(before, after, strict=True) if _corrected(old, new)]
    for old, new in corrected[:n]:
        votes = f"votes {new['votes_first']:g} : {new['votes_second']:g}"
        lines = [f"before: {_sample_text(old)}", f"after:  {_sample_text(new)}"]
        typer.echo("\n  ".join([f"{new['prompt_id']}   ({votes})", *lines]))
    if not corrected:
        typer.echo("no pair was wrong before and right after")


def _corrected(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    from earshot.predictions.facts import side_of_people

    people, (before, after) = side_of_people(new), (row["samples"][0]["side"] for row in (old, new))
    return people is not None and before not in (people, None) and after == people


def _sample_text(row: Mapping[str, Any]) -> str:
    sample = row["samples"][0]
    heard = ", ".join(f"{name} {p:.2f}" for name, p in (sample.get("listener") or {}).items())
    return f"{sample['trace']}  ->  {sample['side']}   (listeners' p of first: {heard})"
