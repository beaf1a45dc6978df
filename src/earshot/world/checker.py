"""The listener that cannot be argued with: checks the claims of a trace against the truth of the world.

Words can be wrong, missing or out of order: what can be read is judged, and the rest is "unchecked".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from earshot.types import Side
from earshot.world.scene import COLOURS, FAULTS, PLACES, SHAPES, SIZES, Thing
from earshot.world.truth import Truth

Status: TypeAlias = Literal["true", "false", "unchecked"]

_ATTRIBUTE_OF = {**dict.fromkeys(SIZES, "size"), **dict.fromkeys(COLOURS, "colour"), **dict.fromkeys(SHAPES, "shape")}


class Claim(NamedTuple):
    """One statement of a trace about one image, and whether it holds."""

    image: Side | None
    text: str
    status: Status


def check_trace(trace: str, truth: Truth) -> list[Claim]:
    """Every claim of the trace about the images, each true, false or unchecked.

    Checked are: that a named thing is (`yes`) or is not (`no`) at a place; size, colour and shape of what a place is
    said to hold, or that it holds nothing; and the rendering. Conclusions are opinions, and unknown words are not
    understood: both are unchecked.

    Args:
        trace: Text between the think tags.
        truth: The pair's truth in the order in which the images were shown.
    """
    claims: list[Claim] = []
    image: Side | None = None
    for segment in _segments(trace.split()):
        if segment[0] == "so":
            claims.append(Claim(None, " ".join(segment), "unchecked"))
            continue
        if segment[0] in ("first", "second"):
            image = "first" if segment[0] == "first" else "second"
            segment = segment[1:]
        if segment:
            claims.extend(_check_segment(segment, image, truth))
    return claims


def _segments(words: list[str]) -> Iterator[list[str]]:
    """The words between commas and full stops; an image's name begins a segment of its own where it is not first."""
    segment: list[str] = []
    for word in words:
        if word in (",", ".") or (word in ("first", "second") and segment[:1] != ["so"]):
            if segment:
                yield segment
            segment = [word] if word in ("first", "second") else []
        elif word != ":":
            segment.append(word)
    if segment:
        yield segment


def _check_segment(words: list[str], image: Side | None, truth: Truth) -> Iterator[Claim]:
    if image is None:
        yield Claim(None, " ".join(words), "unchecked")
        return
    picture = truth.first if image == "first" else truth.second
    if words[0] not in PLACES:
        for word in words:
            yield Claim(image, word, _judge(picture.fault == word) if word in FAULTS else "unchecked")
        return
    place, rest = words[0], words[1:]
    shown: Thing | None = getattr(picture.scene, place)
    flag = next((k for k, word in enumerate(rest) if word in ("yes", "no")), None)
    if flag is not None:  # what stands before it names a thing; the claim is that it is there, or is not
        named = _thing(rest[:flag])
        agrees = rest[flag] == "yes"
        status = "unchecked" if named is None else _judge((shown == named) == agrees)
        yield Claim(image, " ".join(words[: flag + 2]), status)
        rest = rest[flag + 1 :]
    for word in rest:
        if word != "but":
            yield Claim(image, f"{place} {word}", _status(word, shown))


def _thing(words: list[str]) -> Thing | None:
    """The thing that the words name, or None where they are not a size, a colour and a shape."""
    kinds = [_ATTRIBUTE_OF.get(word) for word in words]
    return Thing(*words) if kinds == ["size", "colour", "shape"] else None


def _status(word: str, shown: Thing | None) -> Status:
    if word == "nothing":
        return _judge(shown is None)
    if word in _ATTRIBUTE_OF:
        return _judge(shown is not None and getattr(shown, _ATTRIBUTE_OF[word]) == word)
    return "unchecked"


def _judge(holds: bool) -> Status:
    return "true" if holds else "false"
