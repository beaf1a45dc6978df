"""The single claims of a trace in free text: what it says of the first image, and what of the second.

A claim is a sentence, or a part of one, that speaks of one image. A sentence that names neither speaks of the image
that was named last; one that compares both is cut at `while`, `whereas`, `but` and semicolons, and what then still
names both is no claim about an image. What the writer says of itself ("let me look closely") is none either. Names of
images are replaced by `the image`, for the reader sees only one.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from earshot.protocol.places import NOWHERE, Placed, Span
from earshot.types import Side


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement of a trace about one image; two that say the same are equal, wherever they stand.

    Attributes:
        image: The image it is about, as shown.
        text: Its words.
        denied: The trace says that it is not so.
        span: Where its own words stand in the trace.
    """

    image: Side
    text: str
    denied: bool = False
    span: Span = field(default=Span(NOWHERE, NOWHERE), compare=False)


MAX_CLAIMS: Final = 64
"""Of one trace; what follows is not read. A trace of thousands of sentences must not stop a training run."""
MAX_CHARACTERS: Final = 400
"""Of one claim; a longer one is no statement that can be checked, and is left out."""

_NOUN: Final = r"(?:image|picture|photo|photograph|generation|output|response|option|candidate|sample|version|one)"
# "The first model" may be a person in a picture; "model A" is whoever made one.
_MARKED: Final = rf"(?:{_NOUN}|model|video)"
_FIRST: Final = (
    rf"(?:(?:the )?(?:first|1st|left(?:-hand)?) {_NOUN}|{_MARKED} ?[#(\[]?(?:1|one\b|(?-i:A))(?![\w.]\w)[)\]]?"
    r"|the (?:first|former)(?= (?:is|has|shows|depicts|contains|looks|one)\b))"
)
_SECOND: Final = (
    rf"(?:(?:the )?(?:second|2nd|right(?:-hand)?) {_NOUN}|{_MARKED} ?[#(\[]?(?:2|two\b|(?-i:B))(?![\w.]\w)[)\]]?"
    r"|the (?:second|latter)(?= (?:is|has|shows|depicts|contains|looks|one)\b))"
)
_NAMES: Final = re.compile(rf"(?<![\w-])(?:(?P<first>{_FIRST})|(?P<second>{_SECOND}))(?!\w)", re.IGNORECASE)
_BOTH: Final = re.compile(
    r"\b(?:both|two|neither|either|these)\b(?: \w{1,12}){0,2} (?:images|pictures|photos|of them)\b|\bthe other\b"
    r"|\b(?:both|neither)\b(?= (?:are|is|have|has|show|of)\b)",
    re.IGNORECASE,
)
_SENTENCE_END: Final = re.compile(r"\n+|(?<=[.!?])[\"')\]*_]{0,4}\s+|(?<=:)\s*\n")
_CONTRAST: Final = re.compile(r";\s*|,?\s+\b(?:while|whereas|whilst|but|although|though|however)\b,?\s*", re.IGNORECASE)
_MARKUP: Final = re.compile(r"[*_#`|~]{1,6}|^\s*(?:[-•+]|\d{1,2}[.)])\s+", re.MULTILINE)
_HEADING: Final = re.compile(r"^the image\s*[:\-–—]\s*", re.IGNORECASE)
_TALK: Final = re.compile(
    r"(?:(?:so|now|then|first|next|finally|okay|ok|well|hmm+|wait|alright)\b,? ?){0,3}"
    r"(?:I|I['’](?:ll|m|ve|d)|we|we['’](?:ll|re|ve)|let(?:['’]?s| me| us)|you|please|to (?:begin|start|decide))\b",
    re.IGNORECASE,
)
_WORDS: Final = re.compile(r"[^\W\d_]{2,}")


def split_claims(trace: str) -> list[Claim]:
    """The claims of a trace in free text, each once, in order; at most `MAX_CLAIMS`.

    Conclusions are opinions: hand in a trace without them (`redact_trace(trace, "verdict")`).
    """
    found: dict[Claim, None] = {}
    image: Side | None = None
    for sentence in Placed.of(trace).sub(_MARKUP, "").split(_SENTENCE_END):
        pieces = [sentence] if _named(sentence.text) is not None else sentence.split(_CONTRAST)
        for piece in pieces:
            named = _named(piece.text)
            if named is None:
                if _NAMES.search(piece.text) or _BOTH.search(piece.text):
                    image = None if piece is pieces[-1] else image
                    continue
                named = image
            if named is None:
                continue
            image = named
            claim = _claim(piece, named)
            if claim is not None:
                found.setdefault(claim)
        if len(found) >= MAX_CLAIMS:
            break
    return list(found)[:MAX_CLAIMS]


def _named(text: str) -> Side | None:
    """The one image that the text names; None where it names none or both."""
    sides: set[Side] = {"first" if match["first"] else "second" for match in _NAMES.finditer(text)}
    return sides.pop() if len(sides) == 1 and not _BOTH.search(text) else None


def _claim(piece: Placed, image: Side) -> Claim | None:
    """The piece as a statement about `the image`; None where it says nothing, or too much to be one statement."""
    text = " ".join(_HEADING.sub("", " ".join(_NAMES.sub("the image", piece.text).split())).split()).strip(" ,;:-–—")
    bare = text.lower().strip(" .!?")
    if len(text) > MAX_CHARACTERS or _TALK.match(text) or bare == "the image" or len(_WORDS.findall(bare)) < 2:
        return None
    places = piece.stripped().places
    return Claim(image, text, span=Span(places[0], places[-1] + 1))
