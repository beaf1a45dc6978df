"""Where a run's predictions and rollouts are found, and the pair sets they are of."""

from functools import partial
from pathlib import Path

import pytest

from earshot.errors import InputError
from earshot.files import append_jsonl, write_json, write_text
from earshot.view import Library
from tests.view.runs import PAIRS, ROLLOUTS, prediction, rollout, write_rollouts


def evaluation(folder: Path, **settings: object) -> Path:
    append_jsonl(folder / "predictions.jsonl", [prediction("a", PAIRS["a"])])
    if settings:
        write_json(folder / "evaluation.json", settings)
    return folder


def test_a_run_shows_its_own_predictions_and_those_of_its_evaluations(tmp_path: Path) -> None:
    evaluation(tmp_path / "run", data="../pairs")
    evaluation(tmp_path / "run" / "eval" / "ood", data="../../../other")
    own, ood = Library([tmp_path / "run"]).rows["judged"].sources
    assert (own.run, own.name, own.pairs.folder) == ("run", "pairs", tmp_path / "pairs")
    assert (ood.run, ood.name, ood.pairs.folder) == ("run", "ood", tmp_path / "other")


def test_runs_of_the_same_folder_name_are_told_apart(tmp_path: Path) -> None:
    paths = [evaluation(tmp_path / name / "run") for name in ("x", "y")]
    assert [source.run for source in Library(paths).rows["judged"].sources] == ["x/run", "y/run"]


def test_what_lies_beside_the_runs_of_a_folder_costs_none_of_them(tmp_path: Path) -> None:
    evaluation(tmp_path / "run")
    for place in (tmp_path, tmp_path / "found"):
        write_json(place / "overoptimise.json", {"format": 1})
    assert [source.run for source in Library([tmp_path]).rows["judged"].sources] == ["run"]
    with pytest.raises(InputError, match=r"holds no predictions\.jsonl"):
        Library([tmp_path / "found"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no predictions\.jsonl"):
        Library([tmp_path / "run", tmp_path / "empty"])


def test_a_pair_is_found_in_the_other_runs_that_judged_it(tmp_path: Path) -> None:
    for name, others in (("one", "ab"), ("two", "ba"), ("three", "b")):
        rows = [prediction(other, PAIRS[other]) for other in others]
        append_jsonl(tmp_path / name / "eval" / "test" / "predictions.jsonl", rows)
    append_jsonl(tmp_path / "one" / "eval" / "ood" / "predictions.jsonl", [prediction("a", PAIRS["a"])])
    # The same name, and other people: another pair.
    append_jsonl(tmp_path / "four" / "eval" / "test" / "predictions.jsonl", [prediction("a", PAIRS["b"])])
    library = Library([tmp_path / name for name in ("one", "two", "three", "four")])
    library.refresh()
    shown = {
        (row["set"], row["run"], row["id"]["text"]): row for row in map(partial(library.detail, "judged"), range(7))
    }
    assert [one["run"] for one in shown["test", "one", "a"]["beside"]] == ["two"]
    assert [one["run"] for one in shown["test", "two", "b"]["beside"]] == ["one", "three"]
    assert shown["ood", "one", "a"]["beside"] == []
    for place, row in shown.items():
        for other in row["beside"]:
            assert shown[(place[0], other["run"], place[2])]["index"] == other["index"]


def test_training_is_told_by_step_as_the_mean_of_what_was_paid_and_heard(tmp_path: Path) -> None:
    for name, weight in (("a", "0.5"), ("b", "0.0")):
        write_text(tmp_path / name / "config.yaml", f"rewards: {{format: 1.0, listener: {weight}}}\n")
        for file, rows in ROLLOUTS.items():
            write_rollouts(tmp_path / name / "rollouts" / file, rows)
    library = Library([tmp_path / "a", tmp_path / "b"])
    assert library.steps() == []
    library.refresh()
    a, b = library.steps()
    assert (a["run"], a["weights"], b["weights"]) == ("a", "1 × format + 0.5 × listener", "1 × format")
    assert a["steps"] == b["steps"] == [0, 2]
    # 1.5, 0.5 and 0; of the two that were heard one is on the listener's side. Then 2, heard and on its side.
    assert a["reward"] == pytest.approx([2 / 3, 2.0])
    assert a["agrees"] == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("data: {train: runs/data/train}\nout: runs/grpo", "data/train"),  # both beside each other, wherever that is
        ("data: {train: /sets/train}\nout: runs/grpo", "/sets/train"),
        ("data: {train: 5}\nout: runs/grpo", None),
        ("a: b: c", None),
        ("[]", None),
    ],
)
def test_the_training_set_is_found_from_the_runs_own_place(tmp_path: Path, config: str, expected: str | None) -> None:
    run = tmp_path / "moved" / "grpo"
    write_text(run / "config.yaml", config)
    write_rollouts(run / "rollouts" / "step-000000-rank0.parquet", [rollout(0)])
    (source,) = Library([run]).rows["rollouts"].sources
    assert source.pairs.folder == (None if expected is None else tmp_path / "moved" / expected)


def test_settings_that_are_missing_or_damaged_cost_only_the_pictures(tmp_path: Path) -> None:
    assert Library([evaluation(tmp_path / "none")]).rows["judged"].sources[0].pairs.folder is None
    write_text(evaluation(tmp_path / "damaged") / "evaluation.json", "{")
    assert Library([tmp_path / "damaged"]).rows["judged"].sources[0].pairs.folder is None


def test_a_run_without_evaluations_or_rollouts_is_told_how_to_get_them(tmp_path: Path) -> None:
    write_text(tmp_path / "run" / "config.yaml", "x: 1")
    (tmp_path / "run" / "model").mkdir()
    with pytest.raises(InputError, match=r"'earshot eval --model \S*run/model --data PAIRS --out \S*run/eval/NAME'"):
        Library([tmp_path / "run"])
    with pytest.raises(InputError, match="is no folder"):
        Library([tmp_path / "nowhere"])
    with pytest.raises(InputError, match="at least one run"):
        Library([])
