"""What reasoner and listener are asked, as chat messages, and what a completion looks like."""

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from earshot.errors import ConfigError
from earshot.protocol.claims import Claim, split_claims
from earshot.protocol.defuse import defuse
from earshot.protocol.swap import swap_references
from earshot.types import Side, Verdict

THINK_OPEN: Final = "<think>"
THINK_CLOSE: Final = "</think>"
ANSWER_OPEN: Final = "<answer>"
ANSWER_CLOSE: Final = "</answer>"
TAGS: Final = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)

ANSWER_TEXTS: Final = ("1", "2")
"""What stands between the answer tags for the first and for the second image, in this order."""

_SIDES: Final[tuple[Side, Side]] = ("first", "second")


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The language of one kind of model: how it is asked about a pair, and how its traces are read.

    Reasoner and listener get the same conversation, so that images and prompt are one shared prefix of all the
    completions of a pair; the listener's turn is then opened for it with `listener_prefill`.

    Attributes:
        name: What a configuration calls it.
        question: The text after the two images; `{prompt}` stands where the pair's prompt goes.
        claim: The text after a single image that asks whether `{claim}` is true of it.
        claim_prefill: How the answer to that is begun for the model.
        claim_answers: What then says yes and what says no; each is one token there.
        split: How a trace is cut into claims, which the same kind of model must understand.
        swap: How a trace is turned for the other order of its images.

    Raises:
        ConfigError: `question` does not hold `{prompt}` exactly once, or `claim` not `{claim}`.
    """

    name: str
    question: str
    claim: str = "{claim} ?"
    claim_prefill: str = ""
    claim_answers: tuple[str, str] = (" yes", " no")
    split: Callable[[str], list[Claim]] = split_claims
    swap: Callable[[str], str] = swap_references

    def __post_init__(self) -> None:
        for field, text, place in (("question", self.question, "{prompt}"), ("claim", self.claim, "{claim}")):
            if (n := text.count(place)) != 1:
                raise ConfigError(f"prompt set '{self.name}': {field} holds '{place}' {n} times, expected once")


STANDARD: Final = PromptSet(
    name="standard",
    question=(
        "Two images were made for the same text prompt. The first image is shown first, the second image after "
        "it. Which of the two would people prefer? Consider how well each follows the prompt, how natural and "
        "free of flaws it is, and how good it looks.\n"
        "Prompt: {prompt}\n"
        "First think inside <think></think>: say what each image shows and compare them. Then answer "
        "<answer>1</answer> if the first image is better or <answer>2</answer> if the second image is better, "
        "and write nothing after it."
    ),
    # One image, one statement, yes or no: VQAScore asks like this (Lin et al. 2024, arXiv 2404.01291).
    claim=(
        "Look at this image and decide whether the statement below is true of it. Go by what you see, not by how "
        "the statement is put.\nStatement:\n{claim}\nAnswer Yes if it is true and No if it is not."
    ),
    claim_prefill="Answer:",
    claim_answers=(" Yes", " No"),
)
"""Asks real vision-language models; traces are free text."""

_REGISTERED: Final = {STANDARD.name: STANDARD}
# Rooms that register a prompt set when they are imported, which happens when it is first asked for.
_REGISTERED_IN: Final = {"brief": "earshot.world.brief"}


def register(prompts: PromptSet) -> PromptSet:
    """Makes a prompt set known by its name, and gives it back."""
    _REGISTERED[prompts.name] = prompts
    return prompts


def prompt_set(name: str) -> PromptSet:
    """The prompt set of a name.

    Raises:
        ConfigError: There is none.
    """
    if name not in _REGISTERED and name in _REGISTERED_IN:
        importlib.import_module(_REGISTERED_IN[name])
    if name not in _REGISTERED:
        raise ConfigError(f"prompts {name!r}, expected one of {', '.join(sorted({*_REGISTERED, *_REGISTERED_IN}))}")
    return _REGISTERED[name]


def reasoner_messages(
    prompt: str,
    prompts: PromptSet,
    first: Any = None,
    second: Any = None,
    *,
    control_tokens: Collection[str] = (),
) -> list[dict[str, Any]]:
    """The conversation that asks about one pair, in the Hugging Face chat form; the listener gets it too.

    Args:
        prompt: What the images were made from. The protocol's own tags and `control_tokens` in it are defused.
        prompts: How to ask.
        first: The image shown first, as the caller's processor takes it; None leaves a bare placeholder.
        second: The image shown second.
        control_tokens: The tokenizer's special tokens, as text.
    """
    images = [{"type": "image"} if image is None else {"type": "image", "image": image} for image in (first, second)]
    question = prompts.question.replace("{prompt}", defuse(prompt, {*TAGS, *control_tokens}))
    return [{"role": "user", "content": [*images, {"type": "text", "text": question}]}]


def claim_messages(claim: str, prompts: PromptSet, *, control_tokens: Collection[str] = ()) -> list[dict[str, Any]]:
    """The conversation that asks whether a claim is true of one image, which stands before the words.

    Args:
        claim: What a trace says of the image. Tags and `control_tokens` in it are defused.
        prompts: How to ask.
        control_tokens: The tokenizer's special tokens, as text.
    """
    question = prompts.claim.replace("{claim}", defuse(claim, {*TAGS, *control_tokens}))
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def listener_prefill(trace: str | None, *, control_tokens: Collection[str] = ()) -> str:
    """How the listener's turn begins, so that its next token must be one of `ANSWER_TEXTS`.

    No trace and an empty trace read the same, `<think></think><answer>`: the prior correction then takes from an
    empty trace exactly what it adds, and the listener is asked in the one form it knows.

    Args:
        trace: The redacted trace. Tags and `control_tokens` in it are defused: a trace cannot close its own block.
        control_tokens: The tokenizer's special tokens, as text.
    """
    safe = defuse(trace or "", {*TAGS, *control_tokens}).strip()
    inside = f" {safe} " if safe else ""
    return f"{THINK_OPEN}{inside}{THINK_CLOSE}{ANSWER_OPEN}"


def write_completion(verdict: Verdict) -> str:
    """The completion that parses to `verdict`: `<think> trace </think><answer>1</answer>`. SFT targets are these."""
    answer = ANSWER_TEXTS[_SIDES.index(verdict.side)]
    return f"{listener_prefill(verdict.trace)}{answer}{ANSWER_CLOSE}"
