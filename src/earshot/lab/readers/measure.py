"""What a judge's verdict is worth where a reader of its text alone names the same side, and where it names the other.

A reader is taught once: intervals resample the prompts that it is asked about, not those that it was taught by.

Axes: p pairs, n texts, c prompts, r resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from earshot.benchmarks.answers import Judged
from earshot.benchmarks.comparing import shared
from earshot.benchmarks.explanations import Explanations
from earshot.benchmarks.joining import found
from earshot.errors import DataError
from earshot.lab.readers.reader import count_words, dealt_anew, folds_of, implied_sides
from earshot.metrics.slices import MARGIN_EDGES
from earshot.predictions.table import NONE
from earshot.protocol import Claim, redact_trace
from earshot.stats import RESAMPLES, Statistic, bootstrap, mean_statistic
from earshot.stats.totals import cell_totals, divided
from earshot.types import Estimate, RedactionLevel

LEVELS: Final[tuple[RedactionLevel, ...]] = ("none", "verdict")
"""With the text's own conclusions, and without."""
QUANTITIES: Final = (
    "judge_right", "reader_right", "agrees", "right_agreeing", "right_differing", "difference", "at_equal_difficulty"
)  # fmt: skip


class Reading(NamedTuple):
    """What a reader makes of a judge's texts.

    Attributes:
        kept: Share of the characters that is left to read; None where nothing was written.
        n: Texts that imply a side, on pairs on which people and judge have one too.
        n_differ: Those of them that imply the side that the judge did not name.
        n_silent: Texts besides in which the reader knows no word.
        estimates: By the names of `QUANTITIES`. `difference` is the judge's accuracy where the reader agrees less that
            where it differs; `at_equal_difficulty` the same within strata, missing where there are none.
    """

    kept: float | None
    n: int
    n_differ: int
    n_silent: int
    estimates: Mapping[str, Estimate]

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON file."""
        counts = {name: getattr(self, name) for name in ("kept", "n", "n_differ", "n_silent")}
        return {**counts, **{name: estimate.as_record() for name, estimate in self.estimates.items()}}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A judge's texts, read with and without their conclusions.

    Attributes:
        n_texts: All of them.
        n_pairs: What they are about.
        n_prompts: Of the pairs that are read.
        left_out: Texts without a verdict that can be read (`unparsed`); of the others those on whose pair people have
            no side (`people_tied`); of the others those whose judge names none (`judge_tied`).
        difficulty: What strata of equal difficulty are by.
        readings: By level of redaction.
        permuted: Without conclusions, by readers that were taught other pairs' votes: what hangs on the reader of
            `QUANTITIES`, their mean and where 95 % of them lie.
    """

    n_texts: int
    n_pairs: int
    n_prompts: int
    left_out: Mapping[str, int]
    difficulty: tuple[str, ...]
    readings: Mapping[RedactionLevel, Reading]
    permuted: Mapping[str, Estimate]

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON file."""
        counts = {name: getattr(self, name) for name in ("n_texts", "n_pairs", "n_prompts", "left_out", "difficulty")}
        return {
            **counts,
            "redaction": {level: reading.record() for level, reading in self.readings.items()},
            "permuted": {name: estimate.as_record() for name, estimate in self.permuted.items()},
        }


class Seen(NamedTuple):
    """Texts, a row each, on which people, judge and reader have a side."""

    right: Bool[np.ndarray, " n"]
    agrees: Bool[np.ndarray, " n"]
    stratum: Int[np.ndarray, " n"]
    cluster: Int[np.ndarray, " n"]
    n_clusters: int

    def statistics(self, *, stratified: bool) -> dict[str, Statistic]:
        """Those of `QUANTITIES`."""

        def mean(values: Bool[np.ndarray, " n"], of: Bool[np.ndarray, " n"] | slice = slice(None)) -> Statistic:
            return mean_statistic(values[of].astype(np.float64), self.cluster[of], self.n_clusters)

        parted = {"at_equal_difficulty": stratified_difference(self)} if stratified else {}
        return {
            "judge_right": mean(self.right),
            "reader_right": mean(self.right == self.agrees),
            "agrees": mean(self.agrees),
            "right_agreeing": mean(self.right, self.agrees),
            "right_differing": mean(self.right, ~self.agrees),
            "difference": stratified_difference(self._replace(stratum=np.zeros_like(self.stratum))),
            **parted,
        }


def stratified_difference(seen: Seen) -> Statistic:
    """The judge's accuracy where the reader agrees less that where it differs, among texts on pairs equally hard.

        D = sum_s w_s (a_s - d_s) / sum_s w_s,    w_s = A_s D_s / (A_s + D_s)

    with a_s and d_s the accuracies in stratum s, of A_s texts that the reader agrees with and D_s that it does not: the
    Mantel-Haenszel difference of risks, which is the coefficient of agreement in a linear regression of being right on
    it and a constant a stratum. One stratum gives the plain difference; a stratum in which the reader always agrees, or
    never, says nothing. `n` is that of the kind of which there are fewer. NaN where no stratum has both.

    Source: Greenland and Robins 1985 (Biometrics 41), the risk difference.
    """
    n_strata = int(seen.stratum.max(initial=0)) + 1
    cell = (seen.stratum * 2 + seen.agrees) * 2 + seen.right
    cells = cell_totals(np.ones(len(cell)), seen.cluster, cell, seen.n_clusters, 4 * n_strata)
    kinds = cells.reshape(-1, n_strata, 2, 2).sum(axis=(1, 3))
    fewer = int(np.argmin(kinds.sum(axis=0)))

    def combine(totals: Float[np.ndarray, "r k"]) -> Float[np.ndarray, " r"]:
        table = totals[:, :-1].reshape(len(totals), n_strata, 2, 2)
        sizes = table.sum(axis=3)
        shares = table[..., 1] / np.maximum(sizes, 1)
        weights = sizes.prod(axis=2) / np.maximum(sizes.sum(axis=2), 1)
        return divided((weights * (shares[..., 1] - shares[..., 0])).sum(axis=1), weights.sum(axis=1))

    return Statistic(np.concatenate([cells, kinds[:, [fewer]]], axis=1), combine, int(kinds[:, fewer].sum()))


def strata_of(told: Explanations, others: Sequence[Judged]) -> tuple[Int[np.ndarray, " p"], tuple[str, ...]]:
    """Strata of pairs that are equally hard, and what they are by: none where nothing tells pairs apart.

    By how many of the other judges are right about a pair, of how many that were asked (one who names no side is
    wrong); and by how clear the votes are, in bins up to `MARGIN_EDGES`, where their numbers are known.

    Raises:
        DataError: Another judge's file shares no pair, or says otherwise what people preferred.
    """
    asked, right = (np.zeros(len(told.judged), dtype=np.int64) for _ in range(2))
    for other in others:
        mine, its = shared(told.judged, other)
        at = found(told.judged.pair_hash, mine.pair_hash)
        asked[at] += 1
        right[at] += its.choice == mine.majority
    clear = np.searchsorted(MARGIN_EDGES, told.margin)
    columns = {"other judges": asked * (len(others) + 1) + right, "clearness of votes": clear}
    strict = np.abs(told.judged.majority) == 1
    by = tuple(name for name, column in columns.items() if len(np.unique(column[strict])) > 1)
    stacked = np.stack([columns[name] for name in by] or [np.zeros_like(asked)], axis=1)
    return np.unique(stacked, axis=0, return_inverse=True)[1], by


def measure_reader(
    told: Explanations,
    others: Sequence[Judged] = (),
    *,
    split: Callable[[str], list[Claim]],
    folds: int = 5,
    permutations: int = 20,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Measured:
    """Teaches readers what people preferred by texts on other prompts, and holds the sides they read against verdicts.

    Args:
        told: A judge's texts; those on pairs without a side of people's are not read.
        others: What other judges answered on the same pairs, by which pairs are hard or easy.
        split: Cuts a text into claims about either image.
        folds: Of the prompts.
        permutations: Readers that are taught votes dealt anew among the pairs of a fold.
        resamples: Of the prompts, for the intervals.
        seed: Of folds, permutations and resamples.

    Raises:
        DataError: People have a side on too few prompts, no text claims anything of one image, or the others judged
            other pairs.
    """
    stratum, by = strata_of(told, others)
    rng = np.random.default_rng(seed)
    asked = _asked(told, stratum, folds, rng)
    readings = {}
    for level in LEVELS:
        texts = [redact_trace(told.texts[row], level) for row in asked.rows]
        words = count_words(texts, told.turned[asked.rows], split)
        if level == "none" and not words.nnz:
            raise DataError(
                f"{told.name}: none of {len(texts)} texts claims anything of one image, expected such as 'Image A "
                "shows …'; say by which prompts they were asked for (--prompts brief for the synthetic world's)"
            )
        compared = asked.compared(implied_sides(words, asked.people[asked.pair], asked.fold))
        estimates = bootstrap(compared.statistics(stratified=bool(by)), resamples=resamples, seed=seed)
        readings[level] = Reading(
            kept=_kept(texts, [told.texts[row] for row in asked.rows]),
            n=len(compared.right),
            n_differ=int((~compared.agrees).sum()),
            n_silent=int((np.abs(told.choice[asked.rows]) == 1).sum()) - len(compared.right),
            estimates={name: estimates.get(name, Estimate.missing()) for name in QUANTITIES},
        )
    drawn = []
    for _ in range(permutations):
        dealt = dealt_anew(asked.people, asked.fold_of_pair, rng)
        compared = asked.compared(implied_sides(words, dealt[asked.pair], asked.fold))
        drawn.append({name: one.value() for name, one in compared.statistics(stratified=bool(by)).items()})
    return Measured(
        n_texts=len(told),
        n_pairs=len(told.judged),
        n_prompts=len(np.unique(told.judged.cluster[asked.pair])),
        left_out=_left_out(told, asked.people),
        difficulty=by,
        readings=readings,
        permuted={name: _spread([one[name] for one in drawn if name in one]) for name in QUANTITIES[1:]},
    )


class _Asked(NamedTuple):
    """The texts that are read, n of them: those on pairs on which people have a side."""

    told: Explanations
    rows: Int[np.ndarray, " n"]
    pair: Int[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]
    people: Float[np.ndarray, " p"]
    """The side of each pair: 1 first, -1 second, 0 none."""
    fold_of_pair: Int[np.ndarray, " p"]
    """-1 where no text of the pair is read."""
    stratum: Int[np.ndarray, " p"]

    def compared(self, implied: Float[np.ndarray, " n"]) -> Seen:
        """The texts that imply a side, where the judge has one too."""
        choice, judged = self.told.choice[self.rows], self.told.judged
        use = (np.abs(choice) == 1) & (implied != 0)
        side, pair = choice[use], self.pair[use]
        return Seen(
            right=side == self.people[pair],
            agrees=side == implied[use],
            stratum=self.stratum[pair],
            cluster=judged.cluster[pair],
            n_clusters=judged.n_clusters,
        )


def _asked(told: Explanations, stratum: Int[np.ndarray, " p"], folds: int, rng: np.random.Generator) -> _Asked:
    people = np.where(np.abs(told.judged.majority) == 1, told.judged.majority, 0).astype(np.float64)
    rows = np.flatnonzero(people[told.pair] != 0)
    pair = told.pair[rows]
    fold = folds_of(told.judged.cluster[pair], folds, rng)
    fold_of_pair = np.full(len(people), -1)
    fold_of_pair[pair] = fold
    return _Asked(told, rows, pair, fold, people, fold_of_pair, stratum)


def _kept(texts: Sequence[str], whole: Sequence[str]) -> float | None:
    return sum(map(len, texts)) / sum(map(len, whole)) if any(whole) else None


def _left_out(told: Explanations, people: Float[np.ndarray, " p"]) -> dict[str, int]:
    unparsed, tied = told.choice == NONE, people[told.pair] == 0
    judge_tied = ~unparsed & ~tied & (np.abs(told.choice) != 1)
    counts = {"unparsed": unparsed, "people_tied": ~unparsed & tied, "judge_tied": judge_tied}
    return {name: int(of.sum()) for name, of in counts.items()}


def _spread(values: Sequence[float]) -> Estimate:
    """The mean of what was drawn, and where 95 % of it lies; its `n` counts draws."""
    known = np.array(values)[~np.isnan(values)]
    if not known.size:
        return Estimate.missing()
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(float(known.mean()), float(low), float(high), len(known))
