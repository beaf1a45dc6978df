"""Reading anybody's answers: scores per image, choices or probabilities per pair, judges' texts, our predictions.

What a file holds is told by the fields of its first row (`benchmarks.forms`). Every row must belong to a pair or image
of the truth, and none may say two things; a pair without a row is an error unless something else was asked for.

Axes: n rows of the file, p pairs of the truth.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from earshot.benchmarks.answers import Judged, Labelled, MarginUnit, Origin, judged_from_table, side_of
from earshot.benchmarks.forms import (
    JUDGED_PROMPTS,
    ORDERS,
    Columns,
    Form,
    answer_columns,
    first_answer,
    form_of,
    iter_answers,
    told,
)
from earshot.benchmarks.genai_bench_text import choice_of
from earshot.benchmarks.joining import found, number, parsed, refuse_absent, refuse_repeats
from earshot.benchmarks.tails import Tails, plain
from earshot.benchmarks.truth import SHA256_DIGITS, Truth, TruthRow, collect_truth, known_as
from earshot.data.public.annotations import WINNER
from earshot.data.public.genai_bench import LABELS as GENAI_BENCH_LABELS
from earshot.data.row_files import Row, first_row
from earshot.errors import DataError, InputError, short
from earshot.predictions.people import People
from earshot.predictions.table import LABEL_CODES, NONE, TIE, PredictionTable, probability
from earshot.rundir import RunDir
from earshot.types import Label, hash_of

Absent = Literal["refused", "unanswered", "left-out"]
"""What a pair of the truth without a row is: an error, one that was not answered, or none."""


def read_judged(
    path: Path, truth: Truth | None = None, *, absent: Absent = "refused", columns: Columns | None = None
) -> Judged:
    """The answers in a file, beside the truth.

    Args:
        path: JSON Lines, a JSON list, CSV or parquet.
        truth: What people said, with the keys that `form_of(path)` names; None where the file says it itself.
        absent: What a pair of the truth is that the file has no row for.
        columns: Fields that go by other names in the file.

    Raises:
        InputError: The truth is needed and was not given, or given and not needed.
        DataError: A row is bad, comes twice, or is of no pair of the truth; or a pair has none.
    """
    form = form_of(path, columns)
    if (truth is None) != (form.key is None):
        expected = "does not say what people preferred; give --data or --annotations" if truth is None else (
            "says itself what people preferred; leave out --data and --annotations"
        )  # fmt: skip
        raise InputError(f"{path}: {expected}")
    if truth is None:
        judged = _OWN_TRUTH[form.kind](iter_answers(path, columns), path)
    elif form.kind == "pairs":
        judged = _pairs(path, truth, absent, columns)
    else:
        judged = _images(path, form, truth, absent, columns)
    return replace(judged, name=f"{path}, of the columns {told(first_row(path))}")


def _predictions(rows: Iterable[Row], path: Path) -> Judged:
    return judged_from_table(PredictionTable.from_rows(with_people(rows, path), where=str(path)))


def with_people(rows: Iterable[Row], path: Path) -> Iterator[Row]:
    """Our own predictions with what people say of each pair; without rows of pairs that could not be judged.

    Raises:
        DataError: It does not stand there, or is of other pairs.
    """
    people = People(RunDir(path.parent).people)
    return (people.joined(row) for row in rows if "error" not in row)


def _judgements(rows: Iterable[Row], path: Path) -> Judged:
    """GenAI-Bench: the vote, and a judge's text; left is first. The prompt of an edit is what was to be done."""
    first = first_row(path)
    prompt = next(name for name in JUDGED_PROMPTS if name in first)

    def read(row: Row) -> tuple[str, str, Label, int]:
        if (label := GENAI_BENCH_LABELS.get(row["human_vote"])) is None:
            raise ValueError(f"human_vote is {row['human_vote']!r}, expected one of {', '.join(GENAI_BENCH_LABELS)}")
        return str(row["idx"]), str(row[prompt]), label, choice_of(row["response"])

    return _self_told(rows, path, read, Origin(JUDGED_PROMPTS[prompt], None))


