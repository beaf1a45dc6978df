"""The one place where listeners and checkers of claims are made, from their description (`spec`)."""

from __future__ import annotations

import os
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from PIL import Image

from earshot.config import SELF
from earshot.errors import InputError, ListenerUnavailable, ModelError
from earshot.images import Sight
from earshot.listener import Listener, ask
from earshot.listener.claims import ClaimListener, LocalChecker
from earshot.listener.controls import (
    BlindListener,
    BothOrdersListener,
    EnsembleListener,
    NoTraceListener,
    RandomListener,
    ShuffledListener,
    TemperedListener,
)
from earshot.listener.engine import EngineListener
from earshot.listener.evidence import EvidenceListener
from earshot.listener.local import LocalListener
from earshot.listener.policy import PolicyListener
from earshot.listener.remote import ServedListener
from earshot.listener.spec import ListenerSpec, ModelEngine, parse_options
from earshot.protocol import PromptSet, TraceLanguage, prompt_set
from earshot.remote import ChatModel, Endpoint, is_address, parse_address
from earshot.types import Pair, Votes
from earshot.vlm import Vlm, hub, load
from earshot.vlm.on_vllm import VllmModel, load_on_vllm


class Held(NamedTuple):
    """What a frozen model was asked for by: one that is asked for twice is loaded once."""

    source: str
    device: str
    dtype: str
    sight: Sight
    engine: ModelEngine = "local"


Loaded: TypeAlias = dict[Held, Vlm | VllmModel]
"""Frozen models that are there."""


def with_policy(spec: ListenerSpec, policy: Vlm) -> Loaded:
    """The model that is trained, as what `self` stands for in a description."""
    return {_held(spec, SELF): policy}


def with_base(source: str, base: Vlm, device: str, dtype: str) -> Loaded:
    """A model on which adapters are trained, as the frozen one that it is without these.

    Args:
        source: As it was asked for.
        base: The model, asked in its folder's own prompt set.
        device: As it was asked for.
        dtype: Likewise.
    """
    return {Held(source, device, dtype, base.sight): replace(base, under_adapters=True)}


def build_listener(spec: ListenerSpec, loaded: Loaded | None = None) -> Listener:
    """The listener of a description; of a server nothing is asked yet.

    Args:
        spec: Who, and how it is asked.
        loaded: Models that are there; those that are loaded now are added.

    Raises:
        InputError: An address is none.
        ModelError: A model cannot be loaded, its answers are not single tokens, or the models read several languages.
    """
    if spec.control == "random":
        return RandomListener(spec.seed)
    loaded = {} if loaded is None else loaded
    bases = [_base(spec, source, loaded) for source in spec.sources]
    listener = bases[0] if len(bases) == 1 else EnsembleListener(tuple(bases))
    if spec.control == "shuffled":
        listener = ShuffledListener(listener, spec.seed)
    elif spec.control == "blind":
        listener = BlindListener(listener)
    elif spec.control == "no_trace":
        listener = NoTraceListener(listener)
    if spec.orders == "both":
        listener = BothOrdersListener(listener, language_of(spec, loaded).swap)
    return listener if spec.temperature == 1.0 else TemperedListener(listener, spec.temperature)


def look(spec: ListenerSpec, *, training: bool = False) -> None:
    """Looks at the models of a description and asks its servers about two grey squares, before anything is loaded.

    Args:
        spec: Who is looked at.
        training: Whether there is a policy that `self` stands for.

    Raises:
        InputError: A server does not answer within our patience, refuses, or answers what cannot be read.
        ModelError: A model cannot be had, or brings what it must not.
    """
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    prompts = prompt_set(spec.prompts or "standard")  # a server's own set is not known here
    original = grey if prompts.edits else None
    pair = Pair("grey", "two grey squares", grey, grey, Votes(0.0, 0.0), original=original)
    for source in spec.sources if spec.control != "random" else ():
        if source == SELF and training:
            continue
        _check_trained(source)
        if not is_address(source):
            hub.look(source)
            continue
        try:
            ask(_base(replace(spec, needs_claims=False, redaction="none"), source, {}), [pair], [None])
        except ListenerUnavailable as error:
            raise InputError(f"{error}; it was asked one question before anything else") from error


def build_checker(spec: ListenerSpec, loaded: Loaded | None = None, *, with_prior: bool = False) -> ClaimListener:
    """Who checks claims, by the same description; models that run here.

    Args:
        spec: Who is asked.
        loaded: As for `build_listener`.
        with_prior: Also ask each claim of a grey image.

    Raises:
        InputError: The description says how traces are read, and claims are asked in one way.
        ModelError: As for `build_listener`; a server's address is no model here.
    """
    said = (spec.control, spec.orders, spec.temperature, spec.needs_claims, spec.redaction, spec.engine or "local")
    if said != (None, "shown", 1.0, False, "none", "local"):
        raise InputError(
            f"{spec.label}: a checker of claims takes no control, orders, temperature, redaction or engine"
        )
    loaded = {} if loaded is None else loaded
    models = [_model(spec, source, loaded) for source in spec.sources]
    checkers = [LocalChecker(vlm, spec.name or vlm.name, spec.batch_size or 64, spec.limits) for vlm in models]
    return ClaimListener(tuple(checkers), language_of(spec, loaded).split, with_prior)


