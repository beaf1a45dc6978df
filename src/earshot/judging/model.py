"""The reward model that users call: compare, rank and score, from a reasoner and whoever reads its traces."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from earshot.errors import InputError, ListenerUnavailable, PromptTooLong
from earshot.images import ImageBackend, Sight
from earshot.judging.asking import Asked
from earshot.judging.question import Question
from earshot.judging.served import Client
from earshot.listener import Listener, ask
from earshot.listener.build import (
    Held,
    Loaded,
    build_checker,
    build_listener,
    describe_checker,
    describe_listener,
    look,
    prompts_of,
)
from earshot.listener.claims import ClaimListener
from earshot.listener.engine import EngineListener
from earshot.listener.spec import OF_A_SERVER, ListenerSpec, ModelEngine, parse_listener, parse_listeners
from earshot.paths import at_home
from earshot.predictions.judgement import AUTHOR, JudgedSample, Judgement, check_decide, conclude
from earshot.protocol import PromptSet, prompt_set, redact_trace
from earshot.reasoner import Reasoner
from earshot.reasoner.engine import EngineReasoner
from earshot.remote import is_address, parse_address
from earshot.types import WITHOUT_VERDICT, Pair, RedactionLevel, Wanted
from earshot.vlm import Vlm
from earshot.vlm import load as load_vlm
from earshot.vlm.on_vllm import VllmModel, load_on_vllm


@runtime_checkable
class Judges(Protocol):
    """Who writes the traces: `reasoner.Reasoner`, or anything that answers a pair by its id and seed alone."""

    def judge(
        self, pairs: Sequence[Pair], *, samples: int, seed: int, wanted: Wanted | None
    ) -> list[list[JudgedSample]]:
        """`samples` completions of each pair in each of the two orders of its images; anything for a pair that is no
        longer wanted."""
        ...


@dataclass(frozen=True)
class RewardModel(Asked):
    """Says which of two images people prefer for a prompt, ranks several, and scores them.

    The same pictures, prompt and seed give the same numbers, whatever the images are called or stored as, in whatever
    order they are given, and whatever else is judged with them.

    Attributes:
        reasoner: Who judges.
        listeners: Who re-reads every trace without its answer, by the name to report.
        checkers: Who is asked of every claim of a trace whether it is true, by the name to report.
        samples: Completions for each order of the images.
        redaction: What a trace loses before the listeners read it.
        decide: Whose p is the answer: `author`, the reasoner, or a listener's name.
        lenient: Whether a listener or a checker that breaks is left out of the answer, which says so, instead of
            raised. Who decides is never left out.
        taught_on: By model, all the pictures that it has ever seen, where its folder says so: `world:reasoner` and what
            is trained from it know coloured shapes and no photograph. `note` says it in a line.
    """

    reasoner: Judges
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    checkers: Mapping[str, ClaimListener] = field(default_factory=dict)
    samples: int = 1
    redaction: RedactionLevel = "verdict"
    decide: str = AUTHOR
    lenient: bool = False
    taught_on: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples is {self.samples}, expected at least 1")
        check_decide(self.decide, list(self.listeners), self.redaction)

    @property
    def edits(self) -> bool:
        """Whether it is asked about two edits of an image, which every question must then have with them."""
        prompts: PromptSet | None = getattr(self.reasoner, "prompts", None)
        return prompts is not None and prompts.edits

    @property
    def listener(self) -> Listener | None:
        """The first of the listeners: the one that a server lends to others."""
        return next(iter(self.listeners.values()), None)

    @property
    def note(self) -> str | None:
        """What to know before the first verdict: which of the models have only ever seen pictures of one kind."""
        if not self.taught_on:
            return None
        names, pictures = " and ".join(self.taught_on), " and ".join(sorted(set(self.taught_on.values())))
        nothing = "of photographs and art the verdicts mean nothing (docs/models.md names models for those)"
        return f"{names}: taught on {pictures} alone; {nothing}"

    def identity(self) -> dict[str, Any]:
        """Which model it is, for a scale that was fitted for it: weights, words, sampling and who decides.

        Hashing the weights of a large model takes some seconds.
        """
        who = {name: one for name, one in self.listeners.items() if name == self.decide}
        told = describe(replace(self, listeners=who, checkers={}))
        named = {name: told[name] for name in ("decide", "listeners", "samples", "temperature") if name in told}
        # In another precision it is the same model.
        return named | {name: value for name, value in told.get("model", {}).items() if name != "dtype"}

    def answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement]:
        """Judges questions together; they may differ in their seeds.

        Args:
            questions: What is asked.
            wanted: Whether the k-th of them is to be answered still; asked while it is. The answer to one that was not
                is worth nothing.

        Raises:
            InputError: A prompt is longer than the model's context.
            ListenerUnavailable: A listener broke.
        """
        answers = []
        for answer in self.try_answer(questions, wanted):
            if isinstance(answer, InputError):
                raise answer
            answers.append(answer)
        return answers

    def try_answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement | InputError]:
        """`answer`, with the error in the place of a question that cannot be asked; the others are answered.

        Args:
            questions: What is asked.
            wanted: As for `answer`.

        Raises:
            ListenerUnavailable: A listener broke.
        """
        refused: dict[int, InputError] = {}
        asked = [k for k, question in enumerate(questions) if not question.same_picture]
        judged: list[list[JudgedSample]] = []
        while asked:
            places = asked
            try:
                # The seed is part of the pair's id already.
                judged = self.reasoner.judge(
                    [questions[k].pair for k in places],
                    samples=self.samples,
                    seed=0,
                    wanted=None if wanted is None else partial(_wanted_at, wanted, places),
                )
                break
            except PromptTooLong as error:
                refused |= {places[row]: InputError(f"prompt: {why}") for row, why in error.too_long.items()}
                asked = [k for k in places if k not in refused]
        read, broken = self._read([questions[k].pair for k in asked], judged)
        samples = dict(zip(asked, read, strict=True))
        return [
            refused[k] if k in refused else self._conclude(question, samples.get(k, ()), broken)
            for k, question in enumerate(questions)
        ]

    def _conclude(self, question: Question, samples: Sequence[JudgedSample], broken: Mapping[str, str]) -> Judgement:
        """The answer in the caller's own sides."""
        return conclude(
            [sample.turned() if question.turned else sample for sample in samples],
            id=question.pair.id,
            question=question.pair.id,
            seed=question.seed,
            decide=self.decide,
            # What reads the conclusion too would only be reading the answer back.
            readers=list(self.listeners) if self.redaction in WITHOUT_VERDICT else [],
            same_picture=question.same_picture,
            broken=broken,
        )

    def _read(
        self, pairs: Sequence[Pair], judged: Sequence[Sequence[JudgedSample]]
    ) -> tuple[list[list[JudgedSample]], dict[str, str]]:
        """Samples with what listeners and checkers make of their traces, and why one of them made nothing."""
        formed = [
            (pair if sample.order == "forward" else pair.swapped(), sample)
            for pair, samples in zip(pairs, judged, strict=True)
            for sample in samples
            if sample.malformed is None
        ]
        shown = [pair for pair, _ in formed]
        listener: list[dict[str, float]] = [{} for _ in formed]
        believed: list[dict[str, float]] = [{} for _ in formed]
        broken: dict[str, str] = {}
        traces = [redact_trace(sample.trace, self.redaction) for _, sample in formed]
        for name, reader in self.listeners.items() if formed else ():
            try:
                p_shown = ask(reader, shown, traces)
            except ListenerUnavailable as error:
                if not self.lenient or name == self.decide:
                    raise
                broken[name] = str(error)
                continue
            for said, (_, sample), p in zip(listener, formed, p_shown.tolist(), strict=True):
                said[name] = p if sample.order == "forward" else 1.0 - p
        # A conclusion is no claim about an image, whatever the listeners get to read.
        claims = [redact_trace(sample.trace, "verdict") for _, sample in formed] if self.checkers else []
        for name, checker in self.checkers.items() if formed else ():
            try:
                heard = checker.hear(shown, claims)
            except ListenerUnavailable as error:
                if not self.lenient:
                    raise
                broken[name] = str(error)
                continue
            for belief, of_trace in zip(believed, heard, strict=True):
                if of_trace:
                    belief[name] = sum(claim.believed for claim in of_trace) / len(of_trace)
        read = (
            replace(sample, listener=said, believed=belief)
            for (_, sample), said, belief in zip(formed, listener, believed, strict=True)
        )
        return [[next(read) if s.malformed is None else s for s in samples] for samples in judged], broken


