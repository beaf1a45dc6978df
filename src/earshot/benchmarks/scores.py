"""Reading anybody's answers: scores per image, choices or probabilities per pair, judges' texts, our predictions.

What a file holds is told by the fields of its first row (`docs/protocols.md` has the table). Every row must belong to
a pair or image of the truth, and none may come twice; a pair without a row is an error, or counts as one without an
answer where that was asked for. Nothing is left out in silence.

Axes: n rows of the file, p pairs of the truth.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from earshot.benchmarks.answers import Judged, Labelled, MarginUnit, judged_from_table, side_of
from earshot.benchmarks.genai_bench_text import choice_of
from earshot.benchmarks.joining import found, number, parsed, refuse_absent, refuse_repeats, refuse_unknown
from earshot.benchmarks.truth import SHA256_DIGITS, Key, Truth, TruthRow, collect_truth, image_key
from earshot.data.public.annotations import WINNER
from earshot.data.public.genai_bench import LABELS as GENAI_BENCH_LABELS
from earshot.data.row_files import Row, first_row, iter_row_file
from earshot.errors import DataError, InputError
from earshot.predictions.table import LABEL_CODES, NONE, TIE, PredictionTable, probability
from earshot.types import Label, hash_of

Absent = Literal["refused", "unanswered"]
"""What a pair of the truth without a row is: an error, or a pair that was not answered."""

ORDERS = ("forward", "swapped")


class Form(NamedTuple):
    """What a file holds, by the fields of its rows."""

    kind: Literal["predictions", "judgements", "labelled_scores", "images", "groups", "pairs"]
    key: Key | None
    """What its rows are joined to the truth by; None where they carry it themselves."""


def form_of(path: Path) -> Form:
    """What a file holds.

    Raises:
        InputError: There is no such file.
        DataError: The first row has the fields of none of the forms.
    """
    row = first_row(path)
    has = row.keys().__contains__
    if has("samples") and has("p_first_forward"):
        return Form("predictions", None)
    if has("response") and has("human_vote"):
        return Form("judgements", None)
    if has("score_0") and has("score_1") and has("label"):
        return Form("labelled_scores", None)
    if has("id") and has("rewards"):
        return Form("groups", "place")
    if has("score") and has("sha256"):
        return Form("images", "sha256")
    if has("score") and has("image"):
        return Form("images", "prompt_image" if has("prompt_id") else "image")
    if has("id") and _pair_columns(row):
        return Form("pairs", "id")
    raise DataError(
        f"{path}: its first row has the fields {', '.join(row)}, expected `image` and `score`, `id` and `rewards`, or "
        "`id` and one of choice, p_first, score_first with score_second; docs/protocols.md has the table"
    )


def read_judged(path: Path, truth: Truth | None = None, *, absent: Absent = "refused") -> Judged:
    """The answers in a file, beside the truth.

    Args:
        path: JSON Lines, a JSON list, CSV or parquet.
        truth: What people said, with the keys that `form_of(path)` names; None where the file says it itself.
        absent: What a pair of the truth is that the file has no row for.

    Raises:
        InputError: The truth is needed and was not given, or given and not needed.
        DataError: A row is bad, comes twice, or is of no pair of the truth; or a pair has none.
    """
    form = form_of(path)
    if (truth is None) != (form.key is None):
        expected = "does not say what people preferred; give --data or --annotations" if truth is None else (
            "says itself what people preferred; leave out --data and --annotations"
        )  # fmt: skip
        raise InputError(f"{path}: {expected}")
    if truth is None:
        return _OWN_TRUTH[form.kind](path)
    if form.kind == "pairs":
        return _pairs(path, truth, absent)
    return _images(path, form, truth, absent)


def _predictions(path: Path) -> Judged:
    return judged_from_table(PredictionTable.from_rows(iter_row_file(path), where=str(path)))


def _judgements(path: Path) -> Judged:
    """GenAI-Bench: the vote, and a judge's text; left is first."""

    def read(row: Row) -> tuple[str, str, Label, int]:
        if (label := GENAI_BENCH_LABELS.get(row["human_vote"])) is None:
            raise ValueError(f"human_vote is {row['human_vote']!r}, expected one of {', '.join(GENAI_BENCH_LABELS)}")
        return str(row["idx"]), str(row["prompt"]), label, choice_of(row["response"])

    return _self_told(path, read)


