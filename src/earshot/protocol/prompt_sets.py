"""Prompt sets: how one kind of model is asked about a pair, what it then writes, and how its traces are read; as data.

A set is a YAML file (docs/prompts.md). Those in `sets/` ship with Earshot and are known by name; a trained folder
carries its own, whole.
"""

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from earshot.config import Config, build_config, load_config
from earshot.errors import ConfigError, InputError
from earshot.protocol.claims import Claim, split_claims
from earshot.protocol.swap import swap_references
from earshot.types import Pair, Side

_SETS: Final = Path(__file__).parent / "sets"

ORIGINAL_IMAGE: Final = "{original}"
FIRST_IMAGE: Final = "{first}"
SECOND_IMAGE: Final = "{second}"

# A number is what stands in YAML where an answer is `1`.
Text = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


def _once(text: str, place: str, field: str) -> None:
    if (n := text.count(place)) != 1:
        raise ValueError(f"{field} holds '{place}' {n} times, expected once")


class Think(Config):
    """The block that holds a trace. White space beside the tags is written, and need not be read."""

    open: str = "<think> "
    close: str = " </think>"
    opened_by: Literal["auto", "template", "model"] = "auto"
    """Who writes the opening tag: the model, or the chat template before the model's turn begins. `auto` looks at a
    prompt that ends with it; a server's template cannot be looked at, so there a completion that closes the block
    without opening it tells."""


class Answer(Config):
    """The block that holds the verdict, after the trace."""

    open: str = "<answer>"
    close: str = "</answer>"
    first: Text = "1"
    """What stands in it where the first image is better; letters count as equal whatever their case."""
    second: Text = "2"
    ends: bool = True
    """Whether nothing may follow it. Where something may, such as the end of a JSON object, it is not read."""

    @property
    def texts(self) -> tuple[str, str]:
        """The answer for the first image and that for the second."""
        return self.first, self.second

    def of(self, side: Side) -> str:
        """The answer that names a side."""
        return self.first if side == "first" else self.second


class ClaimWords(Config):
    """How a model is asked whether a statement is true of one image, which stands before the words."""

    question: str = "{claim} ?"
    """`{claim}` stands where the statement goes."""
    prefill: str = ""
    """How the answer is begun for the model."""
    yes: str = " yes"
    """What then says so; it and `no` differ in their first token."""
    no: str = " no"

    @model_validator(mode="after")
    def _has_a_place(self) -> "ClaimWords":
        _once(self.question, "{claim}", "claims.question")
        return self


class TraceLanguage(NamedTuple):
    """How traces of one language are read."""

    split: Callable[[str], list[Claim]]
    """Cuts a trace into claims."""
    swap: Callable[[str], str]
    """Turns a trace for the other order of its images."""


_LANGUAGES: Final = {"text": TraceLanguage(split_claims, swap_references)}
# Rooms that register a language when they are imported, which happens when it is first asked for.
_REGISTERED_IN: Final = {"world": "earshot.world.brief"}


def register_language(name: str, language: TraceLanguage) -> None:
    """Makes a language of traces known by its name."""
    _LANGUAGES[name] = language


