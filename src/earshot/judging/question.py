"""A question about two pictures, or two edits of one, and its fingerprint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from earshot.errors import InputError
from earshot.judging.pictures import Picture
from earshot.types import Pair, Votes

_NO_VOTES = Votes(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Question:
    """Which of two pictures people prefer for a prompt, checked and decoded.

    The two pictures are kept in the order of their digests, so that asking about (a, b) and about (b, a) is one
    question: the answers are the same but for the sides' names, to the last bit.
    """

    pair: Pair
    """In the order of the digests. Its id is a hash of prompt, pixels (an original's too) and seed, from which the
    reasoner's random numbers follow: questions with different seeds may be judged together."""
    turned: bool
    """Whether the caller's first picture is the pair's second."""
    seed: int
    same_picture: bool = False
    """Whether both pictures are one, of which there is nothing to ask."""

    @classmethod
    def of(cls, prompt: str, first: Picture, second: Picture, seed: int, original: Picture | None = None) -> Question:
        """Raises:
        InputError: The prompt is no text, or blank, or the seed no number of at least 0.
        """
        check_seed(seed)
        turned = first.digest > second.digest
        one, two = (second, first) if turned else (first, second)
        edited = () if original is None else (original.digest,)
        key = "\0".join([check_prompt(prompt), one.digest, two.digest, str(seed), *edited])
        pair = Pair(
            hashlib.sha256(key.encode()).hexdigest()[:32],
            prompt,
            one.image,
            two.image,
            _NO_VOTES,
            original=None if original is None else original.image,
        )
        return cls(pair, turned, seed, one.digest == two.digest)


def check_prompt(prompt: object) -> str:
    """The prompt, if it is text that a file can hold.

    Raises:
        InputError: It is not.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        found = "blank" if isinstance(prompt, str) else f"of type {type(prompt).__name__}"
        raise InputError(f"prompt: is {found}, expected the text that the images were made from")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"prompt: holds half a character at {error.start}, expected text; encode it again") from error
    return prompt


def check_seed(seed: object) -> int:
    """The seed, if it is one.

    Raises:
        InputError: It is not.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a whole number of at least 0")
    return seed
