"""`earshot quickstart`: the main job on the synthetic world, offline, from pair sets to the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


ARMS = {"sft": "SFT only", "naive": "GRPO", "listener": "GRPO + listener"}
SETS = {
    "test": "in distribution",
    "ood_combinations": "new combinations",
    "ood_style": "another style",
    "ood_raters": "other raters",
}
HELD_OUT = "held-out"
_QUANTITIES = {
    "accuracy": "accuracy, %",
    f"disagreement.{HELD_OUT}": "disagreement with the held-out listener, %",
    "false_claims": "false claims per trace",
}
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

    from earshot.config import GrpoConfig, load_config
    from earshot.errors import InputError

    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: holds files already; remove it, or choose another folder with --out")
    console = Console()
    began = time.monotonic()
    disable_progress_bar()  # of loading: these models are there at once
    recipe = quickstart_recipe()
    overrides = [f"seed={seed}", f"data.train={out / 'data' / 'train'}"]
    if steps is not None:
        overrides.append(f"trl.max_steps={steps}")
    listening = load_config(GrpoConfig, recipe, [*overrides, f"out={out / 'listener'}"])
    naive = load_config(GrpoConfig, recipe, [*overrides, f"out={out / 'naive'}", "rewards.listener=0"])
    with _stage(console, "1/4  the world: pair sets with known truth"):
        _make_sets(out / "data", listening, test_pairs, ood_pairs, seed)
    with _stage(console, f"2/4  GRPO without the listener's reward, {naive.trl['max_steps']} steps"):
        _train(naive, console)
    with _stage(console, f"3/4  the same with it, {listening.trl['max_steps']} steps"):
        _train(listening, console)
    with _stage(console, "4/4  judging the test sets with the warm reasoner and both trained ones"):
        _keep_warm_model(listening.model.path, out / "sft")
        results = _evaluate_arms(out, listening, seed)
    summary = _summarise(out, results, seconds=time.monotonic() - began)
    _show(console, out, summary)


def quickstart_recipe() -> Path:
    """The configuration of the listener arm; the other arm differs in one weight."""
    import earshot

    return Path(earshot.__file__).parent / "configs" / "quickstart.yaml"


@contextmanager
def _stage(console: Console, title: str) -> Iterator[None]:
    console.rule(title, align="left")
    began = time.monotonic()
    yield
    console.print(f"done in {time.monotonic() - began:.0f} s")


def _make_sets(folder: Path, config: Any, test_pairs: int, ood_pairs: int, seed: int) -> None:
    from earshot.cli.progress import progress
    from earshot.world.make import Recipe, make_set

    trl = config.trl
    needed = trl["max_steps"] * trl["per_device_train_batch_size"] // trl["num_generations"]
    sizes = {"train": needed, "test": test_pairs}
    sizes |= {name: ood_pairs for name in SETS if name != "test"}
    with progress() as bars:
        for name, n_pairs in sizes.items():
            bar = bars.add_task(name, total=n_pairs)
            make_set(folder / name, Recipe(name, seed), n_pairs, on_pair=_advancing(bars, bar))


def _advancing(bars: Any, bar: Any) -> Any:
    return lambda done: bars.update(bar, completed=done)


def _train(config: Any, console: Console) -> None:
    from earshot.train.grpo import train_grpo

    train_grpo(config, console=console)


def _keep_warm_model(path: str, run: Path) -> None:
    """The SFT-only arm: the warm reasoner as it is, in a run directory like the others'."""
    from earshot.rundir import RunDir, describe_environment
    from earshot.vlm import load

    kept = RunDir.create(run)
    vlm = load(path, dtype="float32")
    kept.write_config({"model": {"path": path}, "training": "none: the warm reasoner, as SFT left it"})
    kept.write_environment(describe_environment(models={"reasoner": {"name": path, "sha256": vlm.fingerprint()}}))
    vlm.save(kept.model)


def _evaluate_arms(out: Path, config: Any, seed: int) -> dict[str, dict[str, dict[str, Any]]]:
    """metrics.json of every arm on every set; the files lie under `ARM/eval/SET/`."""
    from earshot.cli.evaluate import claim_counter, evaluation_settings, progress_bar
    from earshot.evaluate import evaluate
    from earshot.judging.model import RewardModel, describe
    from earshot.judging.parts import Local
    from earshot.listener.local import LocalListener
    from earshot.reasoner import Reasoner
    from earshot.rundir import RunDir
    from earshot.vlm import load

    sources = {"training": config.listener.paths[0], HELD_OUT: "world:held-out"}
    readers = {name: load(path, dtype="float32").freeze() for name, path in sources.items()}
    listeners = {name: LocalListener(vlm, name=name, batch_size=64) for name, vlm in readers.items()}
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for arm, title in ARMS.items():
        vlm = load(out / arm / "model", dtype="float32").freeze()
        model = RewardModel(
            Reasoner(vlm, max_new_tokens=config.trl["max_completion_length"], batch_size=64), listeners, lenient=True
        )
        described = describe(model)
        for name in SETS:
            data, run = out / "data" / name, RunDir.create(out / arm / "eval" / name)
            with progress_bar(f"{title}, {SETS[name]}") as tell:
                metrics = evaluate(
                    data,
                    run,
                    Local(model),
                    listeners=list(listeners),
                    seed=seed,
                    batch=50,
                    count_claims=claim_counter(data),
                    settings=evaluation_settings(
                        described, run.path, data, {"model": str(out / arm / "model"), **sources}
                    ),
                    progress=tell,
                )
            assert metrics is not None  # one shard is all
            results.setdefault(arm, {})[name] = metrics
    return results


