"""Small hand-made answers for the tests of metrics."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from earshot.benchmarks.answers import Judged, side_of
from earshot.predictions.table import LABEL_CODES
from earshot.types import hash_of

CODES = {**LABEL_CODES, "equal": 3}


def judged(
    truth: Sequence[str | None],
    choices: Sequence[str | None],
    prompts: Sequence[int] | None = None,
    votes: Sequence[tuple[float, float]] | None = None,
) -> Judged:
    """Answers told by name; without prompts every pair is of its own, without votes each verdict has one."""
    n = len(truth)
    one = {"first": (1.0, 0.0), "second": (0.0, 1.0)}
    counts = np.array(votes if votes is not None else [one.get(t or "", (1.0, 1.0)) for t in truth])
    cluster = np.array(range(n) if prompts is None else prompts, dtype=np.int64)
    return Judged(
        pair_hash=np.array([hash_of(f"p{i}") for i in range(n)]),
        cluster=cluster,
        n_clusters=int(cluster.max()) + 1,
        label=np.array([CODES[t] for t in truth], dtype=np.int8),
        majority=np.sign(counts[:, 0] - counts[:, 1]).astype(np.int8),
        choice=np.array([CODES[c] for c in choices], dtype=np.int8),
    )


def with_p(truth: Sequence[str | None], p_first: Sequence[float], prompts: Sequence[int] | None = None) -> Judged:
    """Answers told by probabilities of the first image; NaN is no answer."""
    p = np.array(p_first, dtype=np.float64)
    blank = judged(truth, [None] * len(truth), prompts)
    return replace(blank, choice=side_of(p), margin=2 * p - 1, margin_unit="probability")
