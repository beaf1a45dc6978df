"""Who judges a set or a file: in this process, or on Ray; the same for every command that judges many rows."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from earshot.cli.reward_model import ModelOptions

if TYPE_CHECKING:
    from earshot.judging.model import RewardModel
    from earshot.judging.parts import Engine
    from earshot.judging.served import Client


@dataclass(frozen=True)
class EngineOptions:
    """How many rows are judged: in which share of them, by whom, and what is passed over."""

    shard: Annotated[
        str,
        typer.Option("--shard", help="i/n: only the i-th of n shares of the rows; other processes judge the others."),
    ] = "1/1"
    tolerate: Annotated[
        int, typer.Option("--tolerate", min=0, help="Bad rows to write with their error before one stops the work.")
    ] = 0
    batch: Annotated[int, typer.Option("--batch", min=1, help="Rows judged together.")] = 16
    engine: Annotated[
        Literal["local", "vllm", "ray", "ray-vllm"],
        typer.Option(
            "--engine",
            help="With vllm models are computed by a vLLM in this process; with ray the same work is done in many "
            "processes, also of many machines; with ray-vllm by a vLLM in each.",
        ),
    ] = "local"
    engine_options: Annotated[
        str | None,
        typer.Option("--engine-options", help='With vllm: arguments of vllm.LLM, such as {"max_model_len": 8192}.'),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="With ray: processes, each with a model; as many as have place without."),
    ] = None
    gpus_per_worker: Annotated[
        float | None,
        typer.Option("--gpus-per-worker", min=0.0, help="With ray: 0.5 shares a GPU; 1 without, or 0 on CPUs."),
    ] = None
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address", help="With ray: a cluster's, 'auto' for this machine's; without, one is started."
        ),
    ] = None

    def share(self) -> tuple[int, int]:
        """The numbers of `i/n`.

        Raises:
            InputError: It is not of that form, or i is not from 1 to n.
        """
        from earshot.errors import InputError

        index, slash, of = self.shard.partition("/")
        if not slash or not index.isdecimal() or not of.isdecimal() or not 1 <= int(index) <= int(of):
            raise InputError(f"--shard is {self.shard!r}, expected i/n with i from 1 to n, such as 1/8")
        return int(index), int(of)

    @contextmanager
    def opened(self, asked: ModelOptions, *, lenient: bool = False) -> "Iterator[tuple[Engine, Mapping[str, Any]]]":
        """Who judges, and what the model's numbers depend on.

        Args:
            asked: The model.
            lenient: Whether a listener that breaks is left out.
        """
        from earshot.errors import InputError

        cluster: dict[str, Any] = {
            "workers": self.workers,
            "gpus_per_worker": self.gpus_per_worker,
            "address": self.ray_address,
        }
        how: dict[str, Any] = {"batch_size": self.batch, "lenient": lenient}
        if self.engine in ("vllm", "ray-vllm"):
            from earshot.listener.spec import parse_options

            how |= {"engine": "vllm", "engine_options": parse_options(self.engine_options)}
        elif self.engine_options is not None:
            raise InputError("--engine-options are for --engine vllm and ray-vllm")
        if self.engine in ("local", "vllm"):
            if any(value is not None for value in cluster.values()):
                raise InputError("--workers, --gpus-per-worker and --ray-address are for --engine ray")
            from earshot.judging.parts import Local

            model, settings = _load_on(asked, how, asked.device)
            yield Local(model), settings
            return
        from earshot.judging.on_ray import open_ray

        load = partial(_load_on, asked.from_anywhere(), how)
        with open_ray(load, device=asked.device, **cluster) as opened:
            yield opened, opened.settings


def _load_on(
    asked: ModelOptions, how: Mapping[str, Any], device: Any
) -> "tuple[RewardModel | Client, Mapping[str, Any]]":
    """The model on a device, and what its numbers depend on."""
    model = replace(asked, device=device).load_aloud(**how)
    from earshot.judging.model import describe

    return model, describe(model)
