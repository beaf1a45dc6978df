"""Judging on Ray Data: in as many processes as there are GPUs, on one machine or on many, each with its own model.

The driver hands out parts and is the only one that writes: a worker gives a part back as the bytes of its file. So a
worker may die at any time, and is neither waited for nor trusted to have tidied up; the part is judged again by
another. The file of the rows and its images must lie where every machine of the cluster sees them under one path.

Ray is imported when an engine is opened and by nothing else of Earshot.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any, TypeAlias

from earshot.errors import EarshotError, InputError
from earshot.files import plain
from earshot.judging.parts import Answers, Bounds, Job, Part, judge_part
from earshot.outcomes import pack, unpack

DEATHS = 3
"""How often a part is judged again after its worker died; a part that kills each of them ends the work."""

CONNECT_TIMEOUT_S = 10.0


Load: TypeAlias = Callable[[str], tuple[Answers, Mapping[str, Any]]]
"""Makes a worker's model on a device, `cpu` or `cuda`, and says what its numbers depend on (`model.describe`). This
function is pickled and sent, and the model never; paths in it are absolute."""


@dataclass(frozen=True)
class RayEngine:
    """Judges parts in the workers of a cluster; `open_ray` makes one.

    Attributes:
        load: How a worker gets its model.
        workers: How many there are.
        gpus: GPUs of each; a fraction shares one, 0 judges on CPUs.
        settings: What the model's numbers depend on, as a worker has told.
    """

    load: Load
    workers: int
    gpus: float
    settings: dict[str, Any]

    def parts(self, job: Job, missing: Sequence[Bounds]) -> Iterator[Part]:
        import ray.data

        # One block a part: what is given back, retried and counted is always one part.
        rows = ray.data.from_items([one._asdict() for one in missing], override_num_blocks=len(missing))
        judged = rows.map_batches(
            Worker,
            fn_constructor_args=(job, self.load, _device(self.gpus), self.settings),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(missing))),
            num_cpus=1,
            num_gpus=self.gpus,
            # Without it Ray judges a part that kills its worker for ever. It moves in 2.64; pyproject.toml keeps below.
            max_task_retries=DEATHS,
        )
        with translating_ray_errors():
            for row in judged.iter_rows():
                yield unpack(row["told"])


class Worker:
    """One process of the cluster: loads the model when the first part comes, and judges parts.

    Errors are given back like parts, because Ray would retry them, or wrap them beyond recognition.
    """

    def __init__(self, job: Job, load: Load, device: str, settings: dict[str, Any]) -> None:
        self._job, self._load, self._device, self._settings = job, load, device, settings
        self._model: Answers | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        bounds = Bounds(int(batch["start"][0]), int(batch["stop"][0]))
        return {"told": [pack(lambda: self._judge(bounds))]}

    def _judge(self, bounds: Bounds) -> Part:
        if self._model is None:
            _same_file(self._job)
            model, settings = self._load(self._device)
            if (found := plain(settings)) != self._settings:
                raise InputError(
                    f"a worker has another model than the first: {found}, expected {self._settings}; see that every "
                    "machine of the cluster has the same files and the same kind of device"
                )
            self._model = model
        return judge_part(self._job, self._model, self._job.rows.read(*bounds), bounds)


def _same_file(job: Job) -> None:
    try:
        found = job.rows.fingerprint()
    except OSError as error:
        found = str(error)
    if found != job.fingerprint:
        raise InputError(
            f"{job.rows.path}: is missing on a worker's machine, or another file there ({found}); it must lie where "
            "every machine of the cluster sees it under the same path"
        )


@contextmanager
def open_ray(
    load: Load,
    *,
    device: str = "auto",
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    address: str | None = None,
) -> Iterator[RayEngine]:
    """An engine for as long as the block lasts, on a cluster of this machine or on one that is there.

    Args:
        load: How a worker gets its model.
        device: `auto` takes GPUs where the cluster has any; `cpu` or `cuda`.
        workers: How many, each with a model of its own; None takes as many as there is place for.
        gpus_per_worker: None is 1, or 0 on CPUs.
        address: Of a Ray cluster, `auto` for the one this machine belongs to; None starts one that ends with the block.

    Raises:
        InputError: Ray or the cluster is not there, or has no place for the workers.
        ModelError: There is no such model.
        EarshotError: Workers died, one after another.
    """
    ray = _start(address, workers)
    with redirect_stdout(sys.stderr):  # where Ray tells of workers that died, until it is down
        try:
            gpus = _gpus(device, gpus_per_worker, ray.cluster_resources().get("GPU", 0.0))
            places = sum(_places(node["Resources"], gpus) for node in ray.nodes() if node["Alive"])
            if not 1 <= (workers or 1) <= places:
                raise InputError(
                    f"{workers or 1} workers with {gpus:g} GPUs each are asked for, the cluster has place for "
                    f"{places}; lower --workers or --gpus-per-worker, or start more machines first"
                )
            # max_calls: the process ends with the task, and gives back the memory of its GPU.
            asked = ray.remote(num_cpus=1, num_gpus=gpus, max_calls=1, max_retries=DEATHS)(_settings)
            with translating_ray_errors():
                settings = unpack(ray.get(asked.remote(load, _device(gpus))))
            yield RayEngine(load, workers or places, gpus, settings)
        finally:
            ray.shutdown()


def _settings(load: Load, device: str) -> bytes:
    """Runs in the cluster: the driver may have no GPU, where `auto` would choose another precision."""
    return pack(lambda: plain(load(device)[1]))


def _start(address: str | None, workers: int | None) -> Any:
    """Ray itself, on its cluster."""
    _knock(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is None:  # its ports are open to the network, so only who has this token may call them
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(f"the engine 'ray' needs Ray ({error}); pip install 'earshot-rm[ray]'") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    local = {"include_dashboard": False, "num_cpus": workers} if address is None else {}
    try:
        ray.init(address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **local)
    except (ConnectionError, ValueError) as error:
        raise _no_answer(address, error) from error
    return ray


def _knock(address: str | None) -> None:
    """Ray would try an address where nobody answers for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except (OSError, OverflowError) as error:
            raise _no_answer(address, error) from error


