"""The quickstart: its configuration, its table, and (slow) the command itself, cut short."""

import json
from pathlib import Path
from typing import Any

import pytest

from earshot.cli.main import main
from earshot.config import GrpoConfig, load_config
from earshot.lab.commands.quickstart import ARMS, SETS, _corrected, quickstart_recipe


def test_the_two_arms_differ_in_one_weight() -> None:
    listening = load_config(GrpoConfig, quickstart_recipe())
    naive = load_config(GrpoConfig, quickstart_recipe(), ["rewards.listener=0"])
    assert listening.rewards.listener == 0.5
    assert naive.model_dump() | {"rewards": None} == listening.model_dump() | {"rewards": None}


def test_the_arms_start_from_the_shipped_reasoner_and_the_held_out_listener_takes_no_part() -> None:
    config = load_config(GrpoConfig, quickstart_recipe())
    assert config.model.path == "world:reasoner"
    assert config.listener is not None and config.listener.paths == ("world:listener",)


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


@pytest.mark.slow
def test_the_quickstart_runs_end_to_end_and_leaves_its_files(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["quickstart", "--out", str(out), "--steps", "2", "--test-pairs", "12", "--ood-pairs", "6"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["table"]) == set(ARMS)
    for arm in ARMS:
        assert (out / arm / "model" / "model.safetensors").is_file()
        assert set(summary["table"][arm]) == set(SETS)
        assert summary["table"][arm]["test"]["accuracy"]["n"] == 12
    steps = [json.loads(line) for line in (out / "listener" / "metrics.jsonl").read_text().splitlines()]
    assert {1, 2} <= {row["step"] for row in steps if "reward" in row}
    page = (out / "report.html").read_text()
    assert "<script" not in page and "held-out" in page
