"""A run directory is read whole or in parts, in either format, with what people say of its pairs today."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from earshot.errors import DataError, InputError
from earshot.files import append_jsonl, whole, write_json, write_text
from earshot.predictions.judgement import JudgedSample, conclude
from earshot.predictions.run import Evaluation, Run, hint_of_runs_below, read_curves, read_runs
from tests.view.runs import judged_rows


def judged(k: int, p: float = 0.9, **more: Any) -> dict[str, Any]:
    samples = [JudgedSample(order, "words", "first", None, p) for order in ("forward", "swapped")]  # type: ignore[arg-type]
    return conclude(samples, id=f"p{k}", question="q", seed=0).as_dict() | {"content": "c"} | more


def people(k: int, first: float = 3, second: float = 1, content: str = "c") -> dict[str, Any]:
    return {"id": f"p{k}", "prompt_id": "q", "votes_first": first, "votes_second": second, "content": content}


def evaluation(folder: Path) -> Evaluation:
    return Evaluation("run", folder)


def test_parts_are_read_until_they_are_put_together_and_the_page_shows_each_row_once(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "people.jsonl", [people(k) for k in range(3)])
    page = judged_rows(tmp_path)
    parts = tmp_path / "predictions.parts"
    append_jsonl(parts / "part-000000000000.jsonl", [judged(0), {"row": 1, "id": "bad", "error": "it is damaged"}])
    assert [row["id"] for row in evaluation(tmp_path).rows()] == ["p0"]
    assert (page.refresh(), page.state()["left_out"]) == (1, 0)
    append_jsonl(parts / "part-000000000002.jsonl", [judged(1), judged(2)])
    assert page.refresh() == 2
    append_jsonl(tmp_path / "predictions.jsonl", [judged(k) for k in range(3)])
    assert [row["id"] for row in evaluation(tmp_path).rows()] == ["p0", "p1", "p2"]
    page.refresh()
    assert page.table()["id"].to_pylist() == ["p0", "p1", "p2"]


def test_votes_are_todays_and_rows_of_the_first_format_hold_their_own(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "predictions.jsonl", [judged(0), judged(1) | {"votes_first": 0, "votes_second": 5}])
    append_jsonl(tmp_path / "people.jsonl", [people(0, 2, 7)])
    assert [(row["votes_first"], row["votes_second"]) for row in evaluation(tmp_path).rows()] == [(2, 7), (0, 5)]


def test_a_vote_that_is_put_right_counts_at_once_on_the_page_too(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "predictions.jsonl", [judged(0), judged(1)])
    page = judged_rows(tmp_path)
    for first, outcome in ((3, "right"), (0, "wrong")):
        with whole(tmp_path / "people.jsonl") as temporary:
            append_jsonl(temporary, [people(k, first) for k in range(2)])
        assert page.refresh() == 2
        assert page.table()["outcome"].to_pylist() == [outcome] * 2
    assert page.refresh() == 0


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
        _ = Run("run", tmp_path).evaluations
    (found,) = Run("run", tmp_path, strict=False).evaluations
    assert (found.settings, found.data_folder) == ({}, None)
    write_json(tmp_path / "evaluation.json", {"data": "../set"})
    (found,) = Run("run", tmp_path).evaluations
    assert found.set_name == "set"


def test_an_evaluation_alone_tells_its_own_environment(tmp_path: Path) -> None:
    write_json(tmp_path / "eval" / "test" / "metrics.json", {"n_pairs": 1})
    write_json(tmp_path / "eval" / "test" / "environment.json", {"commit": "abc"})
    assert Run("run", tmp_path).environment == {"commit": "abc"}


def test_the_later_row_of_a_step_counts(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": 1, "reward": 1.0}, {"step": 2, "reward": 5.0}, {"step": 3, "kl": None}]
    append_jsonl(tmp_path / "m.jsonl", [*rows, {"step": 2, "reward": 2.0, "note": "resumed"}])
    curves = read_curves(tmp_path / "m.jsonl")
    assert set(curves) == {"reward"}
    assert curves["reward"].steps.tolist() == [1, 2]
    assert curves["reward"].values.tolist() == [1.0, 2.0]
    append_jsonl(tmp_path / "m.jsonl", [{"reward": 1.0}])
    with pytest.raises(DataError, match=r"m\.jsonl:5: step is None"):
        read_curves(tmp_path / "m.jsonl")


def test_each_run_is_read_once_and_a_folder_without_one_is_refused_only_where_that_matters(tmp_path: Path) -> None:
    write_text(tmp_path / "run" / "config.yaml", "seed: 1")
    (tmp_path / "empty").mkdir()
    both = [tmp_path / "run", tmp_path / "empty" / ".." / "run"]
    (run,) = read_runs(both, who="a report")
    assert (run.name, run.settings, run.curves, run.n_rollouts, run.paid) == ("run", {"seed": 1}, {}, 0, None)
    with pytest.raises(InputError, match="holds no run"):
        read_runs([tmp_path / "empty"], who="a report")
    (empty,) = read_runs([tmp_path / "empty"], who="view", strict=False)
    assert (empty.config, empty.evaluations, empty.rollout_files) == ("", [], [])
    with pytest.raises(InputError, match="view was asked of no run"):
        read_runs([], who="view")


def test_a_damaged_evaluation_fails_a_strict_run_and_costs_a_lenient_one_its_words(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "predictions.jsonl", [judged(0)])
    write_text(tmp_path / "metrics.json", "[")
    with pytest.raises(DataError, match=r"metrics\.json"):
        _ = Run("run", tmp_path).measured
    lenient = Run("run", tmp_path, strict=False)
    assert (lenient.measured, len(lenient.evaluations)) == ([], 1)


def test_a_training_set_that_is_no_path_is_none(tmp_path: Path) -> None:
    write_text(tmp_path / "config.yaml", 'data: {train: "a\\0b"}\nout: runs/x')
    assert Run("run", tmp_path).training_set is None


def test_a_file_that_was_written_whole_loses_no_row_in_silence(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "predictions.jsonl", [judged(0) | people(0), judged(1) | people(1)])
    text = (tmp_path / "predictions.jsonl").read_bytes()
    (tmp_path / "predictions.jsonl").write_bytes(text[:-20])
    assert [row["id"] for row in evaluation(tmp_path).rows()] == ["p0"]  # format 1: a crash cut it while it grew
    append_jsonl(tmp_path / "people.jsonl", [people(0), people(1)])
    with pytest.raises(DataError, match="half-written last line"):
        list(evaluation(tmp_path).rows())


def test_a_folder_of_a_few_runs_stands_for_them_and_of_many_some_are_named(tmp_path: Path) -> None:
    for name in ("b", "a run", "deep/er/c", "too/deep/to/find"):
        write_text(tmp_path / name / "config.yaml", "seed: 1")
    write_text(tmp_path / "b" / "eval" / "test" / "metrics.json", "{}")
    write_text(tmp_path / "judged" / "eval" / "test" / "metrics.json", "{}")
    for hour, name in enumerate(("judged", "deep/er/c", "b", "a run")):
        write_text(tmp_path / name / "environment.json", json.dumps({"time": f"2026-11-28T0{hour}:00:00+00:00"}))
    read = read_runs([tmp_path, tmp_path / "b"], who="report")
    assert [run.name for run in read] == ["judged", "c", "b", "a run"]  # as they were begun
    for n in range(20):
        write_text(tmp_path / f"run-{n:02}" / "config.yaml", "seed: 1")
    with pytest.raises(InputError, match="holds no run") as caught:
        read_runs([tmp_path], who="report")
    assert str(caught.value).endswith("or others of the 24 runs below it")
    assert hint_of_runs_below(tmp_path, "view").endswith("/run-04', or others of the 24 runs below it")
    assert hint_of_runs_below(tmp_path / "b", "view").startswith(f"try 'earshot view {tmp_path}/b/eval/test'")
    assert hint_of_runs_below(tmp_path / "nowhere", "view") == ""


def test_a_pipe_in_the_place_of_a_configuration_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    run = Run("run", tmp_path)
    assert run.settings == {}
    with pytest.raises(InputError, match=r"config\.yaml: is a pipe"):
        run.config  # noqa: B018 - it is read when it is asked for
