"""What steps of configurations take of a GPU's memory, by role and phase, before any model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from earshot.config import GrpoConfig, SftConfig, TrainingConfig, load_config
from earshot.config.loading import shipped
from earshot.lab.bench.like import outline
from earshot.train.footprint import Planned, models_of_roles, planned, without_weights

CARDS: Final = {"24 GB": 23.5, "48 GB": 47.4, "80 GB": 79.1, "141 GB": 139.8}
"""What torch sees of each kind of card in GiB: RTX 4090, RTX A6000, H100, H200."""
ROOM: Final = 0.9
"""Of a card may be taken: the rest is CUDA's, and gaps that the allocator leaves."""


class Line(NamedTuple):
    """A configuration's step.

    Attributes:
        config: Its name.
        bytes: By role and phase; what comes at another time does not add up.
        peak: At the highest.
        fits: By card.
    """

    config: str
    bytes: dict[str, int]
    peak: int
    fits: dict[str, bool]


def plan(configs: Sequence[str], like: str | None = None, processes: int = 1) -> list[Line]:
    """The memory of steps.

    Args:
        configs: Names of shipped configurations, or files; none takes all that ship for training.
        like: What stands in place of every model that they name: see `like.outline`.
        processes: Between how many FSDP shares a model, where a configuration asks for that.

    Raises:
        ConfigError: One cannot be read.
        ModelError: A model cannot be looked at.
    """
    # A plan of experiments has a model for each of its arms.
    names = configs or sorted(name for name, file in shipped().items() if "\nmodel:" in file.read_text("utf-8"))
    return [_line(name, _load(name), like, processes) for name in names]


def _load(name: str) -> TrainingConfig:
    path = Path(name) if Path(name).exists() else shipped().get(name, Path(name))
    told = path.read_text(encoding="utf-8") if path.exists() else ""
    return load_config(SftConfig if "\n  targets:" in told else GrpoConfig, path)


def _line(name: str, config: TrainingConfig, like: str | None, processes: int) -> Line:
    models = [
        (role, path, without_weights(path) if like is None else outline(like)) for role, path in models_of_roles(config)
    ]
    found = planned(config, models, processes)
    fits = {card: found.total <= ROOM * size * 2**30 for card, size in CARDS.items()}
    return Line(Path(name).name.removesuffix(".yaml"), _by_role(config, found), found.total, fits)


def _by_role(config: TrainingConfig, found: Planned) -> dict[str, int]:
    own, adapter = found.own, config.lora is not None
    told = {
        "weights": own.weights - own.gradients * adapter,
        "adapter": own.gradients * adapter,
        "moments": own.optimizer,
        "prefill": own.prefill,
        "cache": own.cache,
        "gradients": own.gradients,
        "again" if found.training.checkpointed else "kept": own.activations,
    }
    for role in ("listener", "claims"):
        for one in found.frozen.values():
            if one is not None and role in one.roles:
                told[role] = told.get(role, 0) + (one.memory.weights if role == one.roles[0] else 0)
                told[f"{role} reads"] = one.memory.cache + one.memory.prefill
    return told


def as_dict(lines: Sequence[Line]) -> dict[str, Any]:
    """Plain values, as `--json` prints them."""
    return {"cards_gib": CARDS, "room": ROOM, "steps": [line._asdict() for line in lines]}
