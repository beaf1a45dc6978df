"""What other judges wrote on GenAI-Bench, parsed strictly: `[[A>B]]`, `[[B>A]]`, `[[A=B=Good]]`, `[[A=B=Bad]]`.

The formats of others' judges belong here; `earshot.protocol` knows our own prompts only. The reference takes the text
from the first `[[` to the last `]]` of a line for the vote, whatever stands in it, and counts it wrong unless it is
one of the known; this parser reads every bracketed verdict and wants them to agree.

Source: TIGER-Lab GenAI-Bench, inference.py, `parse_response`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from earshot.errors import DataError
from earshot.metrics.judged import EITHER_TIE
from earshot.metrics.table import BOTH_BAD, FIRST, NONE, SECOND, TIE
from earshot.types import Malformed

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

HUMAN_VOTES: Mapping[str, int] = {"leftvote": FIRST, "rightvote": SECOND, "tievote": TIE, "bothbad_vote": BOTH_BAD}

_BRACKETED = re.compile(r"\[\[\s*(" + "|".join(map(re.escape, sorted(VERDICTS, key=len, reverse=True))) + r")\s*\]\]")


class Judgement(NamedTuple):
    """A well-formed answer: its code, and the verdict as written."""

    choice: int
    written: str


def parse_judgement(response: str) -> Judgement | Malformed:
    """The verdict in a judge's answer.

    Every `[[...]]` with one of the known verdicts counts, also within other brackets. Several must say the same.
    """
    found = _BRACKETED.findall(response)
    if not found:
        return Malformed("blocked by the provider" if response.startswith("block_reason") else _why_none(response))
    if len({VERDICTS[text] for text in found}) > 1:
        return Malformed("verdicts that differ")
    return Judgement(VERDICTS[found[0]], found[0])


def _why_none(response: str) -> str:
    if not response.strip():
        return "empty"
    return "unknown verdict in brackets" if "[[" in response else "no verdict"


def choice_of(response: object) -> int:
    """The code of a judge's answer; NONE where it is malformed.

    Raises:
        ValueError: The answer is no text.
    """
    if not isinstance(response, str):
        raise ValueError(f"response is {response!r}, expected text")
    parsed = parse_judgement(response)
    return NONE if isinstance(parsed, Malformed) else parsed.choice


def human_vote(vote: object) -> int:
    """The code of a vote.

    Raises:
        ValueError: It is none of the four.
    """
    if not isinstance(vote, str) or vote not in HUMAN_VOTES:
        raise ValueError(f"human_vote is {vote!r}, expected one of {', '.join(HUMAN_VOTES)}")
    return HUMAN_VOTES[vote]


class Differences(NamedTuple):
    """Where this parser and the votes stored beside the answers part."""

    n: int
    unparsed: Counter[str]
    """Answers without a verdict, by reason."""
    differ: Counter[tuple[str, str]]
    """Answers read otherwise than stored, by what each made of them: (stored, ours)."""
    correct_as_stored: int
    correct_as_parsed: int


def compare_with_stored(rows: Iterable[Mapping[str, Any]], *, where: str = "judgements") -> Differences:
    """Read every answer again and compare with its stored `model_vote` and `correct`.

    Raises:
        DataError: A row lacks a field.
    """
    unparsed: Counter[str] = Counter()
    differ: Counter[tuple[str, str]] = Counter()
    n = stored_correct = parsed_correct = 0
    for n, row in enumerate(rows, start=1):
        try:
            parsed, vote = parse_judgement(row["response"]), human_vote(row["human_vote"])
            stored, correct = row["model_vote"], row["correct"]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where}:{n}: {type(error).__name__}: {error}; expected a row of GenAI-Bench") from error
        stored_correct += bool(correct)
        if isinstance(parsed, Malformed):
            unparsed[parsed.reason] += 1
            ours, same = f"none ({parsed.reason})", stored is None
        else:
            ours, same = f"[[{parsed.written}]]", stored == f"[[{parsed.written}]]"
            parsed_correct += parsed.choice == vote or (parsed.choice == EITHER_TIE and vote in (TIE, BOTH_BAD))
        if not same:
            differ[(stored or "none", ours)] += 1
    return Differences(n, unparsed, differ, stored_correct, parsed_correct)