def models_of(spec: ListenerSpec, loaded: Loaded) -> dict[str, Vlm]:
    """The frozen models here that a listener or a checker reads with, by source."""
    sources = (source for source in spec.sources if not is_address(source) and source != SELF)
    return {source: _model(spec, source, loaded) for source in sources}


def prompts_of(spec: ListenerSpec, loaded: Loaded) -> list[PromptSet]:
    """How each of the models of a description is asked."""
    return [_prompts(spec, source, loaded) for source in spec.sources]


def language_of(spec: ListenerSpec, loaded: Loaded) -> TraceLanguage:
    """The one language of traces that all models of a description read.

    Raises:
        ModelError: They read several.
    """
    read = {one.traces: one for one in prompts_of(spec, loaded)}
    if len(read) > 1:
        asked = " and ".join(sorted(f"'{one.name}'" for one in read.values()))
        raise ModelError(
            f"{spec.label}: the models are asked in {asked}, whose traces are in different languages; expected one, "
            "for they must understand the same traces"
        )
    return read.popitem()[1].language


def describe_listener(listener: Listener) -> dict[str, Any]:
    """What a listener's numbers depend on: its name, its model's weights by their hash, and how it is asked."""
    if isinstance(listener, LocalListener):
        return listener.vlm.record()
    told: dict[str, Any] = {"name": listener.name}
    if isinstance(listener, EngineListener):
        return listener.model.record() | told
    if isinstance(listener, EnsembleListener):
        return told | {"of": [describe_listener(base) for base in listener.bases]}
    if isinstance(base := getattr(listener, "base", None), Listener) and is_dataclass(listener):
        below = describe_listener(base)
        values = {field.name: getattr(listener, field.name) for field in fields(listener)}
        plain = {name: value for name, value in values.items() if isinstance(value, int | float | str)}
        told = below | told | plain | {"through": [type(listener).__name__, *below.get("through", ())]}
    return told


def describe_checker(checker: ClaimListener) -> dict[str, Any]:
    """What its numbers depend on: its name, and its models."""
    models = [one.vlm.record() for one in checker.checkers if isinstance(one, LocalChecker)]
    return (models[0] if len(models) == 1 else {"of": models}) | {"name": checker.name}


def _base(spec: ListenerSpec, source: str, loaded: Loaded) -> Listener:
    """One of the models as it reads traces, before any control or order."""
    base: Listener
    if is_address(source):
        address = parse_address(source)
        endpoint = Endpoint(
            address.url,
            key=os.environ.get(spec.key_env),
            concurrency=spec.concurrency,
            timeout_s=spec.timeout_s,
            patience_s=spec.patience_s,
        )
        base = ServedListener(endpoint, limits=spec.limits)
        if address.chat:
            base = EngineListener(ChatModel(endpoint, address.model, _prompts(spec, source, loaded), spec.limits))
    elif spec.engine == "vllm":
        base = EngineListener(_on_vllm(spec, source, loaded), spec.name if len(spec.sources) == 1 else None)
    else:
        vlm = _model(spec, source, loaded)
        name = spec.name if spec.name and len(spec.sources) == 1 else vlm.name
        base = LocalListener(vlm, name, spec.batch_size or 16, spec.limits)
        if source == SELF:
            base = PolicyListener(base)
    if not spec.needs_claims and spec.redaction == "none":
        return base
    split = _prompts(spec, source, loaded).language.split if spec.needs_claims else None
    return EvidenceListener(base, split, spec.redaction)


def _model(spec: ListenerSpec, source: str, loaded: Loaded) -> Vlm:
    held = _held(spec, source)._replace(engine="local")
    if held not in loaded:
        _check_trained(source)
        loaded[held] = load(source, device=held.device, dtype=held.dtype, sight=spec.sight).freeze()
    model = loaded[held]
    assert isinstance(model, Vlm)
    return model.asked(spec.prompts)


def _on_vllm(spec: ListenerSpec, source: str, loaded: Loaded) -> VllmModel:
    held = _held(spec, source)
    if held not in loaded:
        _check_trained(source)
        loaded[held] = load_on_vllm(
            source,
            device=held.device,
            dtype=held.dtype,
            sight=spec.sight,
            limits=spec.limits,
            options=parse_options(spec.engine_options),
        )
    model = loaded[held]
    assert isinstance(model, VllmModel)
    return model.asked(spec.prompts)


def _check_trained(source: str) -> None:
    """Refuses the policy where there is none."""
    if source == SELF:
        raise InputError(
            f"listener '{SELF}' is the policy of 'earshot train grpo', and nothing is trained here; name the folder of "
            f"a model, such as the run's own model/, or './{SELF}' if it is called so"
        )


def _held(spec: ListenerSpec, source: str) -> Held:
    return Held(source, spec.device or "auto", spec.dtype or "auto", spec.sight, spec.engine or "local")


def _prompts(spec: ListenerSpec, source: str, loaded: Loaded) -> PromptSet:
    if is_address(source):
        return prompt_set(spec.prompts or "standard")
    return (_on_vllm if spec.engine == "vllm" else _model)(spec, source, loaded).prompts