def _labelled_scores(path: Path) -> Judged:
    """MJ-Bench's score files: `label` names the better of image 0 and 1, the higher score is the answer."""
    margins = array("d")

    def read(row: Row) -> tuple[str, str, Label, int]:
        if str(row["label"]) not in ("0", "1"):
            raise ValueError(f"label is {row['label']!r}, expected 0 or 1")
        label: Label = "first" if str(row["label"]) == "0" else "second"
        margins.append(number(row["score_0"]) - number(row["score_1"]))
        answer = NONE if np.isnan(margins[-1]) else int(np.sign(margins[-1]))
        return str(row["id"]), str(row["caption"]), label, answer

    judged = _self_told(path, read)
    return replace(judged, margin=np.array(margins, dtype=np.float64), margin_unit="score")


_OWN_TRUTH: Mapping[str, Callable[[Path], Judged]] = {
    "predictions": _predictions,
    "judgements": _judgements,
    "labelled_scores": _labelled_scores,
}


def _self_told(path: Path, read: Callable[[Row], tuple[str, str, Label, int]]) -> Judged:
    """Answers from a file that tells the truth beside them: `read` gives id, prompt, label and answer of a row."""
    choices = array("b")

    def rows() -> Iterator[TruthRow]:
        for row_number, row in enumerate(iter_row_file(path), start=1):
            identity, prompt, label, choice = parsed(read, row, path, row_number)
            choices.append(choice)
            yield TruthRow(identity, prompt, label, WINNER[label].majority)

    truth = collect_truth(rows(), str(path), "id")
    return replace(unanswered(truth), choice=np.array(choices, dtype=np.int8))


def _images(path: Path, form: Form, truth: Truth, absent: Absent) -> Judged:
    """A score per image: the answer to a pair is the image with the higher one."""
    keys, scores, numbers = array("q"), array("d"), array("q")
    for row_number, row in enumerate(iter_row_file(path), start=1):
        for key, score in parsed(lambda r: _scored_images(r, form), row, path, row_number):
            keys.append(key)
            scores.append(score)
            numbers.append(row_number)
    hashes, rows = np.array(keys, dtype=np.int64), np.array(numbers, dtype=np.int64)
    refuse_repeats(hashes, path, rows)
    refuse_unknown(hashes, np.concatenate([truth.first_key, truth.second_key]), path, truth.where, rows, "image")
    values = np.append(np.array(scores, dtype=np.float64), np.nan)
    first, second = (found(hashes, wanted) for wanted in (truth.first_key, truth.second_key))
    if absent == "refused":
        refuse_absent((first < 0) | (second < 0), path, truth.where, "an image without a score")
    return _with_margin(truth, values[first] - values[second], "score")


def _scored_images(row: Row, form: Form) -> list[tuple[int, float]]:
    """The keys and scores of a row: one, or those of a whole list of images."""
    if form.kind == "groups":
        scores = row["rewards"]
        if not isinstance(scores, list | tuple):
            raise ValueError(f"the scores are {scores!r}, expected a list, one for each image of the group")
        return [(image_key("place", str(i), str(row["id"])), number(score)) for i, score in enumerate(scores)]
    if form.key == "sha256":
        digits = str(row["sha256"]).lower()
        if len(digits) < SHA256_DIGITS:
            raise ValueError(f"sha256 is {digits!r}, expected at least {SHA256_DIGITS} hexadecimal digits")
        return [(image_key("sha256", digits[:SHA256_DIGITS]), number(row["score"]))]
    name, prompt = row["image"], row.get("prompt_id")
    if not isinstance(name, str) or (form.key == "prompt_image" and prompt is None):
        raise ValueError(f"image is {name!r} of prompt {prompt!r}, expected text")
    return [(image_key(form.key or "image", name, None if prompt is None else str(prompt)), number(row["score"]))]