def _no_answer(address: str | None, error: Exception) -> InputError:
    return InputError(f"--ray-address {address}: no Ray cluster answers ({error}); check the address")


def _gpus(device: str, per_worker: float | None, there: float) -> float:
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device is {device!r}, expected auto, cpu or cuda")
    if device == "cpu" and per_worker:
        raise InputError(f"--gpus-per-worker is {per_worker:g} and --device is cpu; leave out one of them")
    if device == "cuda" and per_worker == 0:
        raise InputError("--gpus-per-worker is 0 and --device is cuda; leave out one of them")
    if per_worker is not None:
        if per_worker > 1 and not per_worker.is_integer():
            raise InputError(f"--gpus-per-worker is {per_worker:g}, expected a whole number, or a part of one GPU")
        return per_worker
    return 1.0 if device == "cuda" or (device == "auto" and there > 0) else 0.0


def _places(resources: Mapping[str, float], gpus: float) -> int:
    """How many workers find place on a machine, with a CPU and so many GPUs each."""
    cpus, cards = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if gpus == 0:
        return cpus
    return min(cpus, int(cards // gpus) if gpus >= 1 else cards * int(1 / gpus))


def _device(gpus: float) -> str:
    return "cuda" if gpus else "cpu"


@contextmanager
def translating_ray_errors() -> Iterator[None]:
    """One line for workers that die again and again, where Ray has pages."""
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise EarshotError(
            f"a worker could not begin ({error.cause}); see that every machine of the cluster has the same Earshot"
        ) from error
    except ray.exceptions.RayError as error:
        raise EarshotError(
            f"a worker died {DEATHS + 1} times over the same part ({error}); parts that were judged are kept, so give "
            "the same command again when the cause is found, such as too little memory"
        ) from error
