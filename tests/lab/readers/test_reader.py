"""A reader of words: what it counts, by whom it is taught, and which side it reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot.errors import DataError
from earshot.lab.readers.reader import MIN_TEXTS, count_words, dealt_anew, folds_of, implied_sides
from earshot.protocol import Claim, prompt_set, split_claims
from tests.lab.readers.made_up import SIDES, praise

UNTURNED = np.zeros(1, dtype=bool)


def counted(text: str, *, turned: bool = False) -> list[float]:
    """By their first sight, the counts of the words of a text: single ones of a claim before its pairs."""
    return count_words([text], np.array([turned]), split_claims).toarray()[0].tolist()


def test_what_is_said_of_the_second_image_counts_against_it() -> None:
    # the, image, is, red, "the image", "image is", "is red"; blue, "is blue"
    assert counted("Image A is red. Image B is blue.") == [0, 0, 0, 1, 0, 0, 1, -1, -1]
    assert counted("Image A is red. Image B is blue.", turned=True) == [0, 0, 0, -1, 0, 0, -1, 1, 1]


def test_the_same_word_again_and_again_says_no_more() -> None:
    text = "Image A is red red red red."
    assert counted(text) == [1, 1, 1, 2, 1, 1, 1, 2]  # the image is red; the-image image-is is-red red-red


def test_what_is_denied_is_another_word() -> None:
    def split(text: str) -> list[Claim]:
        return [Claim("first", "red"), Claim("first", "red", denied=True), Claim("second", "red", denied=True)]

    assert count_words([""], UNTURNED, split).toarray().tolist() == [[1, 0]]


def test_the_worlds_language_is_read_with_its_denials() -> None:
    text = "first : left small blue square yes . second : left small blue square no but nothing . so first better"
    words = count_words([text], UNTURNED, prompt_set("brief").language.split)
    assert words.nnz > 0
    assert count_words([text], UNTURNED, split_claims).nnz == 0


def test_no_text_at_all_has_no_words() -> None:
    assert count_words(["", "Nice."], np.zeros(2, dtype=bool), split_claims).shape == (2, 0)
    nothing = implied_sides(count_words(["", ""], np.zeros(2, dtype=bool), split_claims), np.ones(2), np.arange(2))
    assert nothing.tolist() == [0, 0]


def test_a_prompt_is_in_one_fold_and_folds_are_even() -> None:
    clusters = np.repeat(np.arange(11), 3)
    fold = folds_of(clusters, 5, np.random.default_rng(0))
    assert all(len(set(fold[clusters == prompt])) == 1 for prompt in range(11))
    assert sorted(np.bincount(fold).tolist()) == [6, 6, 6, 6, 9]
    assert folds_of(clusters, 5, np.random.default_rng(0)).tolist() == fold.tolist()
    with pytest.raises(DataError, match="4 prompts to be read, expected at least 5"):
        folds_of(clusters[:12], 5, np.random.default_rng(0))


def test_a_word_of_one_prompt_alone_teaches_nothing_about_that_prompt() -> None:
    """Each prompt has its own word, and people its own side of it: who has read the prompt knows all of it."""
    n_prompts, each = 10, 2 * MIN_TEXTS
    clusters = np.repeat(np.arange(n_prompts), each)
    side = np.where(clusters % 2 == 0, 1.0, -1.0)
    texts = [f"Image A {'abcdefghij'[prompt] * 3}." for prompt in clusters]
    words = count_words(texts, np.zeros(len(texts), dtype=bool), lambda text: [Claim("first", text.split()[-1])])
    apart = folds_of(clusters, 5, np.random.default_rng(0))
    assert implied_sides(words, side, apart).tolist() == [0] * len(texts)
    mixed = np.arange(len(texts)) % 5
    assert (implied_sides(words, side, mixed) == side).all()


def test_words_that_go_with_peoples_side_imply_it_and_untaught_texts_are_read_too() -> None:
    side = np.where(np.arange(40) % 3 == 0, 1.0, -1.0)
    texts = [praise(SIDES[int(s < 0)]) for s in side]
    words = count_words(texts, np.zeros(40, dtype=bool), split_claims)
    taught = np.where(np.arange(40) < 30, side, 0.0)
    assert (implied_sides(words, taught, np.arange(40) % 5) == side).all()


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 2)), min_size=10, max_size=40))
def test_exchanged_images_imply_the_other_side(rows: list[tuple[bool, bool, int]]) -> None:
    texts = [praise(SIDES[first], " indeed" * more) for first, _, more in rows]
    taught = np.array([1.0 if second else -1.0 for _, second, _ in rows])
    fold = np.arange(len(rows)) % 2
    as_shown = count_words(texts, np.zeros(len(rows), dtype=bool), split_claims)
    exchanged = count_words(texts, np.ones(len(rows), dtype=bool), split_claims)
    half = count_words(texts, fold == 1, split_claims)
    forward = implied_sides(as_shown, taught, fold)
    assert implied_sides(half, taught, fold)[fold == 1].tolist() == (-forward[fold == 1]).tolist()
    assert implied_sides(exchanged, -taught, fold).tolist() == (-forward).tolist()


def test_votes_are_dealt_anew_within_their_fold_and_ties_stay() -> None:
    fold = np.arange(60) % 3
    sides = np.where(np.arange(60) % 7 == 0, 0.0, np.where(np.arange(60) < 20, 1.0, -1.0))
    dealt = dealt_anew(sides, fold, np.random.default_rng(0))
    assert (dealt != sides).any() and ((dealt == 0) == (sides == 0)).all()
    for k in range(3):
        assert sorted(dealt[fold == k]) == sorted(sides[fold == k])
