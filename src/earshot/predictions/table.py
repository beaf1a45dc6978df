"""The rows of predictions.jsonl as flat arrays, built in one pass over a stream of rows."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from earshot.errors import DataError
from earshot.measured import COMPARED
from earshot.predictions.judgement import AUTHOR, is_malformed
from earshot.predictions.sides import majority
from earshot.types import Side, hash_of

FIRST, SECOND, TIE, BOTH_BAD, NONE = 1, -1, 0, 2, -9
"""Codes of a verdict; NONE is a verdict that is not there."""

LABEL_CODES: Mapping[str | None, int] = {
    "first": FIRST,
    "second": SECOND,
    "tie": TIE,
    "both_bad": BOTH_BAD,
    None: NONE,
}
PICTURE_COLUMNS = ("bytes", "pixels", *COMPARED)
"""What is known of a picture without a model; a row has each as `first_` and `second_`."""
_OF_PICTURES = tuple(f"{side}_{name}" for name in PICTURE_COLUMNS for side in get_args(Side))
NAMED = ("axis", "category", "model_first", "model_second")
"""Fields of a row that are names: kept as numbers, one list of names for each."""


@dataclass(frozen=True)
class PredictionTable:
    """Predictions of one reasoner, a column each; NaN is what a row leaves null.

    Axes: p pairs, s samples. Everything is in the pair's own sides, but for `shown_verdict`.
    """

    pair_hash: Int[np.ndarray, " p"]
    """64 bits of the pair's id, to align two tables without keeping a million strings."""
    cluster: Int[np.ndarray, " p"]
    """The number of the pair's prompt, 0 .. n_clusters - 1."""
    n_clusters: int
    p_first: Float[np.ndarray, " p"]
    p_forward: Float[np.ndarray, " p"]
    p_swapped: Float[np.ndarray, " p"]
    votes_first: Float[np.ndarray, " p"]
    votes_second: Float[np.ndarray, " p"]
    pictures: dict[str, Float[np.ndarray, "2 p"]]
    """What is known of the first and the second picture, by the names of `PICTURE_COLUMNS`."""
    label: Int[np.ndarray, " p"]
    """The publisher's verdict: FIRST, SECOND, TIE, BOTH_BAD, or NONE where votes alone are known."""
    axis: Int[np.ndarray, " p"]
    category: Int[np.ndarray, " p"]
    model_first: Int[np.ndarray, " p"]
    model_second: Int[np.ndarray, " p"]
    """Numbers of names, -1 where a row has none: `axes[number]`, `categories[number]`, `models[number]`."""
    axes: tuple[str, ...]
    categories: tuple[str, ...]
    models: tuple[str, ...]
    """The generators' names; a generator has the same number on either side."""
    sample_pair: Int[np.ndarray, " s"]
    """The row, in the columns above, of the pair that the sample is of."""
    malformed: Bool[np.ndarray, " s"]
    side_sign: Int[np.ndarray, " s"]
    """1 for a verdict of first, -1 for second, 0 for none."""
    shown_verdict: Int[np.ndarray, " s"]
    """The answer as written, of the images as shown: 1, 2, or 0 for none."""
    trace_words: Int[np.ndarray, " s"]
    sample_p_first: Float[np.ndarray, " s"]
    true_claims: Float[np.ndarray, " s"]
    false_claims: Float[np.ndarray, " s"]
    favours_first: Float[np.ndarray, " s"]
    favours_second: Float[np.ndarray, " s"]
    """False claims that put that side of the pair in a better light."""
    listeners: dict[str, Float[np.ndarray, " s"]]
    """The probability of the first image that each listener gave."""
    believed: dict[str, Float[np.ndarray, " s"]]
    """How far each claim checker believes a trace's claims, their mean."""
    p_author: Float[np.ndarray, " p"]
    """The author's own, whoever decided."""
    p_read: dict[str, Float[np.ndarray, " p"]]
    """Each reader's, averaged over traces and orders."""
    read_decides: bool
    """Whether p_first is a reader's."""

    @property
    def people(self) -> Float[np.ndarray, " p"]:
        """The signs of people's sides, by the majority of the votes: 1 first, -1 second, 0 none."""
        return majority(self.votes_first, self.votes_second)

    @property
    def strict(self) -> Bool[np.ndarray, " p"]:
        """Which pairs people have a side on."""
        return self.votes_first != self.votes_second

    @property
    def share(self) -> Float[np.ndarray, " p"]:
        """The share of the votes that went to the first image; NaN without votes."""
        total = self.votes_first + self.votes_second
        return np.divide(self.votes_first, total, out=np.full(len(total), np.nan), where=total > 0)

    @property
    def voted(self) -> Bool[np.ndarray, " p"]:
        """Which pairs have votes and an answer."""
        return ~np.isnan(self.share) & ~np.isnan(self.p_first)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], *, where: str = "predictions") -> PredictionTable:
        """Build a table from rows of predictions.jsonl.

        Args:
            rows: Read once and not kept.
            where: The file's name, for messages.

        Raises:
            DataError: No rows, a row that lacks a field, a probability outside [0, 1], or an id that comes twice.
        """
        builder = TableBuilder()
        for number, row in enumerate(rows, start=1):
            try:
                builder.add(row)
            except BAD_ROW as error:
                raise DataError(
                    f"{where}:{number}: {type(error).__name__}: {error}; expected a row as 'earshot eval' writes it"
                ) from error
        if not len(builder):
            raise DataError(f"{where}: no predictions, expected at least one row; run 'earshot eval' first")
        table = builder.table()
        if len(np.unique(table.pair_hash)) != len(table.pair_hash):
            raise DataError(f"{where}: a pair's id comes twice, expected each once; evaluate into an empty directory")
        return table


