"""A run directory is read whole or in parts, in either format, with what people say of its pairs today."""

from pathlib import Path
from typing import Any

import pytest

from earshot.errors import DataError
from earshot.predictions.judgement import JudgedSample, conclude
from earshot.predictions.run import Evaluation, evaluations_of
from earshot.rundir import append_jsonl, write_json
from earshot.view.judged import JudgedIndex
from earshot.view.sources import Source


def judged(k: int, p: float = 0.9, **more: Any) -> dict[str, Any]:
    samples = [JudgedSample(order, "words", "first", None, p) for order in ("forward", "swapped")]  # type: ignore[arg-type]
    return conclude(samples, id=f"p{k}", question="q", seed=0, content="c").as_dict() | more


def people(k: int, first: float = 3, second: float = 1, content: str = "c") -> dict[str, Any]:
    return {"id": f"p{k}", "prompt_id": "q", "votes_first": first, "votes_second": second, "content": content}


def evaluation(folder: Path) -> Evaluation:
    return Evaluation("run", folder, {}, {})


def test_parts_are_read_until_they_are_put_together_and_the_page_shows_each_row_once(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "people.jsonl", [people(k) for k in range(3)])
    index = JudgedIndex([Source("run", "set", tmp_path, None)])
    parts = tmp_path / "predictions.parts"
    append_jsonl(parts / "part-000000000000.jsonl", [judged(0), {"row": 1, "id": "bad", "error": "it is damaged"}])
    assert [row["id"] for row in evaluation(tmp_path).rows()] == ["p0"]
    assert (index.refresh(), index.left_out) == (1, 0)
    append_jsonl(parts / "part-000000000002.jsonl", [judged(1), judged(2)])
    assert index.refresh() == 2
    append_jsonl(tmp_path / "predictions.jsonl", [judged(k) for k in range(3)])
    assert [row["id"] for row in evaluation(tmp_path).rows()] == ["p0", "p1", "p2"]
    index.refresh()
    alive = index.columns.snapshot()["alive"]
    assert alive.tolist() == [False] * 3 + [True] * 3
    assert [row and row["id"] for row in index.read([3, 4, 5])] == ["p0", "p1", "p2"]


def test_votes_are_todays_and_rows_of_the_first_format_hold_their_own(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "predictions.jsonl", [judged(0), judged(1) | {"votes_first": 0, "votes_second": 5}])
    append_jsonl(tmp_path / "people.jsonl", [people(0, 2, 7)])
    assert [(row["votes_first"], row["votes_second"]) for row in evaluation(tmp_path).rows()] == [(2, 7), (0, 5)]


@pytest.mark.parametrize(
    ("said", "message"), [([], "'p0' is missing"), ([people(0, content="other")], "another prompt or other pictures")]
)
def test_a_pair_that_is_gone_or_another_is_refused(tmp_path: Path, said: list[dict[str, Any]], message: str) -> None:
    append_jsonl(tmp_path / "predictions.jsonl", [judged(0)])
    append_jsonl(tmp_path / "people.jsonl", said)
    with pytest.raises(DataError, match=message):
        list(evaluation(tmp_path).rows())


def test_damaged_settings_are_an_error_or_cost_what_they_say(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "predictions.jsonl", [judged(0)])
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match="no JSON"):
        evaluations_of(tmp_path, "run")
    (found,) = evaluations_of(tmp_path, "run", strict=False)
    assert (found.settings, found.data_folder, found.listeners) == ({}, None, ())
    write_json(tmp_path / "evaluation.json", {"data": "../set", "listeners": ["kin"]})
    (found,) = evaluations_of(tmp_path, "run")
    assert (found.set_name, found.listeners) == ("set", ("kin",))