class PromptSet(Config):
    """How a kind of model is asked, and what its completions look like.

    Reasoner and listener get the same conversation, so that images and prompt are one shared prefix of all the
    completions of a pair; the listener's turn is then opened for it (`prompts.listener_prefill`).
    """

    name: str
    """What results and messages call it."""
    source: str | None = None
    """Where the form was published, for a set that asks somebody else's model."""
    system: str | None = None
    """The text of a system turn before the question."""
    template: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Options of the chat template, such as `enable_thinking: true`."""
    question: str
    """`{prompt}` stands where the pair's prompt goes. The images come before the words, or where `{first}` and
    `{second}` stand. A set that asks about edits has `{original}` before these."""
    think: Think | None = Think()
    """None where a model writes its reasons without tags: a trace is then all that stands before the answer."""
    answer: Answer = Answer()
    claims: ClaimWords = ClaimWords()
    traces: str = "text"
    """The language that traces are written in: `text`, or `world` for the synthetic world's."""

    @model_validator(mode="after")
    def _can_be_read(self) -> "PromptSet":
        _once(self.question, "{prompt}", "question")
        images = (ORIGINAL_IMAGE, FIRST_IMAGE, SECOND_IMAGE)
        found = [place for place in images if place in self.question]
        if found not in ([], [*images[1:]], [*images]) or found != sorted(found, key=self.question.find):
            raise ValueError(
                "question: expected '{first}' and after it '{second}', or neither, or both after '{original}'"
            )
        for place in found:
            _once(self.question, place, "question")
        blocks = {"answer.open": self.answer.open, "answer.close": self.answer.close}
        if self.think is not None:
            blocks |= {"think.open": self.think.open, "think.close": self.think.close}
        for key, tag in blocks.items():
            if len(tag.strip()) < (1 if key == "answer.close" and not self.answer.ends else 2):
                raise ValueError(f"{key} is {tag!r}, expected a tag of two characters or more")
        for (one, tag), (other, longer) in permutations(blocks.items(), 2):
            if tag.strip() in longer and (one != "answer.close" or self.answer.ends):
                raise ValueError(f"{one} {tag!r} stands in {other} {longer!r}, expected tags that can be told apart")
        texts = [text.strip().casefold() for text in self.answer.texts]
        if not all(texts) or texts[0] == texts[1]:
            raise ValueError(f"answer.first {texts[0]!r} and answer.second {texts[1]!r}, expected two that differ")
        for text in self.answer.texts:
            if any(tag.strip() in text for tag in blocks.values()):
                raise ValueError(f"the answer {text!r} holds a tag, expected one that can be told from its block")
        return self

    @property
    def tags(self) -> frozenset[str]:
        """The tags of a completion that no text of a user or a trace may hold, without white space beside them."""
        tags = [self.answer.open, self.answer.close]
        if self.think is not None:
            tags += [self.think.open, self.think.close]
        return frozenset(tag.strip() for tag in tags if len(tag.strip()) > 1)

    @property
    def edits(self) -> bool:
        """Whether it asks about two results of an edit, with the original before them."""
        return ORIGINAL_IMAGE in self.question

    def check_pair(self, pair: Pair) -> None:
        """Lets a pair pass that it can ask about, with all its images.

        Raises:
            InputError: The pair has an original, and the set does not ask about edits; or the other way round.
        """
        if self.edits != (pair.original is not None):
            asks = "edits" if self.edits else "two images of a prompt"
            has = "no original image" if self.edits else "an original image, which it would not see"
            raise InputError(
                f"prompt set '{self.name}' asks about {asks}, and pair '{pair.id}' has {has}; ask a model of the other "
                "kind, or in another set (--prompts)"
            )

    @property
    def trace_end(self) -> str:
        """What a completion holds where its trace has ended."""
        return (self.answer.open if self.think is None else self.think.close).strip()

    @property
    def language(self) -> TraceLanguage:
        """How its traces are read.

        Raises:
            ConfigError: The language is unknown.
        """
        if self.traces not in _LANGUAGES and self.traces in _REGISTERED_IN:
            importlib.import_module(_REGISTERED_IN[self.traces])
        if self.traces not in _LANGUAGES:
            known = ", ".join(sorted({*_LANGUAGES, *_REGISTERED_IN}))
            raise ConfigError(f"prompt set '{self.name}': traces is {self.traces!r}, expected one of {known}")
        return _LANGUAGES[self.traces]

    @property
    def fingerprint(self) -> str:
        """Its name and a hash of all that it says, for the record of what was asked."""
        said = json.dumps(self.model_dump(exclude={"name", "source"}), sort_keys=True)
        return f"{self.name} {hashlib.sha256(said.encode()).hexdigest()[:12]}"


def shipped_sets() -> list[str]:
    """The names of the sets that ship with Earshot."""
    return sorted(file.stem for file in _SETS.glob("*.yaml"))


@lru_cache(maxsize=64)
def _shipped(name: str) -> PromptSet:
    return load_config(PromptSet, _SETS / f"{name}.yaml")


def prompt_set(named: str | Path | Mapping[str, Any] | PromptSet) -> PromptSet:
    """A prompt set.

    Args:
        named: The name of one that ships with Earshot, the path of a YAML file, what a model's folder holds, or a set.

    Raises:
        ConfigError: There is none, or it is not as it must be.
    """
    if isinstance(named, PromptSet):
        return named
    if isinstance(named, Mapping):
        found = build_config(PromptSet, dict(named), "prompts")
    elif str(named) in shipped_sets():
        found = _shipped(str(named))
    elif Path(named).is_file():
        found = load_config(PromptSet, named)
    else:
        raise ConfigError(f"prompts '{named}': no such file, expected one or a name: {', '.join(shipped_sets())}")
    _ = found.language  # an unknown one is told now
    return found
