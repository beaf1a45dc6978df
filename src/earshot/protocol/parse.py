"""What a completion says: a verdict, or the name of what is wrong with it."""

from typing import Final

from earshot.protocol.prompts import ANSWER_CLOSE, ANSWER_OPEN, ANSWER_TEXTS, THINK_CLOSE, THINK_OPEN
from earshot.types import Malformed, Side, Verdict

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
    "answer is not 1 or 2",
)
"""Every reason `parse_completion` gives. Logs and metrics count by these names, so they stay."""

_SIDES: Final[dict[str, Side]] = dict(zip(ANSWER_TEXTS, ("first", "second"), strict=True))


def parse_completion(text: str) -> Verdict | Malformed:
    """Read a completion strictly: one think block, then one answer block that holds 1 or 2, and nothing else.

    White space around the blocks, and around what they hold, is allowed. The work is linear in the length of `text`.

    Returns:
        The verdict with its trace (white space around it removed, possibly empty), or the first of `MALFORMATIONS`
        that applies.
    """
    text = text.strip()
    fault = _think_fault(text) or _answer_fault(text)
    if fault is not None:
        return Malformed(fault)
    think_end, answer_start, answer_end = (text.index(tag) for tag in (THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE))
    if answer_start < think_end:
        return Malformed("answer inside think")
    if answer_end < answer_start:
        return Malformed("tags out of order")
    if text[think_end + len(THINK_CLOSE) : answer_start].strip():
        return Malformed("text between blocks")
    if text[answer_end + len(ANSWER_CLOSE) :]:
        return Malformed("text after answer")
    side = _SIDES.get(text[answer_start + len(ANSWER_OPEN) : answer_end].strip())
    if side is None:
        return Malformed("answer is not 1 or 2")
    return Verdict(side, text[len(THINK_OPEN) : think_end].strip())


def _think_fault(text: str) -> str | None:
    """What is wrong with the think tags, were there no others."""
    opened, closed = text.count(THINK_OPEN), text.count(THINK_CLOSE)
    if opened == 0:
        return "no think block"
    if opened > 1 or closed > 1:
        return "two think blocks"
    if closed == 0:
        return "unclosed think"
    return None if text.startswith(THINK_OPEN) else "text before think"


def _answer_fault(text: str) -> str | None:
    """What is wrong with the number of answer tags."""
    opened, closed = text.count(ANSWER_OPEN), text.count(ANSWER_CLOSE)
    if opened == 0:
        return "no answer"
    if opened > 1 or closed > 1:
        return "two answers"
    return "unclosed answer" if closed == 0 else None