def _summarise(out: Path, results: Mapping[str, Mapping[str, Mapping[str, Any]]], *, seconds: float) -> dict[str, Any]:
    """Writes summary.json and report.html, and returns the summary."""
    from earshot.report import write_report
    from earshot.rundir import write_json

    table = {
        arm: {name: {key: metrics.get(key) for key in _QUANTITIES} for name, metrics in sets.items()}
        for arm, sets in results.items()
    }
    differences = {
        "listener - sft": _difference(out, "listener", "sft"),
        "naive - sft": _difference(out, "naive", "sft"),
        "listener - naive": _difference(out, "listener", "naive"),
    }
    summary = {"table": table, "accuracy_differences_in_distribution": differences, "seconds": round(seconds, 1)}
    write_json(out / "summary.json", summary)
    write_report([out / arm for arm in ARMS], out / "report.html")
    return summary


def _difference(out: Path, a: str, b: str) -> dict[str, Any]:
    """Accuracy of arm `a` minus that of `b` on the same in-distribution pairs."""
    from earshot.predictions.run import Evaluation
    from earshot.report.comparing import Judged, differences

    judged = [Judged(arm, Evaluation(arm, out / arm / "eval" / "test", {}, {}).table()) for arm in (b, a)]
    return differences(judged)[0].estimates["accuracy"].as_record()


def _show(console: Console, out: Path, summary: Mapping[str, Any]) -> None:
    from rich.table import Table

    from earshot.types import Estimate

    title = "the same warm reasoner, the same pairs, the same number of steps"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("", width=23)
    for arm in ARMS.values():
        table.add_column(arm, no_wrap=True)
    for key, words in _QUANTITIES.items():
        table.add_row(f"[bold]{words}[/bold]")
        for name, where in SETS.items():
            estimates = [Estimate.from_record(summary["table"][arm][name][key]) for arm in ARMS]
            cells = [e.text(percent=True) if key != "false_claims" else e.text(digits=2) for e in estimates]
            table.add_row(f"  {where}", *cells)
    console.print(table)
    for name, value in summary["accuracy_differences_in_distribution"].items():
        console.print(
            f"accuracy in distribution, {name}: {Estimate.from_record(value).text(percent=True)} (points, paired)"
        )
    _show_examples(console, out)
    console.print(LIMITS_OF_IT, markup=False)
    console.print(f"{out / 'report.html'}: the report; {out / 'summary.json'}: these numbers", markup=False)
    console.print(f"{summary['seconds']:.0f} s in all")


def _show_examples(console: Console, out: Path, n: int = 3) -> None:
    """The first pairs that the warm reasoner got wrong and the listener arm got right, with both traces."""
    from rich.panel import Panel
    from rich.text import Text

    from earshot.data.pairset import read_pairs
    from earshot.predictions.run import Evaluation

    prompts = {pair.id: pair.prompt for pair in read_pairs(out / "data" / "test")}
    before, after = (Evaluation(arm, out / arm / "eval" / "test", {}, {}).rows() for arm in ("sft", "listener"))
    shown = 0
    for old, new in zip(before, after, strict=True):
        if not _corrected(old, new) or shown == n:
            continue
        shown += 1
        votes = f"votes {new['votes_first']:g} : {new['votes_second']:g}"
        lines = [f"before: {_sample_text(old)}", f"after:  {_sample_text(new)}"]
        console.print(Panel(Text("\n".join(lines)), title=f"{prompts[old['id']]}   ({votes})", title_align="left"))
    if shown == 0:
        console.print("no pair was wrong before and right after")


def _corrected(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    label = "first" if new["votes_first"] > new["votes_second"] else "second"
    return old["samples"][0]["side"] not in (label, None) and new["samples"][0]["side"] == label


def _sample_text(row: Mapping[str, Any]) -> str:
    sample = row["samples"][0]
    heard = ", ".join(f"{name} {p:.2f}" for name, p in (sample.get("listener") or {}).items())
    return f"{sample['trace']}  ->  {sample['side']}   (listeners' p of first: {heard})"
