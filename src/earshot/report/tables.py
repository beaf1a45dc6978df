"""Estimates as people read them: the words for each quantity, and the table of several evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from earshot.metrics import read_estimate
from earshot.types import Estimate

Place: TypeAlias = Literal["headline", "more", "calibration", "selective"]
"""The table that a quantity stands in."""


class Quantity(NamedTuple):
    """How a key of metrics.json is shown."""

    label: str
    percent: bool
    place: Place
    meaning: str


QUANTITIES = {
    "accuracy": Quantity("accuracy", True, "headline", "pairs with a majority whose side was named; unparsed is wrong"),
    "accuracy.author": Quantity(
        "accuracy of the author", True, "headline", "where a reader decides: the reasoner's own"
    ),
    "accuracy.read.": Quantity(
        "accuracy as {} reads the traces", True, "headline", "its p over traces and orders, conclusions taken out"
    ),
    "follows_trace.": Quantity(
        "follows its trace, as {} reads it", True, "headline", "pairs on which author and reader are on one side"
    ),
    "coverage.agree.": Quantity("pairs on which {} agrees", True, "more", "with the author; the share of strict pairs"),
    "accuracy.agree.": Quantity("accuracy where {} agrees", True, "more", "on those pairs alone"),
    "selective_accuracy.50.agree.": Quantity(
        "accuracy on the surest half, {} agreeing first",
        True,
        "selective",
        "those on which it differs are left out first",
    ),
    "selective_accuracy.80.agree.": Quantity(
        "accuracy on the surest 80 %, {} agreeing first",
        True,
        "selective",
        "those on which it differs are left out first",
    ),
    "aurc.agree.": Quantity(
        "area under the risk curve, {} agreeing first", False, "selective", "mean error over all coverages"
    ),
    "believed.": Quantity("claims that {} believes", True, "more", "mean p over the claims of a trace"),
    "blind.always_first": Quantity("blind: always the first", True, "headline", "accuracy without looking"),
    "blind.larger_file": Quantity("blind: the larger file", True, "headline", "accuracy without looking"),
    "blind.larger_picture": Quantity("blind: more pixels", True, "headline", "accuracy without looking"),
    "blind.generator_prior": Quantity(
        "blind: generator prior", True, "headline", "the generator that wins more often in other prompts"
    ),
    "blind.sharper": Quantity("blind: the sharper", True, "headline", "accuracy by one number of each picture"),
    "blind.brighter": Quantity("blind: the brighter", True, "headline", "accuracy by one number of each picture"),
    "blind.contrast": Quantity("blind: more contrast", True, "headline", "accuracy by one number of each picture"),
    "blind.colourful": Quantity("blind: more colourful", True, "headline", "accuracy by one number of each picture"),
    "ceiling.leave_one_out": Quantity(
        "one person with the others", True, "headline", "how often a rater agrees with the majority of the other raters"
    ),
    "ceiling.including": Quantity(
        "one person with all", True, "more", "a rater with the majority of all raters, himself among them"
    ),
    "accuracy_macro": Quantity("accuracy, mean over prompts", True, "headline", "every prompt weighs the same"),
    "disagreement.": Quantity(
        "disagreement with {}", True, "headline", "verdicts that differ from the listener's side"
    ),
    "disagreement_gap.": Quantity("gap to {}", False, "more", "mean |p reasoner − p listener|"),
    "false_claims": Quantity("false claims a trace", False, "headline", "statements that the ground truth contradicts"),
    "true_claims": Quantity("true claims a trace", False, "more", "statements that the ground truth confirms"),
    "bent_to_verdict": Quantity(
        "traces bent to their verdict", True, "more", "with a false claim that favours the side they name"
    ),
    "bent_against_verdict": Quantity(
        "traces bent against it", True, "more", "with one that favours the other: as many, where nothing is bent"
    ),
    "malformed_rate": Quantity("malformed", True, "headline", "completions that are no verdict"),
    "position_consistency": Quantity(
        "same side in both orders", True, "headline", "pairs judged alike when shown swapped"
    ),
    "first_pick_rate": Quantity("picks the image shown first", True, "headline", "50 % is fair"),
    "trace_length": Quantity("words a trace", False, "more", "mean length of a well-formed trace"),
    "brier": Quantity("Brier score", False, "more", "against the share of votes; lower is better"),
    "ece": Quantity("calibration error", False, "more", "expected, 15 bins, against the share of votes"),
    "nll": Quantity("cross-entropy (nats)", False, "more", "against the share of votes; lower is better"),
    "brier.reliability": Quantity(
        "Brier: reliability", False, "calibration", "gap between the bins' mean prediction and share; lower is better"
    ),
    "brier.resolution": Quantity(
        "Brier: resolution", False, "calibration", "how far the bins' shares lie apart; subtracted, higher is better"
    ),
    "brier.uncertainty": Quantity(
        "Brier: uncertainty", False, "calibration", "variance of the shares; no prediction changes it"
    ),
    "brier.within_variance": Quantity("Brier: variance within bins", False, "calibration", "of the predictions, added"),
    "brier.within_covariance": Quantity(
        "Brier: covariance within bins", False, "calibration", "of predictions and shares, twice; subtracted"
    ),
    "selective_accuracy.50": Quantity(
        "accuracy on the surest half", True, "selective", "answering 50 % of the pairs, the surest ones"
    ),
    "selective_accuracy.80": Quantity(
        "accuracy on the surest 80 %", True, "selective", "answering 80 % of the pairs, the surest ones"
    ),
    "aurc": Quantity("area under the risk curve", False, "selective", "mean error over all coverages; lower is better"),
}
"""By key; a key that ends in a dot is followed by a listener's name."""


