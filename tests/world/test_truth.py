"""The ground truth beside a pair set: what is written is what is read, and what is no truth is refused by name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from earshot.errors import DataError, InputError
from earshot.files import append_jsonl
from earshot.world.truth import TRUTH_FILE, Truth, read_truth, read_truths, truth_row


def test_truths_come_back_from_the_file_as_they_were(draw, tmp_path: Path) -> None:
    truths = {f"p{i}": pair.truth for i, pair in enumerate(draw("ood_combinations", 60))}
    append_jsonl(tmp_path / TRUTH_FILE, [truth_row(*item) for item in truths.items()])
    assert list(read_truths(tmp_path)) == list(truths.items())
    assert read_truth(tmp_path) == truths


def test_a_row_spells_out_every_field(truth: Truth) -> None:
    told = asdict(truth)
    assert told.pop("edit") is None  # and is not told
    assert truth_row("p", truth) == {"id": "p", **told}
    assert list(truth_row("p", truth)) == ["id", "wanted", "first", "second"]


def test_swapping_twice_is_the_truth_again(draw) -> None:
    for pair in draw("train", 50):
        swapped = pair.truth.swapped()
        assert (swapped.wanted, swapped.first, swapped.second) == (
            pair.truth.wanted,
            pair.truth.second,
            pair.truth.first,
        )
        assert swapped.swapped() == pair.truth


def test_a_folder_without_truths_has_none(tmp_path: Path) -> None:
    assert read_truth(tmp_path) is None
    with pytest.raises(InputError, match=r"truth\.jsonl"):
        list(read_truths(tmp_path))


def put(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Puts a value at a dotted place of a row."""

    def change(row: dict[str, Any]) -> None:
        *path, last = place.split(".")
        for key in path:
            row = row[key]
        row[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda row: row.pop("wanted"), "wanted missing"),
        (lambda row: row["wanted"].pop("right"), "right missing"),
        (lambda row: row["wanted"]["left"].pop("size"), "size missing"),
        (put("first.fault", "blurred"), "fault 'blurred', expected one of clean, dark"),
        (put("first.fault", ["dark"]), r"fault \['dark'\]"),
        (put("wanted.left.colour", "mauve"), "'mauve', expected one of red, green"),
        (put("second.scene.right.shape", None), "None, expected one of circle"),
        (put("wanted.left", "large red circle"), "'large red circle', expected an object with size"),
        (put("second", []), r"\[\], expected an object with scene, fault"),
        (put("first", None), "None, expected an object"),
    ],
)
def test_a_row_that_is_no_truth_is_refused_with_file_line_and_pair(truth, tmp_path, change, found) -> None:
    row = copy.deepcopy(truth_row("p07", truth))
    change(row)
    append_jsonl(tmp_path / TRUTH_FILE, [truth_row("p06", truth), row])
    with pytest.raises(DataError, match=rf"truth\.jsonl:2: pair 'p07' is no ground truth: .*{found}") as caught:
        list(read_truths(tmp_path))
    assert "\n" not in str(caught.value) and "earshot world make" in str(caught.value)


def test_an_id_must_be_text(truth, tmp_path: Path) -> None:
    append_jsonl(tmp_path / TRUTH_FILE, [truth_row("p", truth) | {"id": 7}])
    with pytest.raises(DataError, match=r"pair 7 .* id is not text"):
        list(read_truths(tmp_path))


def test_half_a_last_line_is_an_error_and_not_a_shorter_set(truth, tmp_path: Path) -> None:
    line = json.dumps(truth_row("p", truth))
    (tmp_path / TRUTH_FILE).write_text(f"{line}\n{line[:40]}")
    with pytest.raises(DataError, match=r"truth\.jsonl:2"):
        list(read_truths(tmp_path))