def _pairs(path: Path, truth: Truth, absent: Absent) -> Judged:
    names = _pair_columns(first_row(path))
    ids, columns = array("q"), {name: array("d") for name in names}
    for row_number, row in enumerate(iter_row_file(path), start=1):
        values = parsed(lambda r: [_answer(name, r) for name in names], row, path, row_number)
        ids.append(hash_of(_identity(row, path, row_number)))
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    hashes = np.array(ids, dtype=np.int64)
    refuse_repeats(hashes, path)
    refuse_unknown(hashes, truth.pair_hash, path, truth.where, np.arange(1, len(hashes) + 1), "pair")
    at = found(hashes, truth.pair_hash)
    if absent == "refused":
        refuse_absent(at < 0, path, truth.where, "no row")
    nothing = {name: NONE if name.startswith("choice") else np.nan for name in names}
    answers = {name: np.append(np.array(c, dtype=np.float64), nothing[name])[at] for name, c in columns.items()}
    return _combined(truth, answers)


def _pair_columns(row: Row) -> list[str]:
    """The columns of answers that a file has, of those that are read."""
    if ("score_first" in row) != ("score_second" in row):
        return []
    known = ("choice", "p_first", "score_first", "score_second")
    both = [f"{stem}_{order}" for stem in ("choice", "p_first") for order in ORDERS]
    return [name for name in (*known, *both) if name in row]


def _identity(row: Row, path: Path, row_number: int) -> str:
    identity = row.get("id")
    if not isinstance(identity, str | int) or isinstance(identity, bool):
        raise DataError(f"{path} row {row_number}: id is {identity!r}, expected a pair's id; mend the row")
    return str(identity)


def _answer(name: str, row: Row) -> float:
    value = row[name]
    if name.startswith("choice"):
        if value not in LABEL_CODES:
            raise ValueError(f"{name} is {value!r}, expected {', '.join(filter(None, LABEL_CODES))} or null")
        return float(LABEL_CODES[value])
    # Anybody's table may hold numbers as text; our own rows may not.
    found = number(value)
    return probability(found) if name.startswith("p_first") and not np.isnan(found) else found


def _combined(truth: Truth, answers: dict[str, Float[np.ndarray, " p"]]) -> Judged:
    """One answer a pair from the columns there are: a choice before a probability, that before scores."""
    orders = [_side_in(answers, order) for order in ORDERS]
    judged = unanswered(truth)
    if "p_first_forward" in answers and "p_first_swapped" in answers and "p_first" not in answers:
        answers["p_first"] = (answers["p_first_forward"] + answers["p_first_swapped"]) / 2
    if "score_first" in answers:
        judged = _with_margin(truth, answers["score_first"] - answers["score_second"], "score")
    if "p_first" in answers:
        judged = _with_margin(truth, 2 * answers["p_first"] - 1, "probability")
    forward, swapped = orders
    if forward is not None and swapped is not None:
        judged = replace(judged, choice_forward=forward, choice_swapped=swapped)
        if judged.margin is None:
            # Who names another side in the other order has named none.
            agreed = np.where(forward == swapped, forward, TIE)
            either = (forward == NONE) | (swapped == NONE)
            judged = replace(judged, choice=np.where(either, NONE, agreed).astype(np.int8))
    if "choice" in answers:
        judged = replace(judged, choice=answers["choice"].astype(np.int8))
    return judged


def _side_in(answers: Mapping[str, Float[np.ndarray, " p"]], order: str) -> Int[np.ndarray, " p"] | None:
    if f"choice_{order}" in answers:
        return answers[f"choice_{order}"].astype(np.int8)
    return side_of(answers[f"p_first_{order}"]) if f"p_first_{order}" in answers else None


def unanswered(truth: Truth) -> Judged:
    """No answer to any pair."""
    people = {field.name: getattr(truth, field.name) for field in fields(Labelled)}
    return Judged(**people, choice=np.full(len(truth), NONE, dtype=np.int8))


def _with_margin(truth: Truth, margin: Float[np.ndarray, " p"], unit: MarginUnit) -> Judged:
    choice = np.where(np.isnan(margin), NONE, np.sign(margin)).astype(np.int8)
    return replace(unanswered(truth), choice=choice, margin=margin, margin_unit=unit)
