"""The one description of a listener, the same for training, evaluations, users' comparisons, servers and attacks."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from earshot.config import nearest
from earshot.errors import InputError, first_line
from earshot.images import AS_IT_IS, DEFAULT_LIMITS, ImageBackend, ImageLimits, Sight
from earshot.paths import at_home
from earshot.types import RedactionLevel

Control: TypeAlias = Literal["random", "shuffled", "blind", "no_trace"]
Orders: TypeAlias = Literal["shown", "both"]
ModelEngine: TypeAlias = Literal["local", "vllm"]
"""Who computes a model in this process: transformers, or vLLM."""


@dataclass(frozen=True)
class ListenerSpec:
    """Who listens, and how it is asked; nothing is loaded yet (`build.build_listener`).

    Attributes:
        sources: Local folders, hub ids, `world:NAME` or addresses; several are an ensemble, the mean of their p.
        name: What logs and reports call it; None takes its models' own names.
        control: What it is replaced by: random scores, another pair's trace, grey images, no trace.
        orders: `both` is the mean of p with the images shown in either order.
        temperature: Divides the logits of the two answers.
        needs_claims: Whether a trace that claims nothing of either image is heard as no trace.
        redaction: What it takes out of a trace itself, besides what whoever asks has taken out.
        seed: Of `random` and `shuffled`.
        batch_size: Pairs (a checker's: images) that a model here encodes at a time; None leaves it to the command, as
            do the next two.
        device: Of a model here: `auto`, `cpu` or `cuda`.
        dtype: Of a model here: `auto`, `float32` or `bfloat16`.
        min_pixels: Smaller images are enlarged to so many pixels (width × height) for a model here; None leaves it to
            the command, whose default is what the reasoner sees, as do the next two.
        max_pixels: Larger images are shrunk to so many.
        image_backend: Who scales images, `pil` or `torchvision`.
        limits: What an image may be.
        engine: Who computes a model here; None leaves it to the command, as it does the next.
        engine_options: Of vLLM, a JSON object.
        prompts: How it is asked: the name of a prompt set, or a YAML file; None takes what a model's folder was trained
            with, else `standard`.
        key_env: The environment variable that holds a server's key.
        concurrency: Requests to a server at a time.
        timeout_s: How long one attempt may take.
        patience_s: How long a request is repeated while a server is away or has no room.

    Raises:
        InputError: It has no sources and is not random, or the other way round, or a number cannot be.
    """

    sources: tuple[str, ...] = ()
    name: str | None = None
    control: Control | None = None
    orders: Orders = "shown"
    temperature: float = 1.0
    needs_claims: bool = False
    redaction: RedactionLevel = "none"
    seed: int = 0
    batch_size: int | None = None
    device: str | None = None
    dtype: str | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    image_backend: ImageBackend | None = None
    limits: ImageLimits = DEFAULT_LIMITS
    engine: ModelEngine | None = None
    engine_options: str | None = None
    prompts: str | None = None
    key_env: str = "EARSHOT_LISTENER_KEY"
    concurrency: int = 16
    timeout_s: float = 60.0
    patience_s: float = 60.0

    def __post_init__(self) -> None:
        if bool(self.sources) == (self.control == "random"):
            found = f"{' and '.join(self.sources) or 'no model'} with control {self.control}"
            raise InputError(f"a listener has {found}, expected a model, an address, or control=random and none")
        for key in ("temperature", "batch_size", "concurrency", "timeout_s", "min_pixels", "max_pixels"):
            value = getattr(self, key)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"listener {self.label}: {key} is {value}, expected a finite number above 0")
        if self.engine == "local" and self.engine_options is not None:
            raise InputError(f"listener {self.label}: engine_options are of engine vllm, and the engine is local")
        if not 0 <= self.patience_s < math.inf:
            raise InputError(f"listener {self.label}: patience_s is {self.patience_s}, expected seconds, at least 0")

    @property
    def label(self) -> str:
        """Its name, or what its sources are called."""
        return self.name or "+".join(map(_called, self.sources)) or "random"

    @property
    def sight(self) -> Sight:
        """How images are made ready for a model here, as far as it is said."""
        return Sight(self.min_pixels, self.max_pixels, self.image_backend)

    def filled(
        self,
        *,
        batch_size: int,
        device: str,
        dtype: str,
        sight: Sight = AS_IT_IS,
        engine: ModelEngine = "local",
        engine_options: str | None = None,
    ) -> ListenerSpec:
        """The same, with these where it leaves them to the command."""
        return replace(
            self,
            engine=self.engine or engine,
            engine_options=self.engine_options or (engine_options if self.engine is None else None),
            batch_size=self.batch_size or batch_size,
            device=self.device or device,
            dtype=self.dtype or dtype,
            **asdict(self.sight.filled(sight)),
        )

    def absolute(self) -> ListenerSpec:
        """The same from another working directory."""
        prompts = None if self.prompts is None else absolute(self.prompts)
        return replace(self, sources=tuple(map(absolute, self.sources)), prompts=prompts)

    def __str__(self) -> str:
        """As `parse_listener` reads it."""
        said = {key: getattr(self, key) for key in _READ if getattr(self, key) != _DEFAULTS[key]}
        options = "".join(f",{key}={str(value).lower() if value is True else value}" for key, value in said.items())
        return f"{'' if self.name is None else f'{self.name}='}{'+'.join(self.sources)}{options}"


OF_A_SERVER: Final = ("prompts", "key_env", "concurrency", "timeout_s", "patience_s")
"""What of a description is about how a server is asked."""

# What can be said in a line, and how it is read: the type of the default says it, where that is not None.
_DEFAULTS: Final = {f.name: f.default for f in fields(ListenerSpec) if f.name not in ("sources", "name", "limits")}
_READ: Final[dict[str, type]] = {
    key: str if default is None else type(default) for key, default in _DEFAULTS.items()
} | {"batch_size": int, "min_pixels": int, "max_pixels": int}
_CHOICES: Final = {
    "control": get_args(Control),
    "orders": get_args(Orders),
    "redaction": get_args(RedactionLevel),
    "device": ("auto", "cpu", "cuda"),
    "dtype": ("auto", "float32", "bfloat16"),
    "engine": get_args(ModelEngine),
    "image_backend": get_args(ImageBackend),
}


def parse_listener(text: str) -> ListenerSpec:
    """A listener from `[NAME=]SOURCE[+SOURCE…][,KEY=VALUE…]`, such as `held=world:held-out,orders=both`.

    Args:
        text: The line. A folder that is called just so is that folder, whatever characters its name has.

    Raises:
        InputError: A key is unknown, or a value is not one for it.
    """
    text = at_home(text)
    if Path(text).exists():
        return ListenerSpec((text,))
    head, *options = re.split(r",(?=\w+=)", text)  # any other comma belongs to a path
    name, _, source = head.partition("=")
    if not source or not Path(source).exists():
        name, _, source = head.rpartition("=")
    sources = (source,) if Path(source).exists() else source.split("+")
    return ListenerSpec(tuple(filter(None, sources)), name or None, **dict(_option(one, text) for one in options))


def parse_options(text: str | None) -> dict[str, Any]:
    """Options of an engine from a JSON object.

    Raises:
        InputError: It is none.
    """
    try:
        told = json.loads(text or "{}")
    except ValueError as error:
        raise InputError(f"engine options: {first_line(error)}") from error
    if not isinstance(told, dict):
        raise InputError(f'engine options: {text!r} is no JSON object, expected one such as {{"max_model_len": 8192}}')
    return told


def parse_listeners(texts: Iterable[str]) -> dict[str, ListenerSpec]:
    """Listeners by the name to report.

    Raises:
        InputError: Two have the same, or as `parse_listener`.
    """
    named: dict[str, ListenerSpec] = {}
    for spec in map(parse_listener, texts):
        if spec.label in named:
            raise InputError(f"two listeners are called '{spec.label}'; tell them apart with --listener NAME=MODEL")
        named[spec.label] = spec
    return named


def _option(text: str, whole: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    if key not in _READ:
        close = nearest(key, _READ)
        hint = f"the nearest known key is '{close}'" if close else f"the known keys are {', '.join(_READ)}"
        raise InputError(f"listener {whole!r}: unknown key '{key}'; {hint}")
    kind = _READ[key]
    expected = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "")
    try:
        read = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        if read in _CHOICES.get(key, (read,)):
            return key, read
        expected = " or ".join(_CHOICES[key])
    except (KeyError, ValueError):
        pass
    raise InputError(f"listener {whole!r}: {key} is {value!r}, expected {expected}")


def absolute(source: str) -> str:
    """A file or a model's folder from wherever a process works; what is none, such as a hub id, stays as it is."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def _called(source: str) -> str:
    return source if source.startswith(("world:", "http:", "https:")) else Path(source).resolve().name
