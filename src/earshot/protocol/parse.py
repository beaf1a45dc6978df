"""What a completion says: a verdict, or the name of what is wrong with it."""

import re
from functools import lru_cache
from typing import Final

from earshot.protocol.places import Span
from earshot.protocol.prompt_sets import Answer, PromptSet, Think, prompt_set
from earshot.types import Malformed, Verdict

MALFORMATIONS: Final = (
    "no think block",
    "two think blocks",
    "unclosed think",
    "text before think",
    "no answer",
    "two answers",
    "unclosed answer",
    "answer inside think",
    "tags out of order",
    "text between blocks",
    "text after answer",
    "answer is neither of the two",
)
"""Every reason `parse_completion` gives. Logs and metrics count by these names, so they stay."""


def parse_completion(text: str, prompts: PromptSet | None = None) -> Verdict | Malformed:
    """Read a completion strictly: one think block, then one answer block that holds an answer, and nothing else.

    White space around the blocks, and around what they hold, is allowed. The work is linear in the length of `text`.

    Args:
        text: All that the model wrote, and what its template had opened for it.
        prompts: How it was asked, which says what the blocks look like; None is the standard form.

    Returns:
        The verdict with its trace (white space around it removed, possibly empty), or the first of `MALFORMATIONS`
        that applies.
    """
    prompts = prompts or prompt_set("standard")
    text, answer = text.strip(), prompts.answer
    if fault := _think_fault(text, prompts.think) or _answer_fault(text, answer):
        return Malformed(fault)
    opened = _first(answer.open, text)
    closed = _first(answer.close, text, 0 if answer.ends else opened[1])
    think_end = opened[0]
    if prompts.think is not None:
        think_close, think_end = _first(prompts.think.close, text)
        if opened[0] < think_close:
            return Malformed("answer inside think")
    if closed[0] < opened[1]:
        return Malformed("tags out of order")
    if text[think_end : opened[0]].strip():
        return Malformed("text between blocks")
    if answer.ends and text[closed[1] :]:
        return Malformed("text after answer")
    said = text[opened[1] : closed[0]].strip().casefold()
    for side in ("first", "second"):
        if said == answer.of(side).strip().casefold():
            trace = trace_span(text, prompts)
            return Verdict(side, text[trace.start : trace.end])
    return Malformed("answer is neither of the two")


def trace_span(text: str, prompts: PromptSet) -> Span:
    """Where in a well-formed completion its trace stands, as `parse_completion` reads it."""
    # Without tags of its own, a trace is what stands before the answer.
    start, end = 0, _first(prompts.answer.open, text)[0]
    if prompts.think is not None:
        start, end = _first(prompts.think.open, text)[1], _first(prompts.think.close, text)[0]
    trace = text[start:end]
    start += len(trace) - len(trace.lstrip())
    return Span(start, start + len(trace.strip()))


def _think_fault(text: str, think: Think | None) -> str | None:
    """What is wrong with the think tags, were there no others."""
    if think is None:
        return None
    opened, closed = _count(think.open, text), _count(think.close, text)
    if opened == 0:
        return "no think block"
    if opened > 1 or closed > 1:
        return "two think blocks"
    if closed == 0:
        return "unclosed think"
    return None if _first(think.open, text)[0] == 0 else "text before think"


def _answer_fault(text: str, answer: Answer) -> str | None:
    """What is wrong with the number of answer tags."""
    opened = _count(answer.open, text)
    if opened == 0:
        return "no answer"
    # Where an answer need not be the end, what closes it may be a mere quotation mark.
    closed = _count(answer.close, text if answer.ends else text[_first(answer.open, text)[1] :])
    if opened > 1 or (answer.ends and closed > 1):
        return "two answers"
    return "unclosed answer" if closed == 0 else None


@lru_cache(maxsize=256)
def _tag(tag: str) -> re.Pattern[str]:
    """A tag as it may be read: white space beside it is free, and inside it may be more or less than was asked for."""
    return re.compile(r"\s{0,16}".join(map(re.escape, tag.split())))


def _count(tag: str, text: str) -> int:
    return len(_tag(tag).findall(text))


def _first(tag: str, text: str, start: int = 0) -> tuple[int, int]:
    """Where the first such tag from a place on begins and ends; there is one."""
    found = _tag(tag).search(text, start)
    assert found is not None, tag
    return found.span()
