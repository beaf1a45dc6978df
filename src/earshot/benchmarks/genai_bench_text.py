"""What other judges wrote on GenAI-Bench, read as its publisher reads it: `[[A>B]]`, `[[B>A]]`, `[[A=B=Good]]`, ….

The formats of others' judges belong here; `earshot.protocol` knows our own prompts only.

Source: TIGER-Lab GenAI-Bench, inference.py, `parse_response`.
"""

import re
from collections.abc import Mapping

from earshot.benchmarks.answers import EITHER_TIE
from earshot.predictions.table import BOTH_BAD, FIRST, NONE, SECOND, TIE

VERDICTS: Mapping[str, int] = {
    "A>B": FIRST,
    "A>>B": FIRST,
    "B>A": SECOND,
    "B>>A": SECOND,
    "A=B=Good": TIE,
    "A=B=Bad": BOTH_BAD,
    "A=B": EITHER_TIE,
}
"""What a judge may write between the double brackets; A is the left image."""

_VOTE = re.compile(r"\[\[(.*)\]\]")
_BRACKETED = re.compile(r"\[\[\s*(" + "|".join(map(re.escape, sorted(VERDICTS, key=len, reverse=True))) + r")\s*\]\]")


def choice_of(response: object) -> int:
    """The code of a judge's answer; NONE where it holds no verdict.

    The vote is what stands from the first `[[` to the last `]]` of the first line that has both, and is none where that
    is not one of the known: several verdicts on one line are none, and of several lines the first counts.

    Raises:
        ValueError: The answer is no text.
    """
    found = _VOTE.search(_text(response))
    return NONE if found is None else VERDICTS.get(found[1], NONE)


def agreed_choice(response: object) -> int:
    """The code of what a judge says wherever its text says it; NONE where it says nothing, or several things.

    Every `[[...]]` with one of the known verdicts counts, also within other brackets: a text is only somebody's reasons
    for a verdict where it has one.

    Raises:
        ValueError: The answer is no text.
    """
    said = {VERDICTS[text] for text in _BRACKETED.findall(_text(response))}
    return said.pop() if len(said) == 1 else NONE


def _text(response: object) -> str:
    if not isinstance(response, str):
        raise ValueError(f"response is {response!r}, expected text")
    return response