def _wanted_at(wanted: Wanted, places: Sequence[int], row: int) -> bool:
    return wanted(places[row])


Reader: TypeAlias = str | Path | ListenerSpec | Listener
"""Whoever may be named to re-read traces."""


def load(
    model: str | Path,
    *,
    listener: Reader | Sequence[Reader] | Mapping[str, Reader] = (),
    checker: Sequence[str] | Mapping[str, ListenerSpec] = (),
    decide: str = AUTHOR,
    samples: int = 1,
    temperature: float = 1.0,
    max_new_tokens: int = 512,
    redaction: RedactionLevel = "verdict",
    lenient: bool = False,
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    image_backend: ImageBackend | None = None,
    prompts: str | Path | PromptSet | None = None,
    engine: ModelEngine = "local",
    engine_options: Mapping[str, Any] | None = None,
) -> RewardModel:
    """Loads a reward model; `earshot.load` is this.

    Args:
        model: The reasoner: a folder written by `save_pretrained`, a hub id, `world:reasoner` (which knows coloured
            shapes and no photograph, as `note` of the reward model says of it and of what is trained from it), or
            `http://HOST:PORT/v1#NAME` of an OpenAI-compatible server (its key in EARSHOT_REASONER_KEY), with the
            options of a server if need be (docs/remote.md).
        listener: Who re-reads the traces: one or several, each a model named in the same way, `http://HOST:PORT` of an
            `earshot serve` (key in EARSHOT_LISTENER_KEY), either with options (docs/python.md), a `ListenerSpec`, or
            any `Listener`. Told apart by their own names, or by those of a mapping.
        checker: Models that are asked of every claim of a trace whether it is true, named in the same way.
        decide: Whose p is the answer: `author`, the reasoner, or the name of a listener.
        samples: Completions for each order of the images; their mean is taken.
        temperature: Of the sampling; 0 is greedy.
        max_new_tokens: Longer completions are cut, and malformed.
        redaction: What a trace loses before a listener reads it: `none`, `answer`, `verdict` or `evidence`.
        lenient: Whether a listener that breaks is left out, instead of an error.
        batch_size: Pairs, in one order, that are encoded at a time.
        device: `auto`, `cpu` or `cuda`; a GPU that was asked for and is not there is an error.
        dtype: `auto`, `float32` or `bfloat16`.
        min_pixels: Smaller images are enlarged to so many pixels (width × height) for every model here; None leaves the
            reasoner's own limit, which its listeners and checkers take, as they do the next two.
        max_pixels: Larger images are shrunk to so many.
        image_backend: Who scales images, `pil` or `torchvision`; None is what the reasoner was trained with, or `pil`.
        prompts: How the reasoner is asked: the name of a prompt set, its YAML file (docs/prompts.md), or the set
            itself. None takes what its folder was trained with, else `standard`.
        engine: Who computes the reasoner, and the listeners that do not say otherwise: `local` (transformers), or
            `vllm`, in this process, in an environment that has it (docs/scale.md). Checkers are always local.
        engine_options: Of `vllm.LLM`, such as `tensor_parallel_size`, `gpu_memory_utilization` or `max_model_len`.

    Raises:
        InputError: An option makes no sense, or a server refuses the question that it is asked first.
        ModelError: There is no such model, or it cannot be loaded.
    """
    if not 0 <= temperature < math.inf or max_new_tokens < 1 or batch_size < 1:
        raise InputError(
            f"temperature is {temperature}, max_new_tokens {max_new_tokens} and batch_size {batch_size}, expected a "
            "finite number of at least 0, and at least 1 and 1"
        )
    if samples > 1 and temperature == 0:
        raise InputError("temperature 0 is greedy, so that several samples would be equal; use samples=1")
    model = at_home(str(model))
    prompts = prompt_set(at_home(str(prompts))) if isinstance(prompts, str | Path) else prompts
    how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "batch_size": batch_size}
    sight = Sight(min_pixels, max_pixels, image_backend)
    named, checked = _named(listener), checker if isinstance(checker, Mapping) else parse_listeners(checker)
    remote = _at_address(model) if is_address(model) else None
    if remote is not None and (engine != "local" or engine_options):
        raise InputError(f"{model}: has an engine of its own; leave engine and engine_options out")
    for spec in (*(one for _, one in named), *checked.values()):
        if isinstance(spec, ListenerSpec):
            look(spec)
    reasoner: Reasoner | EngineReasoner
    loaded: Loaded = {}
    shared: dict[str, Any] = {"batch_size": batch_size, "device": device, "dtype": dtype, "sight": sight}
    if remote is not None:
        own = build_listener(remote)
        assert isinstance(own, EngineListener)
        if prompts is not None:
            own.model.prompts = prompts
        reasoner = EngineReasoner(own, **how)
    else:
        of_engine = _options_of_engine(engine, engine_options, model, named)
        base: Vlm | VllmModel
        if engine == "vllm":
            base = load_on_vllm(model, device=device, dtype=dtype, sight=sight, options=of_engine)
            reasoner = EngineReasoner(EngineListener(base.asked(prompts)), **how)
        else:
            base = load_vlm(model, device=device, dtype=dtype, sight=sight).freeze()
            reasoner = Reasoner(base.asked(prompts), **how)
        sight = base.sight
        loaded[Held(model, device, dtype, sight, engine)] = base  # as a listener, in the words of its own folder
        shared |= {"sight": sight, "engine": engine, "engine_options": json.dumps(of_engine) if of_engine else None}
    listeners = _listeners(named, loaded, **shared)
    _check_originals(reasoner, named, checked, loaded, shared)
    shared |= {"engine": "local", "engine_options": None}
    checkers = {name: build_checker(spec.filled(**shared), loaded) for name, spec in checked.items()}
    return RewardModel(
        reasoner,
        listeners,
        checkers,
        samples=samples,
        redaction=redaction,
        decide=decide,
        lenient=lenient,
        taught_on={held.source: one.taught_on for held, one in loaded.items() if one.taught_on is not None},
    )


