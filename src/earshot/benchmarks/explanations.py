"""The texts in a file of answers: what judges wrote about the pairs, beside what they answered and the truth.

Axes: p pairs, n texts.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from earshot.benchmarks.answers import Judged
from earshot.benchmarks.forms import form_of, iter_answers, told
from earshot.benchmarks.genai_bench_text import agreed_choice
from earshot.benchmarks.scores import read_judged, with_people
from earshot.data.row_files import first_row
from earshot.errors import DataError
from earshot.predictions.table import FIRST, NONE, SECOND

_SIDES = {"first": FIRST, "second": SECOND, None: NONE}


@dataclass(frozen=True, kw_only=True)
class Explanations:
    """Texts, a row each, in the order of their pairs."""

    name: str
    """What to call them in messages."""
    judged: Judged
    """The pairs."""
    texts: tuple[str, ...]
    pair: Int[np.ndarray, " n"]
    """The row of `judged` that a text is about."""
    choice: Int[np.ndarray, " n"]
    """What its own author answered, as in `Judged.choice`, in the pair's own sides; a text with several verdicts has
    none."""
    turned: Bool[np.ndarray, " n"]
    """Whether it speaks of the images in the other order: what it calls the first is the pair's second."""
    margin: Float[np.ndarray, " p"]
    """How clear the votes are: |first - second| / all, in [0, 1]; NaN where it is not known how many there were."""

    def __len__(self) -> int:
        return len(self.texts)


def read_explanations(path: Path) -> Explanations:
    """The texts of a file that says itself what people preferred: judges' texts, or predictions with their traces.

    Raises:
        InputError: There is no such file.
        DataError: It holds no texts, or a bad row.
    """
    kind = form_of(path).kind
    if kind == "judgements":
        judged, texts = read_judged(path), tuple(row["response"] for row in iter_answers(path))
        return Explanations(
            name=str(path),
            judged=judged,
            texts=texts,
            pair=np.arange(len(judged)),
            choice=np.array([agreed_choice(text) for text in texts], dtype=np.int8),
            turned=np.zeros(len(judged), dtype=bool),
            margin=np.full(len(judged), np.nan),
        )
    if kind == "predictions":
        return _of_predictions(path)
    raise DataError(
        f"{path}: has the columns {told(first_row(path))}, expected judges' texts (response, human_vote, idx, prompt) "
        "or a run's predictions with their traces; give such a file"
    )


def _of_predictions(path: Path) -> Explanations:
    judged = read_judged(path)
    rows = list(with_people(iter_answers(path), path))
    samples = [(pair, sample) for pair, row in enumerate(rows) for sample in row["samples"]]
    votes = np.array([(row["votes_first"], row["votes_second"]) for row in rows], dtype=np.float64)
    all_votes = votes.sum(axis=1)
    gap = np.abs(votes[:, 0] - votes[:, 1])
    return Explanations(
        name=str(path),
        judged=judged,
        texts=tuple(sample["trace"] or "" for _, sample in samples),
        pair=np.array([pair for pair, _ in samples], dtype=np.int64),
        choice=np.array([_SIDES[sample["side"]] for _, sample in samples], dtype=np.int8),
        turned=np.array([sample["order"] == "swapped" for _, sample in samples], dtype=bool),
        margin=np.divide(gap, all_votes, out=np.full(len(rows), np.nan), where=all_votes > 0),
    )
