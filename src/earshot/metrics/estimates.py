"""What a run's predictions are worth: from the rows of predictions.jsonl to the estimates of metrics.json.

Rows are read once, in a stream, into flat arrays (`PredictionTable`), about a hundred bytes a sample, and every
estimate is bootstrapped over prompts on the same resamples. What a malformed answer is worth is said here by name:
in `accuracy` a pair that has no well-formed answer in one of the orders is wrong; elsewhere it is not an observation,
and `n`, `malformed_rate` and `n_malformed` show how much was not.

Axes: p pairs, s samples, n observations, c clusters (prompts).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from earshot.errors import DataError
from earshot.metrics.blind import blind_statistics, leak_warnings
from earshot.metrics.calibration import calibration_statistics
from earshot.metrics.ceiling import ceiling_statistics, countable
from earshot.metrics.selective import confidence_of, selective_statistics
from earshot.metrics.table import PredictionTable
from earshot.stats import RESAMPLES, Statistic, bootstrap, bootstrap_mean, macro_statistic, mean_statistic
from earshot.types import Estimate


def correct(table: PredictionTable) -> Bool[np.ndarray, " p"]:
    """Whether the reasoner's side is the majority's, by pair; no side (nothing well-formed, exactly 0.5) is wrong."""
    majority_first = table.votes_first > table.votes_second
    with np.errstate(invalid="ignore"):
        return np.where(majority_first, table.p_first > 0.5, table.p_first < 0.5)


def pair_statistics(table: PredictionTable) -> dict[str, Statistic]:
    """The quantities with one observation a pair."""
    n = table.n_clusters

    def mean(values: np.ndarray, where: np.ndarray) -> Statistic:
        return mean_statistic(values[where].astype(np.float64), table.cluster[where], n)

    strict = table.votes_first != table.votes_second
    right = correct(table)
    forward, swapped = np.sign(table.p_forward - 0.5), np.sign(table.p_swapped - 0.5)
    both_orders = ~np.isnan(forward) & ~np.isnan(swapped)
    total = table.votes_first + table.votes_second
    voted = (total > 0) & ~np.isnan(table.p_first)
    raters = strict & countable(table.votes_first, table.votes_second)
    p, share, clusters = table.p_first[voted], table.votes_first[voted] / total[voted], table.cluster[voted]
    return {
        "accuracy": mean(right, strict),
        "accuracy_macro": macro_statistic(right[strict].astype(np.float64), table.cluster[strict], n),
        "position_consistency": mean((forward == swapped) & (forward != 0), both_orders),
        **calibration_statistics(p, share, clusters, n),
        **selective_statistics(confidence_of(table.p_first[strict]), right[strict], table.cluster[strict], n),
        **ceiling_statistics(table.votes_first[raters], table.votes_second[raters], table.cluster[raters], n),
        **blind_statistics(table),
    }


def sample_statistics(table: PredictionTable) -> dict[str, Statistic]:
    """The quantities with one observation a completion, all but the malformed rate over the well-formed ones."""
    n, clusters = table.n_clusters, table.cluster[table.sample_pair]
    well = ~table.malformed

    def mean(values: np.ndarray, where: np.ndarray) -> Statistic:
        return mean_statistic(values[where].astype(np.float64), clusters[where], n)

    checked = well & ~np.isnan(table.false_claims)
    return {
        "first_pick_rate": mean(table.shown_verdict == 1, well),
        "malformed_rate": mean(table.malformed, np.ones_like(well)),
        "trace_length": mean(table.trace_words, well),
        "false_claims": mean(table.false_claims, checked),
        "true_claims": mean(table.true_claims, checked),
    }


def listener_statistics(table: PredictionTable, name: str) -> dict[str, Statistic]:
    """How a listener sees the well-formed completions that it was heard on."""
    n, clusters = table.n_clusters, table.cluster[table.sample_pair]
    p_listener = table.listeners.get(name, np.full(len(clusters), np.nan))
    heard = ~table.malformed & ~np.isnan(p_listener)
    differs = np.sign(p_listener[heard] - 0.5) != table.side_sign[heard]
    both = heard & ~np.isnan(table.sample_p_first)
    gap = np.abs(table.sample_p_first[both] - p_listener[both])
    return {
        f"disagreement.{name}": mean_statistic(differs.astype(np.float64), clusters[heard], n),
        f"disagreement_gap.{name}": mean_statistic(gap, clusters[both], n),
    }


def summarise(
    table: PredictionTable,
    *,
    listeners: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """The content of metrics.json but for `protocol.NAME`: counts, and estimates as `{"value", "low", "high", "n"}`.

    - `accuracy`: share of pairs with a majority (strict pairs) whose side the reasoner names; a pair that has no
      well-formed answer in one of the orders, or a p_first of exactly 0.5, is wrong. `accuracy_macro`: the mean of
      the prompts' accuracies, n counts prompts.
    - `position_consistency`: share of pairs judged to the same side in both orders, over pairs that have a
      well-formed answer in both; a mean of exactly 0.5 is on no side and so not consistent.
    - `first_pick_rate`: share of well-formed samples, in either order, that pick the image shown first; 0.5 is fair.
    - `brier`, `ece`, `nll`: against the share of votes, over pairs with votes and a p_first. `brier.reliability` and
      the other parts add up to `brier` (`metrics.calibration`).
    - `aurc`, `selective_accuracy.50`, `.80`: on the strict pairs, answering the surest first (`metrics.selective`).
    - `ceiling.leave_one_out`, `ceiling.including`: how often one rater agrees with the majority of the others, and of
      all, on the strict pairs with two votes or more (`metrics.ceiling`).
    - `disagreement.L`: share of well-formed samples whose verdict is not listener L's side, where a listener at
      exactly 0.5 is on no side and so differs; `disagreement_gap.L`: mean |p_reasoner - p_L|.
    - `blind.always_first`, `blind.larger_file`, `blind.larger_picture`, `blind.generator_prior`: accuracy, on the
      strict pairs, without looking at an image; one half where the baseline has no opinion (`metrics.blind`).
      `warnings`: what they give away, in words.
    - `trace_length` (words), `false_claims`, `true_claims`: per well-formed trace. `malformed_rate`: per sample.
    - `n_listener_missing`: well-formed samples that a listener gave no answer on, summed over listeners.

    Args:
        table: The predictions.
        listeners: Names that were asked, so that one never heard is told as missing; those heard are added.
        resamples: Of the prompts.
        seed: Of the bootstrap.
    """
    names = sorted({*listeners, *table.listeners})
    estimates = bootstrap(table_statistics(table, names), resamples=resamples, seed=seed)
    n_samples, n_malformed = len(table.malformed), int(table.malformed.sum())
    heard = sum(estimates[f"disagreement.{name}"].n for name in names)
    return {
        "n_pairs": len(table.p_first),
        "n_prompts": table.n_clusters,
        "n_ties": int((table.votes_first == table.votes_second).sum()),
        "n_samples": n_samples,
        "n_malformed": n_malformed,
        "n_listener_missing": (n_samples - n_malformed) * len(names) - heard,
        **{name: estimate.as_record() for name, estimate in estimates.items()},
        "warnings": leak_warnings(estimates),
    }


def table_statistics(table: PredictionTable, listeners: Sequence[str]) -> dict[str, Statistic]:
    """Every quantity of metrics.json that has an interval, for listeners heard or not."""
    statistics = pair_statistics(table) | sample_statistics(table)
    for name in listeners:
        statistics |= listener_statistics(table, name)
    return statistics


def read_estimate(metrics: Mapping[str, Any], name: str) -> Estimate:
    """An estimate out of the content of a metrics.json; missing where the file does not have it."""
    return Estimate.from_record(metrics.get(name))


def accuracy_difference(
    a: PredictionTable, b: PredictionTable, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Accuracy of `a` minus accuracy of `b`, micro, paired on the strict pairs that both judged.

    Raises:
        DataError: They did not judge the same pairs, or did not read the same votes.
    """
    shared, in_a, in_b = np.intersect1d(a.pair_hash, b.pair_hash, assume_unique=True, return_indices=True)
    if len(shared) != len(a.pair_hash) or len(shared) != len(b.pair_hash):
        raise DataError(
            f"predictions of {len(a.pair_hash)} and {len(b.pair_hash)} pairs share {len(shared)}, expected the same "
            "pairs in both; evaluate both on the same set"
        )
    if not np.array_equal(a.votes_first[in_a], b.votes_first[in_b]) or not np.array_equal(
        a.votes_second[in_a], b.votes_second[in_b]
    ):
        raise DataError("the two predictions hold different votes for a pair, expected the same; compare one data set")
    strict = (a.votes_first != a.votes_second)[in_a]
    right_a, right_b = (correct(t)[i][strict].astype(np.float64) for t, i in ((a, in_a), (b, in_b)))
    return bootstrap_mean(right_a - right_b, a.cluster[in_a][strict], resamples=resamples, seed=seed)