def _options_of_engine(
    engine: ModelEngine, given: Mapping[str, Any] | None, model: str, named: Sequence[tuple[Any, Any]]
) -> dict[str, Any]:
    """Those of vLLM, with an equal share of a GPU's memory for each engine of this process.

    Raises:
        InputError: There are some, and vLLM is not asked for.
    """
    if engine == "local":
        if given:
            raise InputError("engine_options are of engine vllm, and the engine is local")
        return {}
    readers = {source for _, one in named if isinstance(one, ListenerSpec) for source in one.sources}
    engines = len({model, *(source for source in readers if not is_address(source))})
    return ({} if engines == 1 else {"gpu_memory_utilization": round(0.9 / engines, 2)}) | dict(given or {})


def _at_address(text: str) -> ListenerSpec:
    """How a reasoner on a server is asked: by a listener's description, of which only a server's options make sense.

    Raises:
        InputError: Another option is given, or no model there can be asked.
    """
    spec = parse_listener(text)
    if not parse_address("+".join(spec.sources)).chat:
        raise InputError(
            f"{text}: is no reasoner that can be loaded, expected http://HOST:PORT/v1#NAME of a chat server; an "
            "'earshot serve' judges by itself, and is asked by earshot.Client, or compare, rank and judge with --model"
        )
    options = {key: getattr(spec, key) for key in OF_A_SERVER}
    if spec.key_env == ListenerSpec.key_env:
        options["key_env"] = "EARSHOT_REASONER_KEY"
    if spec != ListenerSpec(spec.sources, **{**options, "key_env": spec.key_env}):
        raise InputError(f"{text}: a reasoner on a server takes no option but {', '.join(OF_A_SERVER)}")
    return ListenerSpec(("+".join(spec.sources),), **options)  # there are no ensembles of reasoners


