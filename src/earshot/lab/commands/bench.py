"""`earshot lab bench`: how fast steps, listener and judging are."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(no_args_is_help=True, help="Measure Earshot against stock in paired runs.")

Pixels = Annotated[int, typer.Option(help="Side of each of a pair's two images; 0 for prompts without images.")]
PromptTokens = Annotated[int, typer.Option(help="Tokens of the prompt beside those of its images.")]
NewTokens = Annotated[int, typer.Option(help="Tokens of each completion, or of each trace that is read.")]
Group = Annotated[int, typer.Option(help="Completions of one pair.")]
Groups = Annotated[int, typer.Option(help="Pairs at a time.")]
Hidden = Annotated[int, typer.Option(help="Width of the language model.")]
Layers = Annotated[int, typer.Option(help="Layers of the language model.")]
VisionHidden = Annotated[int, typer.Option(help="Width of the vision tower.")]
VisionLayers = Annotated[int, typer.Option(help="Layers of the vision tower.")]
Family = Annotated[str, typer.Option(help="qwen2_5_vl or llava.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or auto.")]
Dtype = Annotated[str, typer.Option(help="float32 or bfloat16.")]
Runs = Annotated[int, typer.Option(min=1, help="Pairs of runs, after one that does not count.")]
ClockKind = Annotated[str, typer.Option(help="wall, or cpu: this process's processor time, for busy machines.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]

_EXTRA_RUNS = {"step": 6, "listener": 4, "judge": 4}  # to warm up, to count the work, to measure memory


def _command(name: str, summary: str) -> None:
    def command(
        pixels: Pixels = 504,
        prompt_tokens: PromptTokens = 77,
        new_tokens: NewTokens = 128,
        group: Group = 8,
        groups: Groups = 2,
        hidden: Hidden = 256,
        layers: Layers = 6,
        vision_hidden: VisionHidden = 192,
        vision_layers: VisionLayers = 4,
        family: Family = "qwen2_5_vl",
        device: Device = "cpu",
        dtype: Dtype = "float32",
        runs: Runs = 5,
        clock: ClockKind = "wall",
        as_json: Json = False,
    ) -> None:
        sizes: dict[str, Any] = {
            "pixels": pixels, "prompt_tokens": prompt_tokens, "new_tokens": new_tokens, "group": group,
            "groups": groups, "hidden": hidden, "layers": layers, "vision_hidden": vision_hidden,
            "vision_layers": vision_layers, "family": family, "device": device, "dtype": dtype,
        }  # fmt: skip
        _run(name, sizes, runs, clock, as_json=as_json)

    command.__doc__ = summary
    app.command(name)(command)


_command("step", "A whole GRPO step with a listener, against TRL's trainer with a plain listener as its reward.")
_command("listener", "The listener on the traces of each pair, against a batch in which each has its own images.")
_command("judge", "Completions of each pair in both orders, against plain 'generate'.")


def _run(name: str, sizes: dict[str, Any], runs: int, clock: str, *, as_json: bool) -> None:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's profiler tells of memory that it saw only half of
    from transformers.utils import logging

    from earshot.cli.progress import progress
    from earshot.lab.bench import measure
    from earshot.lab.bench.shape import Shape

    logging.disable_progress_bar()
    measures: dict[str, Callable[..., Any]] = {
        "step": measure.measure_step,
        "listener": measure.measure_listener,
        "judge": measure.measure_judge,
    }
    shape = Shape(**sizes)
    with progress() as bar:
        task = bar.add_task(f"bench {name}", total=2 * runs + _EXTRA_RUNS[name])
        result = measures[name](shape, runs, lambda: bar.advance(task), clock)
    if as_json:
        print(json.dumps(result))
    else:
        _print_table(name, result)


def _print_table(name: str, result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(file=sys.stdout, highlight=False, markup=False)
    console.print(f"bench {name}: " + ", ".join(f"{key} {value}" for key, value in result["shape"].items()))
    table = Table("", "stock / ours", "from", "to", "ours", "stock", "work allows", box=None, padding=(0, 2, 0, 0))
    for part in ("step", "generate", "listener", "train_pass", "peak_memory"):
        if (ratio := result[part]) is None:
            continue
        ideal = result["ideal_ratio"] if part == "step" else result["work"].get(part, {}).get("ideal_ratio")
        times = [_size(ratio[side], memory=part == "peak_memory") for side in ("ours", "stock")]
        spread = [f"{ratio[key]:.2f}" for key in ("ratio", "low", "high")]
        table.add_row(part, *spread, *times, "" if ideal is None else f"{ideal:.2f}")
    console.print(table)
    for part, work in result["work"].items():
        counts = ", ".join(
            f"{side} {work[side]['images']} images and {work[side]['language_tokens']} tokens"
            for side in ("ours", "stock")
        )
        console.print(f"work of {part}: {counts}")


def _size(value: float, *, memory: bool) -> str:
    return f"{value / 2**20:.1f} MiB" if memory else f"{value:.3f} s"
