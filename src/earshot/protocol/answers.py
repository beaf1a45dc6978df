"""Where in a text two answers part, as a tokenizer cuts them: there a model's choice is one probability."""

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import NamedTuple


class AnswerPlace(NamedTuple):
    """Where a model decides between two answers."""

    begun: str
    """What both answers begin with, such as `Image`: it is written for the model."""
    before: int
    """Tokens of the text and of what both begin with."""
    ids: tuple[int, int]
    """The tokens of which then comes the one or the other."""


def answer_place(tokens: Callable[[str], Sequence[int]], opened: str, answers: tuple[str, str]) -> AnswerPlace:
    """The first token in which two answers differ after a text.

    Args:
        tokens: The ids of a text, without those that a tokenizer adds around it.
        opened: What stands before the answers.
        answers: The two.

    Raises:
        ValueError: The tokenizer joins what stands before that token with it, so that the text before it cannot be
            written without foreseeing the answer; the message says which.
    """
    whole = [[*tokens(opened + answer)] for answer in answers]
    shared = "".join(one for one, _ in takewhile(lambda two: two[0] == two[1], zip(*answers, strict=False)))
    # From the longest on: mostly all of it, or all but a space that belongs to the next word's token.
    for end in range(len(shared), -1, -1):
        before = [*tokens(opened + shared[:end])]
        n = len(before)
        if all(len(one) > n and one[:n] == before for one in whole) and whole[0][n] != whole[1][n]:
            return AnswerPlace(shared[:end], n, (whole[0][n], whole[1][n]))
    raise ValueError(
        f"the answers {answers[0]!r} and {answers[1]!r} do not differ at one token of their own after {opened[-24:]!r}"
    )


def token_texts(
    tokens: Callable[[str], Sequence[int]], opened: str, answers: tuple[str, str], place: AnswerPlace
) -> tuple[str, str]:
    """What the two tokens at a place say, for a server that names tokens by their texts.

    Args:
        tokens: As for `answer_place`, as are the next two.
        opened: What stands before the answers.
        answers: The two.
        place: Where they part.

    Raises:
        ValueError: A token is no beginning of its answer.
    """
    before, n = opened + place.begun, place.before
    texts = []
    for answer, wanted in zip(answers, place.ids, strict=True):
        rest = answer[len(place.begun) :]
        beginnings = (rest[:end] for end in range(1, len(rest) + 1))
        found = next((text for text in beginnings if [*tokens(before + text)][n:] == [wanted]), None)
        if found is None:
            raise ValueError(f"the token in which {answer!r} parts from the other answer is no text of its own")
        texts.append(found)
    return texts[0], texts[1]