def _labelled_scores(rows: Iterable[Row], path: Path) -> Judged:
    """MJ-Bench's score files: `label` names the better of image 0 and 1, the higher score is the answer."""
    margins = array("d")

    def read(row: Row) -> tuple[str, str, Label, int]:
        if str(row["label"]) not in ("0", "1"):
            raise ValueError(f"label is {row['label']!r}, expected 0 or 1")
        label: Label = "first" if str(row["label"]) == "0" else "second"
        margins.append(number(row["score_0"]) - number(row["score_1"]))
        answer = NONE if np.isnan(margins[-1]) else int(np.sign(margins[-1]))
        return str(row["id"]), str(row["caption"]), label, answer

    judged = _self_told(rows, path, read, Origin("mjbench", None))
    return replace(judged, margin=np.array(margins, dtype=np.float64), margin_unit="score")


_OWN_TRUTH: Mapping[str, Callable[[Iterable[Row], Path], Judged]] = {
    "predictions": _predictions,
    "judgements": _judgements,
    "labelled_scores": _labelled_scores,
}


def _self_told(
    rows: Iterable[Row], path: Path, read: Callable[[Row], tuple[str, str, Label, int]], origin: Origin
) -> Judged:
    """Answers from a file that tells the truth beside them: `read` gives id, prompt, label and answer of a row."""
    choices = array("b")

    def people() -> Iterator[TruthRow]:
        for row_number, row in enumerate(rows, start=1):
            identity, prompt, label, choice = parsed(read, row, path, row_number)
            choices.append(choice)
            yield TruthRow(identity, prompt, label, WINNER[label].majority, origin)

    truth = collect_truth(people(), str(path), "id")
    return replace(unanswered(truth), choice=np.array(choices, dtype=np.int8))


def _images(path: Path, form: Form, truth: Truth, absent: Absent, columns: Columns | None) -> Judged:
    """A score per image: the answer to a pair is the image with the higher one."""
    keys, scores, numbers = array("q"), array("d"), array("q")
    join = _Join(truth, form)
    for row_number, row in enumerate(iter_answers(path, columns), start=1):
        for key, score in parsed(lambda r: [(join(n), s) for n, s in _scored_images(r, form)], row, path, row_number):
            keys.append(key)
            scores.append(score)
            numbers.append(row_number)
    hashes, rows = np.array(keys, dtype=np.int64), np.array(numbers, dtype=np.int64)
    values = np.array(scores, dtype=np.float64)
    images = np.concatenate([truth.first_key, truth.second_key])
    _refuse_unknown(~np.isin(hashes, images), rows, path, truth, form, columns)
    _refuse_contradictions(hashes, values, rows, path)
    values = np.append(values, np.nan)
    first, second = (found(hashes, wanted) for wanted in (truth.first_key, truth.second_key))
    judged = replace(_with_margin(truth, values[first] - values[second], "score"), note=join.note())
    return _present(judged, (first >= 0) & (second >= 0), path, truth, absent, "an image without a score")


class _Join:
    """From an image's name in the file to the key it has in the truth: the name itself, else by the end of it."""

    def __init__(self, truth: Truth, form: Form) -> None:
        self._truth, self._by_end = truth, form.key in ("image", "prompt_image")
        self._keys = set(truth.first_key.tolist()) | set(truth.second_key.tolist())
        self._n, self._example = 0, ""

    def __call__(self, text: str) -> int:
        key = hash_of(text)
        if key in self._keys or not self._by_end or (known := self._tails.find(text)) is None:
            return key
        self._n += 1
        self._example = self._example or f"{_end(text)} as {_end(known)}"
        return hash_of(known)

    @cached_property
    def _tails(self) -> Tails:
        return Tails(self._truth.known)

    def note(self) -> str | None:
        return f"{self._n:,} images found by the end of their names, {self._example}" if self._n else None


def _refuse_unknown(
    unknown: Bool[np.ndarray, " n"],
    rows: Int[np.ndarray, " n"],
    path: Path,
    truth: Truth,
    form: Form,
    columns: Columns | None,
) -> None:
    """Raises DataError where the file names a pair or image that the truth does not know."""
    if unknown.any():
        number = int(rows[unknown][0])
        row = next(islice(iter_answers(path, columns), number - 1, None))
        such = " or ".join(short(text.replace("\0", ": ")) for text in truth.known[:2])
        raise DataError(
            f"{path} row {number}: {_named(row, form)} is not in {truth.where}, nor are {int(unknown.sum()) - 1} more; "
            f"expected such as {such}; give the set that was scored (--data, --annotations), or leave these rows out"
        )


