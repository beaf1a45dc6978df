"""The model decides at one token, found as its tokenizer cuts the two answers, or the pair of answers is refused."""

import re

import pytest

from earshot.protocol.answers import AnswerPlace, answer_place, token_texts

VOCABULARY = [
    "<answer>",
    "Image",
    " 1",
    " 2",
    " is",
    " better",
    " ",
    "1",
    "2",
    "left",
    "lest",
    "the",
    " first",
    " second",
]
DIGITS = [token for token in VOCABULARY if token not in (" 1", " 2")]  # digits are tokens of their own


def cut(vocabulary):
    """A tokenizer that takes the longest token of a vocabulary, else a character."""
    pattern = re.compile("|".join(map(re.escape, sorted(vocabulary, key=len, reverse=True))) + "|.", re.DOTALL)
    known = {token: k for k, token in enumerate(vocabulary)}
    return lambda text: [known.get(token, 1000 + ord(token[0])) for token in pattern.findall(text)]


@pytest.mark.parametrize(
    ("vocabulary", "answers", "begun", "read"),
    [
        (VOCABULARY, ("1", "2"), "", ("1", "2")),
        (VOCABULARY, ("Image 1 is better", "Image 2 is better"), "Image", (" 1", " 2")),
        (DIGITS, ("Image 1 is better", "Image 2 is better"), "Image ", ("1", "2")),
        (VOCABULARY, ("left", "lest"), "", ("left", "lest")),  # letters in common, no token in common
        (VOCABULARY, ("the first", "the second"), "the", (" first", " second")),
    ],
)
def test_what_both_answers_begin_with_is_written_for_the_model(vocabulary, answers, begun, read):
    tokens = cut(vocabulary)
    place = answer_place(tokens, "<answer>", answers)
    assert place == AnswerPlace(begun, 1 + len(tokens(begun)), tuple(vocabulary.index(text) for text in read))
    assert token_texts(tokens, "<answer>", answers, place) == read


@pytest.mark.parametrize(
    ("vocabulary", "answers"),
    [
        (["<answer>", "1", "<answer>1"], ("1", "2")),  # what stands before is joined with the answer
        (["<answer>", "A"], ("A", "AB")),  # one is the beginning of the other
    ],
)
def test_answers_that_do_not_part_at_a_token_are_refused(vocabulary, answers):
    with pytest.raises(ValueError, match="do not differ at one token of their own after '<answer>'"):
        answer_place(cut(vocabulary), "<answer>", answers)
