"""What other judges wrote on GenAI-Bench, parsed strictly: `[[A>B]]`, `[[B>A]]`, `[[A=B=Good]]`, `[[A=B=Bad]]`.

The formats of others' judges belong here; `earshot.protocol` knows our own prompts only. The reference takes the text
from the first `[[` to the last `]]` of a line for the vote, whatever stands in it, and counts it wrong unless it is
one of the known; this parser reads every bracketed verdict and wants them to agree.

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

_BRACKETED = re.compile(r"\[\[\s*(" + "|".join(map(re.escape, sorted(VERDICTS, key=len, reverse=True))) + r")\s*\]\]")


def choice_of(response: object) -> int:
    """The code of a judge's answer; NONE where it holds no verdict, or verdicts that differ.

    Every `[[...]]` with one of the known verdicts counts, also within other brackets. Several must say the same.

    Raises:
        ValueError: The answer is no text.
    """
    if not isinstance(response, str):
        raise ValueError(f"response is {response!r}, expected text")
    said = {VERDICTS[text] for text in _BRACKETED.findall(response)}
    return said.pop() if len(said) == 1 else NONE
