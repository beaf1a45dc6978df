"""A summary says the same as the runs it is of, and refuses runs that are not those that were recorded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from earshot.config import build_config
from earshot.errors import DataError, InputError
from earshot.files import read_jsonl
from earshot.lab.experiment.analysis import absolute
from earshot.lab.experiment.config import ExperimentConfig
from earshot.lab.experiment.records import Record
from earshot.lab.experiment.summary import (
    _mixable,
    load_summary,
    merge,
    read_summary,
    recorded_runs,
    summarise,
    write_summary,
)
from earshot.metrics import PredictionTable
from earshot.predictions.sides import right


def test_what_is_written_is_read_back_and_stands_for_the_runs(experiment: Path, tmp_path: Path) -> None:
    summary = summarise(experiment)
    write_summary(summary, tmp_path / "kept")
    again = read_summary(tmp_path / "kept")
    assert again.about == json.loads(json.dumps(summary.about))
    assert again.totals.keys() == summary.totals.keys() and len(again.totals) == 9
    assert absolute(again) == absolute(summary)
    rows = read_jsonl(experiment / "listener" / "seed-1" / "eval" / "test" / "predictions.jsonl")
    table = PredictionTable.from_rows(rows)
    assert again.statistic("listener", 1, "test", "accuracy").value() == pytest.approx(
        right(table.p_first, table.people).mean()
    )


def test_it_names_no_machine_and_is_small(experiment: Path) -> None:
    write_summary(summarise(experiment), experiment)
    text = (experiment / "summary.json").read_text()
    assert str(experiment.parent) not in text and "/tmp" not in text
    # 9 evaluations of 60 prompts: less than a tenth of their predictions
    predictions = sum(path.stat().st_size for path in experiment.rglob("predictions.jsonl"))
    assert (experiment / "summary.parquet").stat().st_size < predictions / 5


def test_which_listeners_were_trained_with_is_found_out(experiment: Path) -> None:
    arms = summarise(experiment).about["arms"]
    assert arms["listener"]["trained_with"] == ["training"] == arms["blind"]["trained_with"]
    assert arms["naive"]["trained_with"] == []
    assert arms["blind"]["role"] == "control" and arms["listener"]["title"] == "with listener"


def test_predictions_that_changed_since_are_refused(experiment: Path) -> None:
    path = experiment / "naive" / "seed-0" / "eval" / "test" / "predictions.jsonl"
    path.write_text(path.read_text().replace('"votes_first": 4', '"votes_first": 5', 1))
    with pytest.raises(DataError, match="not what was recorded"):
        summarise(experiment)


def test_runs_that_judged_other_pairs_are_refused(experiment: Path) -> None:
    folder = experiment / "naive" / "seed-2"
    path = folder / "eval" / "test" / "predictions.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[1:]))
    record = Record(folder)
    from earshot.files import file_hash

    record.steps["eval/test"]["outputs"]["predictions.jsonl"] = f"sha256:{file_hash(path)}"
    record.path.write_text(json.dumps({"steps": record.steps}))
    with pytest.raises(DataError, match="naive seed 2 judged other pairs than naive seed 0"):
        summarise(experiment)


def test_what_is_missing_is_listed_and_not_made_up(experiment: Path) -> None:
    record = Record(experiment / "listener" / "seed-0")
    record.steps["eval/test"]["status"] = "failed"
    record.path.write_text(json.dumps({"steps": record.steps}))
    Record(experiment / "listener" / "seed-2").drop("train")
    summary = summarise(experiment)
    assert [one["state"] for one in summary.about["missing"]] == ["eval/test failed"]
    assert summary.seeds("listener", "test") == [1, 2]


def test_folders_without_an_experiment_or_a_summary_are_refused(experiment: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json"):
        summarise(tmp_path)
    with pytest.raises(InputError, match="earshot lab experiment summarise"):
        load_summary(tmp_path)
    write_summary(summarise(experiment), tmp_path / "s")
    table = pq.read_table(tmp_path / "s" / "summary.parquet")
    pq.write_table(table.slice(1), tmp_path / "s" / "summary.parquet")
    with pytest.raises(DataError, match="59 rows"):
        load_summary(tmp_path / "s")
    about = json.loads((tmp_path / "s" / "summary.json").read_text())
    (tmp_path / "s" / "summary.json").write_text(json.dumps(about | {"format": 0}))
    with pytest.raises(DataError, match="format 0"):
        load_summary(tmp_path / "s")


def test_totals_are_of_prompts(experiment: Path) -> None:
    totals = summarise(experiment).totals["naive", 0, "test"]["accuracy"]
    assert totals.shape == (60, 2) and np.all(totals[:, 1] == 2)  # 120 pairs, two a prompt


def _without(experiment: Path, arm: str, seed: int) -> None:
    record = Record(experiment / arm / f"seed-{seed}")
    record.drop("eval/test")
    record.drop("train")


def test_runs_that_were_made_elsewhere_are_taken_in(experiment: Path, tmp_path: Path) -> None:
    whole = summarise(experiment)
    elsewhere = Path(shutil.copytree(experiment, tmp_path / "on" / "another" / "machine"))
    _without(experiment, "listener", 1)
    _without(elsewhere, "naive", 0)
    here, there = summarise(experiment), summarise(elsewhere)
    assert ("listener", 1) not in recorded_runs(here) and ("listener", 1) in recorded_runs(there)
    both = merge([here, there])
    assert both.about["missing"] == [] and list(both.totals) == list(whole.totals)
    assert absolute(both) == absolute(whole)
    assert recorded_runs(both) == recorded_runs(whole)


def test_a_run_by_another_recipe_is_not_taken_in(experiment: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(experiment, tmp_path / "elsewhere"))
    plan = json.loads((elsewhere / "plan.json").read_text())
    plan["base"]["grpo"]["trl"]["max_steps"] = 4
    (elsewhere / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(DataError, match="naive seed 0: recorded of another recipe"):
        merge([summarise(experiment), summarise(elsewhere)])


def test_runs_of_other_pairs_are_not_taken_in(experiment: Path) -> None:
    here, there = summarise(experiment), summarise(experiment)
    there.about["sets"]["test"]["digest"] = "another"
    with pytest.raises(DataError, match="set 'test': naive seed 0 judged other pairs"):
        merge([here, there])


def test_a_plan_that_an_older_version_wrote_is_read(experiment: Path) -> None:
    plan = json.loads((experiment / "plan.json").read_text())
    for arm in plan["arms"].values():
        arm |= {"starts_from": None, "unequal": None}
    before = summarise(experiment).about
    (experiment / "plan.json").write_text(json.dumps(plan))
    assert summarise(experiment).about == before


def test_a_mixture_is_a_set_with_so_many_pairs_of_each_part(experiment: Path) -> None:
    summary = summarise(experiment)
    for key, totals in [*summary.totals.items()]:
        # Of the other part every verdict is wrong, on the same prompts.
        wrong = {**totals, "accuracy": totals["accuracy"] * [0, 1]}
        summary.totals[key[0], key[1], "other"] = wrong  # type: ignore[index]
    summary.about["sets"]["other"] = summary.about["sets"]["test"]
    summary.about["mixtures"] = {"most": {"test": 3.0, "other": 1.0}, "gone": {"x": 1.0}}  # type: ignore[index]
    assert summary.sets == ["test", "other", "most"]
    assert summary.size("most") == (120, 60) and summary.seeds("naive", "most") == [0, 1, 2]
    alone = summary.statistic("naive", 0, "test", "accuracy").value()
    assert summary.statistic("naive", 0, "most", "accuracy").value() == pytest.approx(0.75 * alone)
    del summary.totals["naive", 1, "other"]  # type: ignore[attr-defined]
    assert summary.seeds("naive", "most") == [0, 2]


def test_parts_of_a_mixture_are_of_the_same_prompts(experiment: Path) -> None:
    plan = json.loads((experiment / "plan.json").read_text())
    plan["mixtures"] = {"even": {"test": 1.0, "train": 1.0}}
    config = build_config(
        ExperimentConfig, {**plan, "evaluation": {**plan["evaluation"], "sets": ["test", "train"]}}, "p"
    )
    sets = {"test": {"prompts_digest": "a"}, "train": {"prompts_digest": "b"}}
    with pytest.raises(DataError, match="mixture 'even': test and train are not of the same prompts"):
        _mixable(config, sets)
    _mixable(config, {**sets, "train": sets["test"]})


def test_an_endpoint_that_a_record_is_older_than_was_not_observed_there(experiment: Path) -> None:
    here, there = summarise(experiment), summarise(experiment)
    del there.totals["naive", 0, "test"]["clean_gap"]  # type: ignore[attr-defined]
    key = ("naive", 0, "test")
    both = merge([there, here])
    assert both.totals[key]["clean_gap"].shape == here.totals[key]["clean_gap"].shape
    assert not both.totals[key]["clean_gap"].any()
