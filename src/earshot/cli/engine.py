"""Who judges a set or a file: in this process, or on Ray; the same for every command that judges many rows."""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earshot.cli.reward_model import listeners_by_name, load_reward_model

if TYPE_CHECKING:
    from earshot.judging.parts import Engine

Shard = Annotated[
    str, typer.Option("--shard", help="i/n: only the i-th of n shares of the rows; other processes judge the others.")
]
EngineName = Annotated[
    str, typer.Option("--engine", help="local, or ray: the same work in many processes, also of many machines.")
]
RayWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="With ray: processes, each with its own model; as many as there is place for without."
    ),
]
RayGpus = Annotated[
    float | None,
    typer.Option("--gpus-per-worker", min=0.0, help="With ray: 0.5 shares a GPU between two; 1 without, or 0 on CPUs."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        help="With ray: the address of a cluster, 'auto' for this machine's; without, one is started for the job.",
    ),
]


@contextmanager
def opened_engine(
    name: str,
    model: str,
    listeners: Sequence[str],
    device: str,
    model_options: Mapping[str, Any],
    cluster: Mapping[str, Any],
) -> "Iterator[tuple[Engine, Mapping[str, Any]]]":
    """Who judges, and what the model's numbers depend on."""
    from earshot.errors import InputError

    if name not in ("local", "ray"):
        raise InputError(f"--engine is {name!r}, expected local or ray")
    if name == "local":
        if any(value is not None for value in cluster.values()):
            raise InputError("--workers, --gpus-per-worker and --ray-address are for --engine ray")
        reward_model = load_reward_model(model, listeners, device=device, **model_options)
        from earshot.judging import describe
        from earshot.judging.parts import Local

        yield Local(reward_model), describe(reward_model)
        return
    if importlib.util.find_spec("ray") is None:
        raise InputError("--engine ray needs Ray; pip install 'earshot[ray]'")
    from earshot.judging import describe
    from earshot.judging.on_ray import Recipe, open_ray

    named = {name: _absolute(source) for name, source in listeners_by_name(listeners).items()}
    load = partial(_load_on, _absolute(model), named, **model_options)
    recipe = Recipe(load, describe)
    with open_ray(recipe, device=device, **cluster) as opened:
        yield opened, opened.settings


def _absolute(model: str) -> str:
    """A model's folder from wherever a worker works; what is none, such as a hub id, stays as it is."""
    return str(Path(model).absolute()) if Path(model).exists() else model


def _load_on(model: str, listeners: Mapping[str, str], device: str, **options: Any) -> Any:
    return load_reward_model(model, listeners, device=device, **options)


def parse_shard(shard: str) -> tuple[int, int]:
    """The numbers of `i/n`.

    Raises:
        InputError: It is not of that form, or i is not from 1 to n.
    """
    from earshot.errors import InputError

    index, slash, of = shard.partition("/")
    if not slash or not index.isdecimal() or not of.isdecimal() or not 1 <= int(index) <= int(of):
        raise InputError(f"--shard is {shard!r}, expected i/n with i from 1 to n, such as 1/8")
    return int(index), int(of)