def _named(given: Any) -> list[tuple[str | None, ListenerSpec | Listener]]:
    """Whoever was named to re-read traces, those that were named in words described."""
    if isinstance(given, Mapping):
        named = [(name, one) for name, one in given.items()]
    else:
        several = [given] if isinstance(given, str | Path | ListenerSpec | Listener) else given
        named = [(None, one) for one in several]
    return [(name, parse_listener(str(one)) if isinstance(one, str | Path) else one) for name, one in named]


def _listeners(
    named: Sequence[tuple[str | None, ListenerSpec | Listener]], loaded: Loaded, **options: Any
) -> dict[str, Listener]:
    """Listeners by name, those that were described built.

    Raises:
        InputError: Two have one name.
    """
    found: dict[str, Listener] = {}
    for name, one in named:
        if isinstance(one, ListenerSpec):
            name = name or one.name
            one = build_listener(replace(one, name=name).filled(**options), loaded)
        name = name or one.name
        if name in found:
            raise InputError(f"two listeners are called '{name}'; tell them apart with NAME=MODEL")
        found[name] = one
    return found


def _check_originals(
    reasoner: Reasoner | EngineReasoner,
    named: Sequence[tuple[str | None, ListenerSpec | Listener]],
    checked: Mapping[str, ListenerSpec],
    loaded: Loaded,
    shared: Mapping[str, Any],
) -> None:
    """Sees that whoever reads along is asked about as many images as the reasoner.

    Raises:
        InputError: One is asked about edits and the other is not, or somebody is to check claims about edits.
    """
    own = reasoner.prompts
    for spec in (one.filled(**shared) for _, one in named if isinstance(one, ListenerSpec)):
        for read in prompts_of(spec, loaded):
            if read.edits != own.edits:
                raise InputError(
                    f"listener {spec.label}: is asked in prompt set '{read.name}' and the reasoner in '{own.name}', of "
                    "which one alone asks about edits; give the listener another with ,prompts=NAME"
                )
    if own.edits and checked:
        raise InputError(
            f"checker {next(iter(checked))}: checkers know claims about two images alone, and prompt set '{own.name}' "
            "asks about edits; leave it out"
        )


def describe(model: RewardModel | Client) -> dict[str, Any]:
    """What a model's numbers depend on, besides pictures, prompt and seed: for the record of a job.

    Models are named, not placed: no path is in it. Hashing the weights of a large model takes some seconds.
    """
    if isinstance(model, Client):
        return {"model": model.identity()}
    reasoner = model.reasoner
    told: dict[str, Any] = {"samples": model.samples, "redaction": model.redaction, "decide": model.decide}
    if isinstance(reasoner, Reasoner):
        told["model"] = reasoner.vlm.record() | {"dtype": str(next(reasoner.vlm.model.parameters()).dtype)}
    elif isinstance(reasoner, EngineReasoner):
        told["model"] = reasoner.own.model.record()
    if isinstance(reasoner, Reasoner | EngineReasoner):
        told |= {"temperature": reasoner.temperature, "max_new_tokens": reasoner.max_new_tokens}
    told["listeners"] = {name: describe_listener(listener) for name, listener in model.listeners.items()}
    told["checkers"] = {name: describe_checker(checker) for name, checker in model.checkers.items()}
    return told
