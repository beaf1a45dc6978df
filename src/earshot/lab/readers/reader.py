"""A reader that sees no image: a bag of words for either image, and a regression on what people preferred.

What a text says of the second image is taken from what it says of the first, and there is no intercept: the same text
about exchanged images implies the other side, and a text that says the same of both implies none.

Axes: n texts, w words, p pairs.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import expit

from earshot.errors import DataError
from earshot.protocol import Claim

L2 = 1.0
"""Weight of half the squared coefficients against the sum of the log losses, of texts whose words have length 1."""
MIN_TEXTS = 5
"""In how many of the texts that it is taught by a word must stand."""
_MOST = 2
"""More of the same word about the same image says no more."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def count_words(
    texts: Sequence[str], turned: Bool[np.ndarray, " n"], split: Callable[[str], list[Claim]]
) -> sp.csr_array:
    """How much more often each word stands in what a text says of the pair's first image than of its second.

    Words are single ones and pairs of neighbours within a claim; those of a claim that denies are words of their own.

    Args:
        texts: What was written.
        turned: Whether what a text calls the first image is the pair's second.
        split: Cuts a text into claims about either image.

    Returns:
        n × w whole numbers of at most 2.
    """
    columns: dict[str, int] = {}
    rows, places, values = [], [], []
    for row, text in enumerate(texts):
        counts: dict[int, list[int]] = {}
        for claim in split(text):
            words = _WORD.findall(claim.text.lower())
            for word in (*words, *map(" ".join, pairwise(words))):
                column = columns.setdefault(f"not {word}" if claim.denied else word, len(columns))
                counts.setdefault(column, [0, 0])[claim.image == "second"] += 1
        for column, (first, second) in counts.items():
            rows.append(row)
            places.append(column)
            values.append(min(first, _MOST) - min(second, _MOST))
    counted = sp.csr_array((np.array(values, dtype=np.float64), (rows, places)), shape=(len(texts), len(columns)))
    counted.eliminate_zeros()
    return sp.csr_array(counted.multiply(np.where(turned, -1.0, 1.0)[:, None]))


def folds_of(clusters: Int[np.ndarray, " n"], folds: int, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """The fold of each text, the same for all of a prompt; prompts are drawn.

    Raises:
        DataError: There are fewer prompts than folds.
    """
    prompts, number = np.unique(clusters, return_inverse=True)
    if len(prompts) < folds:
        raise DataError(
            f"{len(prompts)} prompts to be read, expected at least {folds}, one a fold; give more pairs, or --folds"
        )
    return rng.permutation(len(prompts))[number] % folds


def implied_sides(
    words: sp.csr_array, taught: Float[np.ndarray, " n"], fold: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """The side that each text implies, to a reader that was taught by the texts of all other folds.

    Args:
        words: From `count_words`.
        taught: The side that the reader is told of each text: 1 first, -1 second, 0 none.
        fold: From `folds_of`.

    Returns:
        1 for the first, -1 for the second, 0 where no word of the text is known to the reader.
    """
    implied = np.zeros(len(taught))
    for k in np.unique(fold):
        teaching, asked = np.flatnonzero((fold != k) & (taught != 0)), np.flatnonzero(fold == k)
        texts_with = np.bincount(words[teaching].indices, minlength=words.shape[1])
        known = np.flatnonzero(texts_with >= MIN_TEXTS)
        if not known.size:
            continue
        # As scikit-learn's TfidfTransformer smooths it: a word that stands in every text still counts.
        rarity = 1 + np.log((1 + len(teaching)) / (1 + texts_with[known]))
        weighted = _unit_rows(words[:, known].multiply(rarity[None, :]).tocsr())
        implied[asked] = np.sign(weighted[asked] @ _regression(weighted[teaching], taught[teaching]))
    return implied


def _unit_rows(words: sp.csr_array) -> sp.csr_array:
    length = np.sqrt(words.multiply(words).sum(axis=1))
    return sp.csr_array(words.multiply(1 / np.where(length > 0, length, 1)[:, None]))


def _regression(words: sp.csr_array, sides: Float[np.ndarray, " n"]) -> Float[np.ndarray, " w"]:
    """The coefficients b that minimise sum_i log(1 + exp(-s_i x_i b)) + L2/2 |b|², for sides s of 1 and -1."""

    def loss(b: Float[np.ndarray, " w"]) -> tuple[float, Float[np.ndarray, " w"]]:
        margin = sides * (words @ b)
        slope = -sides * expit(-margin)
        return float(np.logaddexp(0, -margin).sum() + L2 / 2 * b @ b), words.T @ slope + L2 * b

    return minimize(loss, np.zeros(words.shape[1]), jac=True, method="L-BFGS-B").x


def dealt_anew(
    sides: Float[np.ndarray, " p"], fold: Int[np.ndarray, " p"], rng: np.random.Generator
) -> Float[np.ndarray, " p"]:
    """The sides that people have on pairs, dealt anew among the pairs of each fold that they have one on."""
    dealt = sides.copy()
    for k in np.unique(fold):
        places = np.flatnonzero((fold == k) & (sides != 0))
        dealt[places] = sides[rng.permutation(places)]
    return dealt
