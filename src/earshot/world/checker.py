"""The listener that cannot be argued with: checks the claims of a trace against the truth of the world.

Words can be wrong, missing or out of order: what can be read is judged, and the rest is "unchecked". A claim that is
made twice counts twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from earshot.types import Side, other
from earshot.world.language import describe_thing
from earshot.world.scene import COLOURS, FAULTS, PLACES, SHAPES, SIZES, Picture, Thing
from earshot.world.truth import Truth

Status: TypeAlias = Literal["true", "false", "unchecked"]

_ATTRIBUTE_OF = {**dict.fromkeys(SIZES, "size"), **dict.fromkeys(COLOURS, "colour"), **dict.fromkeys(SHAPES, "shape")}
_IMAGES: dict[str, Side] = {"first": "first", "second": "second"}
# Models with other tokenizers write `First: left large red circle yes, right ...`.
_WORD = re.compile(r"[^\s,.:]+|[,.]")


class Word(NamedTuple):
    """A word in small letters, and where it stands."""

    text: str
    start: int
    end: int


class Claim(NamedTuple):
    """One statement of a trace, and whether it holds.

    Attributes:
        image: The image it is about, as shown; None for a conclusion and for what precedes the name of any image.
        text: Its words, the place first where it has one, e.g. `left red`.
        status: `unchecked` is neither right nor wrong: an opinion, or words that the checker does not understand.
    """

    image: Side | None
    text: str
    status: Status


def check_trace(trace: str, truth: Truth) -> list[Claim]:
    """Every claim of the trace about the images, each true, false or unchecked.

    Checked are: that a named thing, or nothing, is (`yes`) or is not (`no`) at a place; size, colour and shape of what
    a place is said to hold, or that it holds nothing; and the rendering. Conclusions are opinions, and unknown words
    are not understood: both are unchecked.

    Args:
        trace: Text between the think tags.
        truth: The pair's truth in the order in which the images were shown.
    """
    return [claim for claim, _ in claims_in(trace, truth)]


def claims_in(trace: str, truth: Truth) -> Iterator[tuple[Claim, list[Word]]]:
    """`check_trace`, with the words of the trace that are each claim's own: a place is its first claim's."""
    image: Side | None = None
    for segment in _segments([Word(m.group().lower(), *m.span()) for m in _WORD.finditer(trace)]):
        if segment[0].text == "so":
            yield Claim(None, _joined(segment), "unchecked"), segment
            continue
        if segment[0].text in _IMAGES:
            image = _IMAGES[segment.pop(0).text]
        if segment:
            yield from _check_segment(segment, image, truth)


def favoured_sides(trace: str, truth: Truth) -> list[Side]:
    """For every false claim that puts one image in a better light than the other, the image it favours, as shown.

    These are claims that something is there which was named (favours its image) or is not (favours the other), and that
    an image is cleanly rendered (its own) or has a fault where it has none (the other). What else is false, such as
    the colour of what is there instead, favours neither.
    """
    sides: list[Side] = []
    for claim in check_trace(trace, truth):
        if claim.image is None or claim.status != "false":
            continue
        picture = truth.first if claim.image == "first" else truth.second
        word = claim.text.split()[-1]
        if word in ("yes", "clean"):
            sides.append(claim.image)
        elif word == "no" or (word in FAULTS and picture.fault == "clean"):
            sides.append(other(claim.image))
    return sides


def _joined(words: list[Word]) -> str:
    return " ".join(word.text for word in words)


def _segments(words: list[Word]) -> Iterator[list[Word]]:
    """The words between commas and full stops; a conclusion, and outside of it the name of an image, begin anew."""
    segment: list[Word] = []
    for word in words:
        begins = word.text == "so" or (word.text in _IMAGES and not (segment and segment[0].text == "so"))
        if begins or word.text in (",", "."):
            if segment:
                yield segment
            segment = [word] if begins else []
        else:
            segment.append(word)
    if segment:
        yield segment


def _check_segment(words: list[Word], image: Side | None, truth: Truth) -> Iterator[tuple[Claim, list[Word]]]:
    if image is None:
        yield Claim(None, _joined(words), "unchecked"), words
        return
    picture = truth.first if image == "first" else truth.second
    place = words[0].text if words[0].text in PLACES else None
    own, rest = ([], words) if place is None else (words[:1], words[1:])
    flag = next((k for k, word in enumerate(rest) if word.text in ("yes", "no")), None)
    if place is not None and flag is not None:
        named, said_yes = [word.text for word in rest[:flag]], rest[flag].text == "yes"
        yield Claim(image, _joined(words[: flag + 2]), _matches(named, said_yes, picture, place)), words[: flag + 2]
        own, rest = [], rest[flag + 1 :]
    for word in rest:
        if word.text != "but":
            said = f"{place} {word.text}" if place else word.text
            yield Claim(image, said, _status(word.text, picture, place)), [*own, word]
            own = []


def _matches(named: list[str], said_yes: bool, picture: Picture, place: str) -> Status:
    """Whether the thing that was named is at the place, as the trace says, or is not, as it says."""
    if named != ["nothing"] and [_ATTRIBUTE_OF.get(word) for word in named] != ["size", "colour", "shape"]:
        return "unchecked"
    return _judge((describe_thing(getattr(picture.scene, place)) == " ".join(named)) == said_yes)


def _status(word: str, picture: Picture, place: str | None) -> Status:
    if word in FAULTS:
        return _judge(picture.fault == word)
    if place is None:
        return "unchecked"
    shown: Thing | None = getattr(picture.scene, place)
    if word == "nothing":
        return _judge(shown is None)
    if word in _ATTRIBUTE_OF:
        return _judge(shown is not None and getattr(shown, _ATTRIBUTE_OF[word]) == word)
    return "unchecked"


def _judge(holds: bool) -> Status:
    return "true" if holds else "false"
