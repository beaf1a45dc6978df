"""Each published benchmark's own metric as a named object: whose code, which pairs, what a tie or no answer is worth.

`docs/protocols.md` tells them in words. A protocol gives every pair it counts a credit in [0, 1] and averages the
credits, over pairs (micro) or over prompts' means (macro); its interval resamples prompts.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from earshot.benchmarks import published
from earshot.benchmarks.answers import Judged, judged_from_table
from earshot.benchmarks.credits import (
    Credits,
    best_gap,
    both_orders,
    both_orders_answered,
    four_way,
    half_for_a_tie,
    not_inverted,
    strict_by_majority,
    strict_by_verdict,
    three_way,
)
from earshot.benchmarks.published import Benchmark
from earshot.errors import InputError
from earshot.predictions.table import PredictionTable
from earshot.stats import RESAMPLES, Statistic, bootstrap, macro_statistic, mean_statistic
from earshot.types import Estimate


class Result(NamedTuple):
    """What a protocol makes of somebody's answers."""

    estimate: Estimate
    """Its `n` counts pairs, judgements of either order (mmrb2), or prompts where the average is macro."""
    n_pairs: int
    n_ties: int
    """Pairs in which the truth prefers neither side."""
    n_missing: int
    n_prompts: int
    threshold: float | None

    def record(self) -> dict[str, float | int | None]:
        """As it stands in a JSON file."""
        counts = {name: getattr(self, name) for name in ("n_pairs", "n_ties", "n_missing", "n_prompts")}
        threshold = {} if self.threshold is None else {"threshold": self.threshold}
        return {**self.estimate.as_record(), **counts, **threshold}


@dataclass(frozen=True)
class Protocol:
    """A benchmark's metric.

    Attributes:
        name: What it is asked for by.
        benchmark: The set whose metric it is.
        words: What it measures, for who has to choose one.
        source: Whose code or paper it is read from.
        truth: Which pairs count, and what is right of them.
        ties: What a predicted tie is worth.
        missing: What an answer is worth that is not there.
        macro: Average the prompts' means and not the pairs.
        credit: The arithmetic.
        tunes: Where ties are told by a threshold: the grid it was tuned on, empty for every gap that occurs.
        threshold: The gap up to which two images are called equal.
    """

    name: str
    benchmark: Benchmark
    words: str
    source: str
    truth: str
    ties: str
    missing: str
    credit: Callable[[Judged, float], Credits]
    macro: bool = False
    tunes: tuple[float, ...] | None = None
    threshold: float | None = None

    def evaluate(self, judged: Judged, *, resamples: int = RESAMPLES, seed: int = 0) -> Result:
        """The metric with its interval.

        Args:
            judged: Answers beside the truth.
            resamples: Of the prompts.
            seed: Of the bootstrap.

        Raises:
            InputError: Ties are told by a threshold and none was given.
            DataError: The answers do not hold what the protocol compares: both orders, scores.
        """
        statistic, credits = self.statistic(judged)
        estimate = bootstrap({self.name: statistic}, resamples=resamples, seed=seed)[self.name]
        return Result(
            estimate=estimate,
            n_pairs=len(judged),
            n_ties=int((np.abs(judged.verdict) != 1).sum()),
            n_missing=credits.n_missing,
            n_prompts=len(np.unique(judged.cluster[credits.pair])),
            threshold=self.threshold,
        )

    def statistic(self, judged: Judged) -> tuple[Statistic, Credits]:
        """The metric as totals per prompt, and the credits they are made of; refused as `evaluate` says."""
        if self.tunes is not None and self.threshold is None:
            raise InputError(
                f"{self.name} tells ties by a threshold and has none; give it (--threshold) or fit it on validation "
                "pairs (--validation FILE), never on the test set"
            )
        credits = self.credit(judged, 0.0 if self.threshold is None else self.threshold)
        build = macro_statistic if self.macro else mean_statistic
        return build(credits.values, judged.cluster[credits.pair], judged.n_clusters), credits

    def with_threshold(self, threshold: float) -> "Protocol":
        """The same protocol, calling images equal up to this gap.

        Args:
            threshold: Of at least 0, in the unit of the answers: scores, or probabilities.

        Raises:
            InputError: It tells no ties by a threshold, or the threshold is no number of at least 0.
        """
        if self.tunes is None:
            raise InputError(f"{self.name} takes no threshold; those that do are {', '.join(WITH_THRESHOLD)}")
        if not (np.isfinite(threshold) and threshold >= 0):
            raise InputError(f"the threshold of {self.name} is {threshold}, expected a number of at least 0")
        return replace(self, threshold=float(threshold))

    def fitted(self, validation: Judged, test: Judged) -> "Protocol":
        """The same protocol with the threshold that scores best on validation pairs; the smallest of equals.

        Args:
            validation: Answers to choose it on.
            test: Answers that will be measured, to make sure that none is among those.

        Raises:
            InputError: It tells no ties by a threshold, or a validation pair is one of the test pairs.
        """
        if self.tunes is None:
            return self.with_threshold(0.0)  # which says what takes one
        shared = int(np.isin(validation.pair_hash, test.pair_hash).sum())
        if shared:
            raise InputError(
                f"{shared} of the {len(validation)} validation pairs are test pairs, expected none; a threshold that "
                "was fitted on the test set makes its score worthless"
            )
        if self.tunes:
            scores = [self.credit(validation, t).values.sum() for t in self.tunes]
            return self.with_threshold(self.tunes[int(np.argmax(scores))])
        return self.with_threshold(best_gap(validation))


