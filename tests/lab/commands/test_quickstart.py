"""The quickstart: its plan, and (slow) the command itself, cut short."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from earshot.cli.main import main
from earshot.config import GrpoConfig
from earshot.lab.commands.quickstart import PAIRS_A_STEP, QUANTITIES, SETS, _corrected, _reading, quickstart_plan
from earshot.lab.experiment.endpoints import endpoint_names
from earshot.lab.experiment.plan import expand
from earshot.types import Estimate


def test_the_two_arms_differ_in_one_weight() -> None:
    naive, listening = arms()
    assert listening.rewards.listener == 0.5
    apart = {"rewards": None, "out": None}
    assert naive.model_dump() | apart == listening.model_dump() | apart
    assert naive.rewards.model_dump() == listening.rewards.model_dump() | {"listener": 0.0}


def arms() -> tuple[GrpoConfig, GrpoConfig]:
    sft, naive, listening = (run.config for run in expand(quickstart_plan(Path("x"))))
    assert sft is None and isinstance(naive, GrpoConfig) and isinstance(listening, GrpoConfig)
    return naive, listening


def test_the_arms_start_from_the_shipped_reasoner_and_the_held_out_listener_takes_no_part() -> None:
    plan, (_, config) = quickstart_plan(Path("x")), arms()
    assert {run.model for run in expand(plan)} == {"world:reasoner"}
    assert config.listener is not None and config.listener.paths == ("world:listener",)
    assert plan.evaluation.listeners == {"training": "world:listener", "held-out": "world:held-out"}


def test_every_pair_is_trained_on_once_and_no_completion_is_cut_shorter_than_in_training() -> None:
    plan, (_, config) = quickstart_plan(Path("x")), arms()
    assert config.trl["per_device_train_batch_size"] / config.trl["num_generations"] == PAIRS_A_STEP
    assert plan.world is not None and plan.world.pairs == PAIRS_A_STEP * config.trl["max_steps"]
    assert plan.evaluation.max_new_tokens == config.trl["max_completion_length"]


def test_the_table_shows_what_the_plan_judges() -> None:
    plan = quickstart_plan(Path("x"))
    assert list(SETS) == list(plan.evaluation.sets)
    assert set(QUANTITIES) <= set(endpoint_names(plan.evaluation.listeners))


@pytest.mark.parametrize(
    ("before", "after", "corrected"),
    [("first", "second", True), ("second", "second", False), ("first", "first", False), (None, "second", False)],
)
def test_an_example_is_wrong_before_and_right_after(before: str | None, after: str, corrected: bool) -> None:
    def row(side: str | None) -> dict[str, Any]:
        return {"votes_first": 4.0, "votes_second": 11.0, "samples": [{"side": side}]}

    assert _corrected(row(before), row(after)) is corrected


def test_a_folder_in_use_is_refused_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert main(["quickstart", "--out", str(tmp_path)]) == 2
    assert "holds files already" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.01, 0.02, "shows no difference"),
        (0.0, 0.0, "shows no difference"),
        (0.01, 0.02, "more accurate"),
        (-0.2, -0.01, "less accurate"),
        (None, None, "nothing can be said"),
    ],
)
def test_what_is_said_of_a_difference_is_what_its_interval_allows(
    low: float | None, high: float | None, said: str
) -> None:
    assert said in _reading(Estimate(0.01, low, high, 9))


@pytest.mark.slow
def test_the_quickstart_runs_end_to_end_and_leaves_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["quickstart", "--out", str(out), "--steps", "2", "--test-pairs", "12", "--ood-pairs", "6"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(
        r"^accuracy in distribution, (\w+ - \w+): .* points, paired; .*interval", shown, re.MULTILINE
    ) == [
        "naive - sft",
        "listener - sft",
        "listener - naive",
    ]
    for arm in ("sft", "naive", "listener"):
        assert (out / arm / "eval" / "test" / "predictions.jsonl").is_file()
        assert (out / arm / "model" / "model.safetensors").is_file()
        measured = {name: json.loads((out / arm / "eval" / name / "metrics.json").read_text()) for name in SETS}
        assert measured["test"]["accuracy"]["n"] == 12 and measured["ood_style"]["accuracy"]["n"] == 6
        cell = Estimate.from_record(measured["test"]["accuracy"]).text(percent=True)
        (line,) = re.findall(rf"^accuracy, %\s*\n  {SETS['test']} (.*)$", shown, re.MULTILINE)
        assert cell in line
    steps = [json.loads(line) for line in (out / "listener" / "metrics.jsonl").read_text().splitlines()]
    assert {1, 2} <= {row["step"] for row in steps if "reward" in row}
    page = (out / "report.html").read_text()
    assert "<script" not in page and "held-out" in page
