"""`earshot doctor`: what is installed, what this machine can do, and what is to be known of a model."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from earshot import __version__
from earshot.cli import table
from earshot.cli.reward_model import (
    Device,
    Dtype,
    ImageBackendName,
    MaxNewTokens,
    MaxPixels,
    MinPixels,
    Prompts,
)
from earshot.errors import InputError

_OF_NO_MODEL = (512, "auto", "auto", None, None, None, None)
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


def doctor_command(
    model: Annotated[
        str | None, typer.Option("--model", help="Look at this model: a folder, a hub id or world:reasoner.")
    ] = None,
    max_new_tokens: MaxNewTokens = 512,
    device: Device = "auto",
    dtype: Dtype = "auto",
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
    image_backend: ImageBackendName = None,
    prompts: Prompts = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """What is installed, and what this machine can do; with --model, how a model is computed, and if that is right."""
    facts = examine()
    if model is not None:
        from earshot.cli.doctor_model import examine_model
        from earshot.images import Sight

        memory_gib = _room_gib(facts, device)
        examine_model(
            model,
            memory_gib,
            max_new_tokens=max_new_tokens,
            device=device,
            dtype=dtype,
            sight=Sight(min_pixels, max_pixels, image_backend),
            prompts=prompts,
            as_json=as_json,
        )
    elif (max_new_tokens, device, dtype, min_pixels, max_pixels, image_backend, prompts) != _OF_NO_MODEL:
        raise InputError("all options but --json are of a model; give --model")
    elif as_json:
        print(json.dumps(facts, indent=2))
    else:
        print(table.facts(_rows(facts)))


def examine() -> dict[str, Any]:
    """Everything `earshot doctor` says, as plain values; what cannot be known is None."""
    packages = {part: {name: _version(name) for name in names} for part, names in parts().items()}
    return {
        "earshot": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages,
        "missing": {
            part: [name for name, version in found.items() if version is None] for part, found in packages.items()
        },
        "cpu_cores": os.cpu_count(),
        "cpu_cores_usable": _usable_cores(),
        "memory_gib": _memory_gib(),
        "torch": _examine_torch() if importlib.util.find_spec("torch") is not None else None,
        "offline": {name: os.environ.get(name) for name in OFFLINE_VARIABLES},
    }


def parts() -> dict[str, list[str]]:
    """The packages that Earshot asks for, by the extra that brings them; `core` are those that always come."""
    found: dict[str, list[str]] = {"core": []}
    for requirement in importlib.metadata.requires("earshot-rm") or ():
        extra = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        found.setdefault(extra[1] if extra else "core", []).append(re.split(r"[^\w.-]", requirement)[0])
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _memory_gib() -> float | None:
    """Memory this process may use in GiB: the machine's, or its control group's where that is less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return round((min(total, int(text)) if text.isdigit() else total) / 2**30, 1)


def _examine_torch() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": "cuda" if cuda else "cpu",
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else [],
        "device_memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1) if cuda else None,
        "threads": torch.get_num_threads(),
    }


def _room_gib(facts: dict[str, Any], device: str) -> float | None:
    """Memory of the device that a model would be loaded on."""
    torch = facts["torch"]
    on_gpu = torch is not None and torch["device"] == "cuda" and device != "cpu"
    return torch["device_memory_gib"] if on_gpu else facts["memory_gib"]


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("earshot", facts["earshot"]), ("python", f"{facts['python']} on {facts['platform']}")]
    for part, found in facts["packages"].items():
        installed = ", ".join(f"{name} {version}" for name, version in found.items() if version)
        missing = facts["missing"][part]
        lacking = f"missing: {', '.join(missing)} (pip install 'earshot-rm[{part}]')" if missing else ""
        rows.append((part, "; ".join(text for text in (installed, lacking) if text)))
    memory = "unknown" if facts["memory_gib"] is None else f"{facts['memory_gib']} GiB"
    rows.append(("machine", f"{facts['cpu_cores_usable']} of {facts['cpu_cores']} cores, {memory} memory"))
    torch = facts["torch"]
    if torch is None:
        rows.append(("device", "torch is not installed: pairs can be made and checked, models cannot be loaded"))
    else:
        names = f" ({', '.join(torch['devices'])}; {torch['device_memory_gib']} GiB)" if torch["devices"] else ""
        rows.append(("device", f"{torch['device']}{names}, {torch['threads']} threads"))
    offline = [name for name, value in facts["offline"].items() if value not in (None, "", "0")]
    rows.append(("hub", f"offline ({', '.join(offline)})" if offline else "online: hub ids are downloaded when used"))
    return rows
