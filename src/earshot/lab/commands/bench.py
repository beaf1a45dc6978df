"""`earshot lab bench`: how fast steps, listener and judging are."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import Annotated, Any, Literal

import typer

from earshot.cli.lazy import Group

app = typer.Typer(cls=Group, no_args_is_help=True, help="Measure Earshot against stock in paired runs.")

Sizes = Annotated[
    list[str] | None,
    typer.Argument(
        help="key=value: pixels, prompt_tokens, new_tokens, group, groups, hidden, layers, vision_hidden, "
        "vision_layers, family, device, dtype, lora or checkpointed. 'pixels=224 new_tokens=64' by example; pixels=0 "
        "is without images."
    ),
]
Runs = Annotated[int, typer.Option(min=1, help="Pairs of runs, after one that does not count.")]
Like = Annotated[
    str | None,
    typer.Option(
        metavar="3b|7b|MODEL",
        help="Sizes of Qwen2.5-VL-3B or 7B, or of a model's folder, with random weights made on the device; LoRA in "
        "bfloat16 on a GPU. 'small=true device=cpu' rehearses it.",
    ),
]
Against = Annotated[
    Literal["stock", "vllm"],
    typer.Option(help="Whom to run by turns with; vllm in an environment that has it (docs/scale.md)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]

_WAYS = {"step": 2, "listener": 2, "judge": 2, "sample": 2, "rewards": 7}  # that run by turns
_MORE = {
    "step": 4,
    "listener": 2,
    "judge": 2,
    "sample": 0,
    "rewards": 0,
}  # runs, to count the work and to measure memory


@app.command()
def step(sizes: Sizes = None, like: Like = None, runs: Runs = 5, as_json: Json = False) -> None:
    """A whole GRPO step with a listener, against TRL's trainer with a plain listener as its reward."""
    _run("step", sizes, like, runs, as_json=as_json)


@app.command()
def listener(
    sizes: Sizes = None, like: Like = None, runs: Runs = 5, against: Against = "stock", as_json: Json = False
) -> None:
    """The listener on the traces of each pair, against a batch in which each has its own images."""
    _run("listener", sizes, like, runs, against, as_json=as_json)


@app.command()
def judge(
    sizes: Sizes = None, like: Like = None, runs: Runs = 5, against: Against = "stock", as_json: Json = False
) -> None:
    """Completions of each pair in both orders, against plain 'generate'."""
    _run("judge", sizes, like, runs, against, as_json=as_json)


@app.command()
def sample(sizes: Sizes = None, like: Like = None, runs: Runs = 5, as_json: Json = False) -> None:
    """A step's completions, several of each pair, against vLLM's."""
    _run("sample", sizes, like, runs, "vllm", as_json=as_json)


@app.command()
def rewards(sizes: Sizes = None, like: Like = None, runs: Runs = 5, as_json: Json = False) -> None:
    """A whole GRPO step with each part of the reward and with credit by claim, against the listener alone."""
    _run("rewards", sizes, like, runs, as_json=as_json)


@app.command()
def plan(
    configs: Annotated[
        list[str] | None, typer.Argument(help="Configurations or names of ours; all that ship for training by default.")
    ] = None,
    like: Like = None,
    processes: Annotated[int, typer.Option(min=1, help="Between how many FSDP shares a model that asks for it.")] = 8,
    as_json: Json = False,
) -> None:
    """What a step takes of a GPU's memory by role and phase, and which cards have that; nothing is loaded."""
    from earshot.cli.progress import quiet_loading
    from earshot.cli.table import table
    from earshot.lab.bench import plan as planning
    from earshot.train.footprint import gib

    quiet_loading()
    lines = planning.plan(configs or [], like, processes)
    if as_json:
        print(json.dumps(planning.as_dict(lines)))
        return
    for line in lines:
        cards = ", ".join(card for card, fits in line.fits.items() if fits) or "none of these cards"
        print(f"{line.config}: peak {gib(line.peak)}; fits {cards}")
        print(table(("", *line.bytes), [["", *map(gib, line.bytes.values())]]))
    print(
        f"Of {', '.join(planning.CARDS)}; {planning.ROOM:.0%} of a card must hold the peak. Prefill and cache are "
        "there while completions are sampled, gradients and what layers keep (or make again) while they are learned "
        "from. A listener or checker of 0 has the weights of the model or the other. Where a configuration asks for "
        f"FSDP, each of {processes} processes has its share."
    )


def _run(
    name: str, sizes: list[str] | None, like: str | None, runs: int, against: str = "stock", *, as_json: bool
) -> None:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's profiler tells of memory that it saw only half of
    from earshot.cli.progress import progress, quiet_loading
    from earshot.lab.bench import measure
    from earshot.lab.bench.rewards import measure_rewards
    from earshot.lab.bench.shape import shape_of
    from earshot.lab.bench.vllm import measure_against_vllm
    from earshot.vlm.model import resolve_device

    quiet_loading()
    measures = {
        **{"step": measure.measure_step, "listener": measure.measure_listener, "judge": measure.measure_judge},
        "rewards": measure_rewards,
    }
    if against == "vllm":
        measures[name] = partial(measure_against_vllm, name)
    shape = shape_of(sizes or [], like)
    resolve_device(shape.device)
    with progress() as bar:
        task = bar.add_task(f"bench {name}", total=_WAYS[name] * (runs + 1) + (0 if against == "vllm" else _MORE[name]))
        result = measures[name](shape, runs, lambda: bar.advance(task))
    if as_json:
        print(json.dumps(result))
    else:
        _print_table(name, result)


def _print_table(name: str, result: dict[str, Any]) -> None:
    from earshot.cli.table import table

    print(f"bench {name}: " + ", ".join(f"{key} {value}" for key, value in result["shape"].items()))
    if "against" in result:
        sizes = [f"{result[k]['ours']:.3g}, {result[k]['vllm']:.3g}" for k in ("tokens_per_s", "pairs_per_s")]
        heads = ("", f"vLLM {result['against']} / ours", "tokens/s: ours, vLLM", "pairs/s: ours, vLLM")
        print(table(heads, [[name, _ratio(result), *sizes]]))
        return
    if name == "rewards":
        rows = [[one["arm"], one["against"], _ratio(one), _size(one["seconds"])] for one in result["ratios"]]
        print(table(("step with", "against", "ratio", "seconds"), rows))
        return
    rows = []
    for part in ("step", "generate", "listener", "train_pass", "peak_memory"):
        if (ratio := result[part]) is None:
            continue
        ideal = result["ideal_ratio"] if part == "step" else result["work"].get(part, {}).get("ideal_ratio")
        sizes = [_size(ratio[side], memory=part == "peak_memory") for side in ("ours", "stock")]
        rows.append([part, _ratio(ratio), *sizes, "" if ideal is None else f"{ideal:.2f}"])
    print(table(("", "stock / ours", "ours", "stock", "work allows"), rows))
    for part, work in result["work"].items():
        counts = ", ".join(
            f"{side} {work[side]['images']} images and {work[side]['language_tokens']} tokens"
            for side in ("ours", "stock")
        )
        print(f"work of {part}: {counts}")


def _ratio(found: dict[str, Any]) -> str:
    return f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _size(value: float, *, memory: bool = False) -> str:
    return f"{value / 2**20:.1f} MiB" if memory else f"{value:.3f} s"
