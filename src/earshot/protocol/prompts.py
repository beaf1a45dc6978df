"""What reasoner and listener are asked, as chat messages, and what a completion looks like, in the words of a set."""

import re
from collections.abc import Collection
from typing import Any

from earshot.protocol.defuse import defuse
from earshot.protocol.prompt_sets import FIRST_IMAGE, ORIGINAL_IMAGE, SECOND_IMAGE, PromptSet, prompt_set
from earshot.types import Verdict


def reasoner_messages(
    prompt: str, prompts: PromptSet, *images: Any, control_tokens: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The conversation that asks about one pair, in the Hugging Face chat form; the listener gets it too.

    Args:
        prompt: What the images were made from, or how the original was to be edited. The set's own tags and
            `control_tokens` in it are defused.
        prompts: How to ask.
        images: Those of the pair (`Pair.images`), as the caller's processor takes them; none leave bare placeholders.
        control_tokens: The tokenizer's special tokens, as text.
    """
    safe = defuse(prompt, {*prompts.tags, *control_tokens})
    question = prompts.question
    if FIRST_IMAGE not in question:
        question = f"{FIRST_IMAGE}{SECOND_IMAGE}{question}"
    places = (ORIGINAL_IMAGE, FIRST_IMAGE, SECOND_IMAGE)
    shown = dict(zip(places if prompts.edits else places[1:], images, strict=True)) if images else {}
    content: list[dict[str, Any]] = []
    for part in re.split(f"({'|'.join(map(re.escape, places))})", question):
        if part not in places:
            content += [{"type": "text", "text": part.replace("{prompt}", safe)}] if part else []
        elif part in shown:
            content.append({"type": "image", "image": shown[part]})
        else:
            content.append({"type": "image"})
    system = [] if prompts.system is None else [{"type": "text", "text": prompts.system}]
    return [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": content}]


def claim_messages(claim: str, prompts: PromptSet, *, control_tokens: Collection[str] = ()) -> list[dict[str, Any]]:
    """The conversation that asks whether a claim is true of one image, which stands before the words.

    Args:
        claim: What a trace says of the image. Tags and `control_tokens` in it are defused.
        prompts: How to ask.
        control_tokens: The tokenizer's special tokens, as text.
    """
    question = prompts.claims.question.replace("{claim}", defuse(claim, {*prompts.tags, *control_tokens}))
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def listener_prefill(
    trace: str | None, prompts: PromptSet | None = None, *, control_tokens: Collection[str] = ()
) -> str:
    """How the listener's turn begins, so that an answer must follow.

    No trace and an empty trace read the same, such as `<think></think><answer>`: the prior correction then takes from
    an empty trace exactly what it adds, and the listener is asked in the one form it knows.

    Args:
        trace: The redacted trace. Tags and `control_tokens` in it are defused: a trace cannot close its own block.
        prompts: How its model is asked; None is the standard form.
        control_tokens: The tokenizer's special tokens, as text.
    """
    prompts = prompts or prompt_set("standard")
    safe = defuse(trace or "", {*prompts.tags, *control_tokens}).strip()
    if prompts.think is None:
        return f"{safe}{prompts.answer.open}"
    opened, closed = prompts.think.open, prompts.think.close
    block = f"{opened}{safe}{closed}" if safe else f"{opened.strip()}{closed.lstrip()}"
    return f"{block}{prompts.answer.open}"


def write_completion(verdict: Verdict, prompts: PromptSet | None = None) -> str:
    """The completion that parses to `verdict`, in the standard form `<think> trace </think><answer>1</answer>`."""
    prompts = prompts or prompt_set("standard")
    answer = prompts.answer
    return f"{listener_prefill(verdict.trace, prompts)}{answer.of(verdict.side)}{answer.close}"


def reopened(text: str, prompts: PromptSet) -> str:
    """A completion as a server or another trainer gives it, with the tag that a chat template has opened for the model.

    Args:
        text: What the model wrote after its prompt, which is not at hand.
        prompts: How it was asked.
    """
    think = prompts.think
    if think is None or think.opened_by == "model" or text.lstrip().startswith(think.open.strip()):
        return text
    told = think.close.strip() in text and think.open.strip() not in text
    return think.open.strip() + text if think.opened_by == "template" or told else text
