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

from earshot.metrics.blind import blind_statistics, leak_warnings
from earshot.metrics.calibration import calibration_statistics
from earshot.metrics.ceiling import ceiling_statistics
from earshot.metrics.selective import confidence_of, selective_statistics
from earshot.predictions.sides import differ, flips, right, signs_of
from earshot.predictions.table import PredictionTable
from earshot.stats import RESAMPLES, Statistic, bootstrap, macro_statistic, mean_statistic
from earshot.types import Estimate


def pair_statistics(table: PredictionTable) -> dict[str, Statistic]:
    """The quantities with one observation a pair."""
    n = table.n_clusters

    def mean(values: np.ndarray, where: np.ndarray) -> Statistic:
        return mean_statistic(values[where].astype(np.float64), table.cluster[where], n)

    strict, hits = table.strict, right(table.p_first, table.people)
    both_orders = ~np.isnan(table.p_forward) & ~np.isnan(table.p_swapped)
    voted = table.voted
    p, share, clusters = table.p_first[voted], table.share[voted], table.cluster[voted]
    author = {"accuracy.author": mean(right(table.p_author, table.people), strict)} if table.read_decides else {}
    return {
        "accuracy": mean(hits, strict),
        **author,
        "accuracy_macro": macro_statistic(hits[strict].astype(np.float64), table.cluster[strict], n),
        "position_consistency": mean(~flips(table.p_forward, table.p_swapped), both_orders),
        **calibration_statistics(p, share, clusters, n),
        **selective_statistics(confidence_of(table.p_first[strict]), hits[strict], table.cluster[strict], n),
        **ceiling_statistics(table.votes_first[strict], table.votes_second[strict], table.cluster[strict], n),
        **blind_statistics(table),
    }


def sample_statistics(table: PredictionTable) -> dict[str, Statistic]:
    """The quantities with one observation a completion, all but the malformed rate over the well-formed ones."""
    n, clusters = table.n_clusters, table.cluster[table.sample_pair]
    well = ~table.malformed

    def mean(values: np.ndarray, where: np.ndarray) -> Statistic:
        return mean_statistic(values[where].astype(np.float64), clusters[where], n)

    checked = well & ~np.isnan(table.false_claims)
    sided = well & (table.side_sign != 0) & ~np.isnan(table.favours_first)
    own, others = (np.where(table.side_sign == sign, table.favours_first, table.favours_second) > 0 for sign in (1, -1))
    return {
        "first_pick_rate": mean(table.shown_verdict == 1, well),
        "malformed_rate": mean(table.malformed, np.ones_like(well)),
        "trace_length": mean(table.trace_words, well),
        "false_claims": mean(table.false_claims, checked),
        "true_claims": mean(table.true_claims, checked),
        "bent_to_verdict": mean(own, sided),
        "bent_against_verdict": mean(others, sided),
    }


def listener_statistics(table: PredictionTable, name: str) -> dict[str, Statistic]:
    """How a listener sees the well-formed completions that it was heard on, and what it makes of the pairs."""
    n, clusters = table.n_clusters, table.cluster[table.sample_pair]
    p_listener = table.listeners.get(name, np.full(len(clusters), np.nan))
    heard = ~table.malformed & ~np.isnan(p_listener)
    apart = differ(p_listener, table.side_sign.astype(np.float64))[heard]
    both = heard & ~np.isnan(table.sample_p_first)
    gap = np.abs(table.sample_p_first[both] - p_listener[both])
    return {
        f"disagreement.{name}": mean_statistic(apart.astype(np.float64), clusters[heard], n),
        f"disagreement_gap.{name}": mean_statistic(gap, clusters[both], n),
        **reader_statistics(table, name),
    }


def reader_statistics(table: PredictionTable, name: str) -> dict[str, Statistic]:
    """What a listener makes of the pairs, and what is gained by leaving out those on which it and the author differ.

    A pair that gave it nothing to read is wrong, as in `accuracy`; one on which it broke is no observation.
    """
    n, author = table.n_clusters, np.nan_to_num(signs_of(table.p_author))
    p_read = table.p_read.get(name, np.full(len(author), np.nan))
    heard, unwritten = ~np.isnan(p_read), np.isnan(table.p_author)
    asked = table.strict & (heard | unwritten) & heard.any()
    follows = heard & (author != 0) & ~differ(p_read, author)

    def mean(values: np.ndarray, where: np.ndarray) -> Statistic:
        return mean_statistic(values[where].astype(np.float64), table.cluster[where], n)

    hits, sure = right(table.p_first, table.people), confidence_of(table.p_first) / 2
    # The surest are those on which both agree, half above the others, of which one may be certain of itself.
    confidence = np.where(follows, 0.5 + sure, np.minimum(sure, np.nextafter(0.5, 0)))
    curve = selective_statistics(confidence[asked], hits[asked], table.cluster[asked], n)
    return {
        f"accuracy.read.{name}": mean(right(p_read, table.people), asked),
        f"follows_trace.{name}": mean(follows, heard & ~unwritten),
        f"coverage.agree.{name}": mean(follows, asked),
        f"accuracy.agree.{name}": mean(hits, asked & follows),
        **{f"{quantity}.agree.{name}": statistic for quantity, statistic in curve.items()},
    }


def checker_statistics(table: PredictionTable) -> dict[str, Statistic]:
    """How far each claim checker believes what the traces say."""
    clusters = table.cluster[table.sample_pair]
    return {
        f"believed.{name}": mean_statistic(p[~np.isnan(p)], clusters[~np.isnan(p)], table.n_clusters)
        for name, p in table.believed.items()
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
    - `accuracy` is of the answer, whoever decides; where a reader does, `accuracy.author` is the author's.
    - `accuracy.read.L`: accuracy of listener L's p, averaged over traces and orders; without a well-formed trace in one
      of them it is wrong, and where L broke the pair is no observation. `follows_trace.L`: share of the
      pairs on which author and L are on one side. `coverage.agree.L`, `accuracy.agree.L`: share of the strict pairs on
      which they are, and the answer's accuracy on those; `aurc.agree.L` and `selective_accuracy.50.agree.L`: the curve
      when pairs on which they are not are left out first.
    - `believed.C`: how far claim checker C believes a trace's claims, their mean.
    - `blind.always_first`, `blind.larger_file`, `blind.sharper` and the others of `metrics.blind.BASELINES`: accuracy,
      on the strict pairs, without the prompt; one half where the baseline has no opinion. `warnings`: what they give
      away, in words.
    - `bent_to_verdict`, `bent_against_verdict`: share of well-formed traces with a false claim that puts the side of
      their verdict, or the other, in a better light. Who errs without a purpose has as many of either.
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
    statistics = pair_statistics(table) | sample_statistics(table) | checker_statistics(table)
    for name in listeners:
        statistics |= listener_statistics(table, name)
    return statistics


def read_estimate(metrics: Mapping[str, Any], name: str) -> Estimate:
    """An estimate out of the content of a metrics.json.

    Args:
        metrics: The content.
        name: Of the quantity, such as `accuracy` or `disagreement.LISTENER`.

    Returns:
        The estimate; a missing one where the file does not have it.
    """
    return Estimate.from_record(metrics.get(name))