class Row(NamedTuple):
    """One quantity of several evaluations."""

    key: str
    label: str
    meaning: str
    place: Place
    cells: list[Cell]

    @property
    def shared(self) -> bool:
        """Whether it is of the pairs and not of who judged them, and so the same for all."""
        return self.key.startswith(("blind.", "ceiling.")) and len(set(self.cells)) == 1 < len(self.cells)


class Cell(NamedTuple):
    """An estimate in words; `n` says how many observations it rests on."""

    value: str
    interval: str
    n: int
    clear: bool = False
    """Whether it is a difference whose interval leaves 0 out."""


def quantity_of(key: str) -> tuple[str, Quantity] | None:
    """The entry of `QUANTITIES` by which a key is shown; None for a key that is not."""
    for known, quantity in QUANTITIES.items():
        if key == known or (known.endswith(".") and key.startswith(known)):
            return known, quantity
    return None


def label_of(key: str) -> str:
    """A key of metrics.json in words; the key itself where it is not shown."""
    found = quantity_of(key)
    return key if found is None else found[1].label.format(key[len(found[0]) :])


def summary_rows(metrics: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A row for each known quantity that at least one of the evaluations could compute."""
    return estimate_rows([_estimates(m) for m in metrics])


def estimate_rows(columns: Sequence[Mapping[str, Estimate]], *, signed: bool = False) -> list[Row]:
    """A row for each known quantity that at least one of the columns has; `signed` writes differences."""
    rows = []
    for known, quantity in QUANTITIES.items():
        for key in _keys(known, columns):
            estimates = [column.get(key, Estimate.missing()) for column in columns]
            if any(e.n for e in estimates):
                cells = [format_estimate(e, percent=quantity.percent, signed=signed) for e in estimates]
                rows.append(Row(key, label_of(key), quantity.meaning, quantity.place, cells))
    return rows


def _estimates(metrics: Mapping[str, Any]) -> dict[str, Estimate]:
    return {key: read_estimate(metrics, key) for key in metrics if quantity_of(key)}


def _keys(known: str, columns: Sequence[Mapping[str, Any]]) -> list[str]:
    if not known.endswith("."):
        return [known]
    return sorted({key for column in columns for key in column if key.startswith(known)})


def format_estimate(estimate: Estimate, *, percent: bool, signed: bool = False) -> Cell:
    """`71.3 %` and `68.0 to 74.5`; a dash where there is nothing, no interval where there is none.

    A signed one is a difference: of percentages it is told in points.
    """
    if estimate.value is None:
        return Cell("–", "", 0)
    value, *ends = estimate.numbers(percent=percent, signed=signed)
    unit = "" if not percent else " points" if signed else " %"
    apart = estimate.low is not None and estimate.high is not None and (estimate.low > 0 or estimate.high < 0)
    return Cell(value + unit, " to ".join(ends), estimate.n, signed and apart)