_WRONG = "wrong"
_STRICT = "pairs that the publisher's verdict, else the votes, prefer one side of"

_ALL = (
    Protocol(
        "earshot", published.ANY, "share of pairs on which the answer is the majority's",
        "Earshot: `accuracy` of metrics.json",
        "pairs with a majority of votes; the answer is p_first averaged over both orders",
        _WRONG, "wrong: a pair without a well-formed answer in one of the orders has no p_first",
        strict_by_majority,
    ),
    Protocol(
        "earshot-macro", published.ANY, "the same, every prompt weighing the same",
        "Earshot: `accuracy_macro` of metrics.json",
        "as earshot",
        _WRONG, "wrong, as earshot",
        strict_by_majority, macro=True,
    ),
    Protocol(
        "imagereward-micro", published.IMAGEREWARD, "share of pairs in order, as ImageReward, MPS and HPSv3 report it",
        "ImageReward (arXiv 2304.05977), test.py `acc`; so do MPS and HPSv3",
        _STRICT, _WRONG, _WRONG,
        strict_by_verdict,
    ),
    Protocol(
        "imagereward-macro", published.IMAGEREWARD, "mean over prompts, as HPSv2's paper reports it",
        "HPSv2 (arXiv 2306.09341), hpsv2/evaluation.py `evaluate_IR`",
        f"{_STRICT}; a group of which all are tied is left out", _WRONG, _WRONG,
        strict_by_verdict, macro=True,
    ),
    Protocol(
        "hpdv2", published.HPDV2, "pairs not inverted, mean over prompts; ties count as right: HPSv2",
        "HPSv2 (arXiv 2306.09341), `inversion_score`",
        "all pairs by the order of mean ranks; 1 - inversions/pairs of each prompt",
        "correct, of the truth and of the answer", _WRONG,
        not_inverted, macro=True,
    ),
    Protocol(
        "hpdv3", published.HPDV3, "share of pairs in order",
        "HPSv3 (arXiv 2508.03789)", _STRICT, _WRONG, _WRONG, strict_by_verdict,
    ),
    Protocol(
        "pickapic-official", published.PICKAPIC, "with ties, half right where only one of the two is a tie: PickScore",
        "PickScore (arXiv 2305.01569), trainer/scripts/eval_preference_predictor.py",
        "all pairs; first, second or tie",
        "a gap of probabilities up to the threshold is a tie, one half where only answer or truth is one; threshold "
        "of 0, 0.1 … 1 from validation_unique",
        _WRONG, half_for_a_tie, tunes=tuple(i / 10 for i in range(11)),
    ),
    Protocol(
        "pickapic-no-ties", published.PICKAPIC, "share of pairs in order, tied votes left out: most other papers",
        "as others report Pick-a-Pic", _STRICT, _WRONG, _WRONG, strict_by_verdict,
    ),
    Protocol(
        "genai-bench-four-way", published.GENAI_BENCH, "for judges who say left, right, both good or both bad",
        "TIGER-Lab GenAI-Bench (arXiv 2406.04485), inference.py `parse_response`",
        "all pairs; first, second, tie or both bad",
        "right of a tie of its kind; '[[A=B]]' right of either kind", _WRONG,
        four_way,
    ),
    Protocol(
        "genai-bench-diff", published.GENAI_BENCH, "for scorers: share of pairs in order, tied votes left out",
        "TIGER-Lab GenAI-Bench as UnifiedReward (arXiv 2503.05236) reports it: ties and both bad dropped",
        _STRICT, _WRONG, _WRONG,
        strict_by_verdict,
    ),
    Protocol(
        "genai-bench-tau", published.GENAI_BENCH, "for scorers: with ties, which are scores closer than a threshold",
        "Deutsch et al. 2023 (arXiv 2305.14324) as in VideoAlign `calc_accuracy_with_ties`, but for its fitting",
        "all pairs; first, second or tie, both bad being a tie",
        "a gap of scores up to the threshold is a tie; the reference fits it on the test set, here it is given or "
        "fitted on other pairs",
        _WRONG, three_way, tunes=(),
    ),
    Protocol(
        "genai-bench-edit-four-way", published.GENAI_BENCH_EDIT, "of edits: left, right, both good or both bad",
        "TIGER-Lab GenAI-Bench (arXiv 2406.04485), inference.py `parse_response`",
        "as genai-bench-four-way", "as genai-bench-four-way", _WRONG,
        four_way,
    ),
    Protocol(
        "genai-bench-edit-diff", published.GENAI_BENCH_EDIT, "for scorers of edits: pairs in order, ties left out",
        "as genai-bench-diff, of the edits", _STRICT, _WRONG, _WRONG,
        strict_by_verdict,
    ),
    Protocol(
        "editreward-bench", published.EDITREWARD_BENCH, "share of pairs in order, ties included",
        "EditReward (arXiv 2509.26346), evaluate/inference_2pair_hf.py: its answers are first, second or tie",
        "all pairs; first, second or tie", "right of a tie alone", _WRONG,
        four_way,
    ),
    Protocol(
        "mmrb2", published.MMRB2, "share of answers in order, both orders asked; no answer is wrong",
        "Multimodal RewardBench 2, evaluate/compute_scores/compute_accuracy.py, but for what is missing",
        "both orders of every pair with a preferred side", _WRONG, _WRONG,
        both_orders,
    ),
    Protocol(
        "mmrb2-reference", published.MMRB2, "the same without what was not answered: the published numbers",
        "Multimodal RewardBench 2, evaluate/compute_scores/compute_accuracy.py",
        "as mmrb2", _WRONG, "dropped",
        both_orders_answered,
    ),
    Protocol(
        "mjbench", published.MJBENCH, "share of pairs in order",
        "MJ-Bench (arXiv 2407.04842), quality subset", _STRICT, _WRONG, _WRONG, strict_by_verdict,
    ),
    Protocol(
        "rapidata-majority", published.RAPIDATA, "share of pairs on which the answer is the majority's",
        "Rapidata's preference sets: votes, no reference code",
        "pairs with a majority of votes; tied ones are counted in n_ties", _WRONG, _WRONG,
        strict_by_majority,
    ),
)  # fmt: skip

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _ALL})
WITH_THRESHOLD = tuple(name for name, protocol in PROTOCOLS.items() if protocol.tunes is not None)


def find_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Args:
        name: One of `PROTOCOLS`, which `earshot metrics --list` shows.

    Raises:
        InputError: There is none.
    """
    if name not in PROTOCOLS:
        raise InputError(f"no protocol is called {name!r}; expected one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def protocol_records(
    table: PredictionTable, protocols: Iterable[Protocol], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """The `protocol.NAME` entries of metrics.json: our own predictions by each protocol asked for, with its counts."""
    judged = judged_from_table(table)
    return {f"protocol.{p.name}": p.evaluate(judged, resamples=resamples, seed=seed).record() for p in protocols}
