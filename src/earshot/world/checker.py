"""The listener that cannot be argued with: checks the claims of a trace against the truth of the world.

Words can be wrong, missing or out of order: what can be read is judged, and the rest is "unchecked".
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from earshot.types import Side
from earshot.world.scene import COLOURS, FAULTS, PLACES, SHAPES, SIZES
from earshot.world.truth import Truth

Status: TypeAlias = Literal["true", "false", "unchecked"]

_ATTRIBUTE_OF = {**dict.fromkeys(SIZES, "size"), **dict.fromkeys(COLOURS, "colour"), **dict.fromkeys(SHAPES, "shape")}
_PUNCTUATION = (",", ".", ":")


class Claim(NamedTuple):
    """One statement of a trace about one image, and whether it holds."""

    image: Side | None
    text: str
    status: Status


def check_trace(trace: str, truth: Truth) -> list[Claim]:
    """Every claim of the trace about the images, each true, false or unchecked.

    Checked are size, colour and shape of the thing at each place, its absence, whether it is what was asked for, and
    the rendering. Conclusions are opinions, and unknown words are not understood: both are unchecked.

    Args:
        trace: Text between the think tags.
        truth: The pair's truth in the order in which the images were shown.
    """
    claims: list[Claim] = []
    image: Side | None = None
    place: str | None = None
    words = trace.split()
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "so":  # a conclusion, up to its full stop: an opinion
            end = next((k for k in range(position, len(words)) if words[k] == "."), len(words))
            claims.append(Claim(None, " ".join(words[position - 1 : end]), "unchecked"))
            position = end
        elif word in ("first", "second"):
            image, place = ("first" if word == "first" else "second"), None
        elif word in PLACES:
            place = word
        elif word == ",":
            place = None
        elif word not in _PUNCTUATION:
            claims.append(Claim(image, f"{place} {word}" if place else word, _status(word, image, place, truth)))
    return claims


def _status(word: str, image: Side | None, place: str | None, truth: Truth) -> Status:
    if image is None:
        return "unchecked"
    picture = truth.first if image == "first" else truth.second
    if word in FAULTS:
        return _judge(picture.fault == word)
    if place is None:
        return "unchecked"
    shown, asked = getattr(picture.scene, place), getattr(truth.wanted, place)
    if word == "nothing":
        return _judge(shown is None)
    if word in ("yes", "no"):
        return _judge((shown == asked) == (word == "yes"))
    if word in _ATTRIBUTE_OF:
        return _judge(shown is not None and getattr(shown, _ATTRIBUTE_OF[word]) == word)
    return "unchecked"


def _judge(holds: bool) -> Status:
    return "true" if holds else "false"
