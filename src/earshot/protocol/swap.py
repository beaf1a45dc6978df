"""A trace as it would read had its images been shown in the other order."""

import re
from typing import Final

_OTHER: Final = {
    a: b
    for pair in ("first second", "1st 2nd", "1 2", "a b", "one two", "left right", "former latter")
    for a, b in (pair.split(), pair.split()[::-1])
}

_IMAGE: Final = (
    r"(?:images?|pictures?|photos?|photographs?|generations?|outputs?|responses?|options?|candidates?|models?|samples?"
    r"|versions?|choices?|ones?)"
)
_GAP: Final = r"[ \t*_#]{0,4}"
_MARK: Final = r"(?:1|2|(?-i:[AB])|one|two)"

_END: Final = r"(?![\w]|\.\d)"  # "image 1.5" is no reference

_REFERENCE: Final = re.compile(
    rf"""
      (?<![\w-])(?P<list>{_IMAGE}{_GAP}[ ])(?P<p>{_MARK})
        (?P<join>[ ]?(?:and|or|over|vs\.?|versus|,|/|&)[ ]?)(?P<q>{_MARK}){_END}
    | (?<![\w-])(?P<noun>{_IMAGE}{_GAP}[ (\[]?)(?P<mark>{_MARK}){_END}
    | (?<![\w.])(?P<g>(?-i:[AB12]))(?P<relation>[ ]?(?:>{{1,2}}|<{{1,2}}|=|≻)[ ]?)(?P<h>(?-i:[AB12])){_END}
    | (?P<label>\b(?:answer|verdict|choice|winner|preference|decision|boxed)\b[\]>"'*_]{{0,4}}(?:[ ]?(?:is|:|=))?
        [ \t*_"'(\[{{>]{{0,6}})(?P<bare>[12]|(?-i:[AB])){_END}
    | (?<![\w-])(?P<side>left|right)(?=(?:[ -]hand)?[ -](?:side[ ])?{_IMAGE}\b)
    | (?<![\w-])(?P<on>{_IMAGE}[ ](?:on|to|at)[ ]the[ ])(?P<where>left|right)\b
    | (?<![\w-])(?P<latter>former|latter)\b
    | (?<!\ba[ ])(?<!\bat[ ])(?<!\bper[ ])(?<!\bsplit[ ])(?<![\w-])
        (?P<ordinal>first|second|1st|2nd)(?!\w|-\w|[ ]of[ ]all\b)
    """,
    re.VERBOSE | re.IGNORECASE,
)


def swap_references(trace: str) -> str:
    """Rewrite references to the images for the other order: first and second, image 1 and 2, image A and B change.

    Left and right change only where they name an image (`the left image`, `the image on the right`), not a place
    within one; neither do `at first`, `first of all` and `a second`. On ordinary traces, twice is the trace again.
    """
    return _REFERENCE.sub(_swapped, trace)


def _swapped(match: re.Match[str]) -> str:
    groups = match.groupdict()
    parts = {name: text for name, text in groups.items() if text is not None}
    kept = {"list", "join", "noun", "relation", "label", "on"}
    return "".join(text if name in kept else _other(text) for name, text in parts.items())


def _other(word: str) -> str:
    """The other reference, in the same case."""
    other = _OTHER[word.lower()]
    if word.isupper():
        return other.upper()
    return other.capitalize() if word[0].isupper() else other