def _named(row: Row, form: Form) -> str:
    """What a row is of."""
    if form.kind == "groups":
        return f"a group {short(row['id'])} of {len(row['rewards'])} images"
    if form.kind == "pairs":
        return f"pair {short(row['id'])}"
    name = short(row["sha256" if form.key == "sha256" else "image"])
    return f"image {name} of prompt {short(row['prompt_id'])}" if form.key == "prompt_image" else f"image {name}"


def _end(text: str) -> str:
    name = plain(text)
    return short(name if len(name) <= 48 else f"...{name[-45:]}")


def _refuse_contradictions(
    hashes: Int[np.ndarray, " n"], scores: Float[np.ndarray, " n"], rows: Int[np.ndarray, " n"], path: Path
) -> None:
    """Raises DataError where an image has two scores; the same one again, as in a file of pairs, says nothing new."""
    order = np.argsort(hashes, kind="stable")
    same = hashes[order][1:] == hashes[order][:-1]
    before, after = order[:-1][same], order[1:][same]
    differ = np.flatnonzero(~((scores[before] == scores[after]) | (np.isnan(scores[before]) & np.isnan(scores[after]))))
    if differ.size:
        one, two = before[differ[0]], after[differ[0]]
        raise DataError(
            f"{path} row {rows[two]}: gives {scores[two]:g} to the image that has {scores[one]:g} in row {rows[one]}, "
            f"expected one score an image ({differ.size} such rows); keep one, or name the prompt (prompt_id) where an "
            "image has several"
        )


def _scored_images(row: Row, form: Form) -> list[tuple[str, float]]:
    """What the images of a row are known by, and their scores: one, or those of a whole list of images."""
    if form.kind == "groups":
        scores = row["rewards"]
        if not isinstance(scores, list | tuple):
            raise ValueError(f"the scores are {scores!r}, expected a list, one for each image of the group")
        return [(known_as("place", str(i), str(row["id"])), number(score)) for i, score in enumerate(scores)]
    if form.key == "sha256":
        digits = str(row["sha256"]).lower()
        if len(digits) < SHA256_DIGITS:
            raise ValueError(f"sha256 is {digits!r}, expected at least {SHA256_DIGITS} hexadecimal digits")
        return [(digits[:SHA256_DIGITS], number(row["score"]))]
    name, prompt = row["image"], row.get("prompt_id")
    if not isinstance(name, str) or (form.key == "prompt_image" and prompt is None):
        raise ValueError(f"image is {name!r} of prompt {prompt!r}, expected text")
    return [(known_as(form.key or "image", name, None if prompt is None else str(prompt)), number(row["score"]))]


def _present(
    judged: Judged, there: Bool[np.ndarray, " p"], path: Path, truth: Truth, absent: Absent, what: str
) -> Judged:
    """The answers when pairs that the file has no row for are refused, left as they are, or left out."""
    if absent == "refused":
        refuse_absent(~there, path, truth.where, what)
    return replace(judged.where(there), n_left_out=int((~there).sum())) if absent == "left-out" else judged


def _pairs(path: Path, truth: Truth, absent: Absent, columns: Columns | None) -> Judged:
    names = answer_columns(first_answer(path, columns))
    ids, answered = array("q"), {name: array("d") for name in names}
    for row_number, row in enumerate(iter_answers(path, columns), start=1):
        values = parsed(lambda r: [_answer(name, r) for name in names], row, path, row_number)
        ids.append(hash_of(_identity(row, path, row_number)))
        for name, value in zip(names, values, strict=True):
            answered[name].append(value)
    hashes = np.array(ids, dtype=np.int64)
    refuse_repeats(hashes, path)
    rows = np.arange(1, len(hashes) + 1)
    _refuse_unknown(~np.isin(hashes, truth.pair_hash), rows, path, truth, Form("pairs", "id"), columns)
    at = found(hashes, truth.pair_hash)
    nothing = {name: NONE if name.startswith("choice") else np.nan for name in names}
    answers = {name: np.append(np.array(c, dtype=np.float64), nothing[name])[at] for name, c in answered.items()}
    return _present(_combined(truth, answers), at >= 0, path, truth, absent, "no row")


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
