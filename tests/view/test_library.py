"""Where a run's predictions and rollouts are found, and the pair sets they are of."""

from pathlib import Path

import pytest

from earshot.errors import InputError
from earshot.files import append_jsonl, write_json, write_text
from earshot.view import Library
from tests.view.runs import PAIRS, prediction, rollout, write_rollouts


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