BAD_ROW = (KeyError, TypeError, ValueError, AttributeError, DataError)
"""What `TableBuilder.add` raises of a row that is not what `earshot eval` writes."""


class TableBuilder:
    """Columns that grow row by row, eight bytes a number. A row that is refused leaves nothing behind."""

    def __init__(self) -> None:
        doubles = ("p_first", "p_forward", "p_swapped", "p_author", "votes_first", "votes_second")
        self.pairs: dict[str, array[Any]] = {name: array("d") for name in (*doubles, *_OF_PICTURES)}
        self.pairs |= {"pair_hash": array("q"), "cluster": array("q"), "label": array("b")}
        self.pairs |= {name: array("i") for name in NAMED}
        counts = ("sample_pair", "side_sign", "shown_verdict", "trace_words")
        numbers = ("sample_p_first", "true_claims", "false_claims", "favours_first", "favours_second")
        self.samples: dict[str, array[Any]] = {name: array("d") for name in numbers}
        self.samples |= {name: array("q") for name in counts} | {"malformed": array("b")}
        self._named: dict[tuple[str, str], tuple[array[int], array[float]]] = {}
        self.read_decides = False
        self.prompts: dict[str, int] = {}
        self.axes: dict[str, int] = {}
        self.categories: dict[str, int] = {}
        self.models: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.pairs["p_first"])

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes in a row of predictions.jsonl with what people say of its pair, or raises one of `BAD_ROW`."""
        pair, first = len(self), len(self.samples["sample_pair"])
        values = {
            "pair_hash": hash_of(str(row["id"])),
            "cluster": self.prompts.setdefault(str(row["prompt_id"]), len(self.prompts)),
            "p_first": probability(row["p_first"]),
            "p_forward": probability(row["p_first_forward"]),
            "p_swapped": probability(row["p_first_swapped"]),
            "p_author": probability(row.get("p_author", row["p_first"])),
            "votes_first": count(row["votes_first"]),
            "votes_second": count(row["votes_second"]),
            **{name: count(row.get(name), optional=True) for name in _OF_PICTURES},
            "label": LABEL_CODES[row.get("label")],
            "axis": code_of(row.get("axis"), self.axes),
            "category": code_of(row.get("category"), self.categories),
            "model_first": code_of(row.get("model_first"), self.models),
            "model_second": code_of(row.get("model_second"), self.models),
        }
        samples = [sample_values(pair, sample) for sample in row["samples"]]
        named = [("p_read", pair, name, p) for name, p in probabilities(row.get("p_read"))]
        for k, sample in enumerate(row["samples"]):
            for column in ("listener", "believed"):
                named += [(column, first + k, name, p) for name, p in probabilities(sample.get(column))]
        _append(self.pairs, values)
        for one in samples:
            _append(self.samples, one)
        for column, at, name, p in named:
            places, ps = self._named.setdefault((column, name), (array("q"), array("d")))
            places.append(at)
            ps.append(p)
        self.read_decides |= row.get("decided_by", AUTHOR) != AUTHOR

    def table(self) -> PredictionTable:
        """What was taken in."""
        columns = self.columns()
        both = {name: [columns.pop(f"{side}_{name}") for side in get_args(Side)] for name in PICTURE_COLUMNS}
        return PredictionTable(
            pictures={name: np.stack(sides) for name, sides in both.items()},
            n_clusters=len(self.prompts),
            listeners=self.named("listener", len(columns["malformed"])),
            believed=self.named("believed", len(columns["malformed"])),
            p_read=self.named("p_read", len(self)),
            read_decides=self.read_decides,
            axes=tuple(self.axes),
            categories=tuple(self.categories),
            models=tuple(self.models),
            **columns,
        )

    def columns(self) -> dict[str, np.ndarray]:
        # Named types, because 'q' is C's long long, which NumPy and jaxtyping do not take for int64.
        dtypes = {"d": np.float64, "q": np.int64, "i": np.int32, "b": np.int8}
        both = {k: np.array(column, dtype=dtypes[column.typecode]) for k, column in (self.pairs | self.samples).items()}
        return both | {"malformed": both["malformed"].astype(bool)}

    def named(self, column: str, n: int) -> dict[str, np.ndarray]:
        """The values of a column that holds them by name, NaN where a row has none."""
        columns = {}
        for (of, name), (rows, ps) in self._named.items():
            if of == column:
                columns[name] = np.full(n, np.nan)
                columns[name][np.array(rows)] = ps
        return columns


def _append(columns: Mapping[str, array[Any]], values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        columns[name].append(value)


def sample_values(pair: int, sample: Mapping[str, Any]) -> dict[str, Any]:
    """What a completion adds to the columns."""
    claims = sample.get("claims") or {}
    return {
        "sample_pair": pair,
        "malformed": is_malformed(sample),
        "side_sign": {"first": 1, "second": -1, None: 0}[sample["side"]],
        "shown_verdict": {1: 1, 2: 2, None: 0}[sample["verdict"]],
        "trace_words": len((sample["trace"] or "").split()),
        "sample_p_first": probability(sample["p_first"]),
        "true_claims": count(claims.get("true"), optional=True),
        "false_claims": count(claims.get("false"), optional=True),
        "favours_first": count(claims.get("favours_first"), optional=True),
        "favours_second": count(claims.get("favours_second"), optional=True),
    }


def probabilities(values: Mapping[str, Any] | None) -> list[tuple[str, float]]:
    """Those by name, each as `probability` reads it."""
    return [(name, probability(value)) for name, value in (values or {}).items()]


def code_of(name: str | None, names: dict[str, int]) -> int:
    """The number of a name, given at first sight; -1 for none.

    Raises:
        TypeError: The name is no text.
    """
    if name is None:
        return -1
    if not isinstance(name, str):
        raise TypeError(f"a name is {name!r}, expected text or null")
    return names.setdefault(name, len(names))


def probability(value: Any) -> float:
    """A number in [0, 1], or NaN for null.

    Raises:
        ValueError: Anything else; NaN as well, because a file that means "missing" says null.
    """
    if value is None:
        return math.nan
    if not (_is_number(value) and 0.0 <= value <= 1.0):
        raise ValueError(f"a probability is {value!r:.40}, expected a number in [0, 1] or null")
    return float(value)


def count(value: Any, *, optional: bool = False) -> float:
    """A finite number of at least 0, or NaN for null where that is allowed.

    Raises:
        ValueError: Anything else.
    """
    if value is None and optional:
        return math.nan
    if not (_is_number(value) and math.isfinite(value) and value >= 0):
        raise ValueError(f"a count is {value!r:.40}, expected a finite number of at least 0")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
