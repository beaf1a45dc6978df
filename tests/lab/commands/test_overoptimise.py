"""`earshot lab overoptimise` from the command line, with a model that goes by brightness."""

import json
from pathlib import Path
from typing import Any

import pytest

from earshot.cli.main import main
from earshot.judging.model import RewardModel
from earshot.lab.commands.overoptimise import names_of_models
from earshot.lab.overoptimise.judged import OWN
from earshot.predictions.overoptimised import read_overoptimised
from tests.judging.opinions import Hears, Opinionated

SMALL = ("--prompts", "4", "--pictures", "3", "--policies", "2", "--references", "1", "--resamples", "50")


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was loaded: models that go by brightness, one of them with a reader that does too."""
    names: list[str] = []

    def load(model: str, **options: Any) -> RewardModel:
        names.append(model)
        return RewardModel(Opinionated(), {"hears": Hears()})

    monkeypatch.setattr("earshot.judging.model.load", load)
    return names


def test_tables_that_fit_a_terminal_and_a_file_for_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["lab", "overoptimise", "world:reasoner", "world:listener", *SMALL, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    tables = shown.split("\n\n")
    assert max(len(line) for part in tables[:3] for line in part.splitlines()) <= 80
    assert [part.split("  ")[0] for part in tables[:3]] == ["best of n", "policy", "less world:reasoner"]
    assert tables[0].count("←") == tables[1].count("←") == 3 + 2 * 2  # one a curve: three baselines, two judges each
    assert f"world:listener: {OWN}" in tables[0] and "world:listener: hears" in tables[1]
    assert "world:reasoner: 0 of 212 comparisons came to nothing" in shown  # 4 prompts of 3 couples, 2 of 100 scenes
    found = read_overoptimised(out / "overoptimise.json")
    assert found.settings["policies"] == 2 and found.settings["training"]["steps"] > 0
    assert set(found.models) == {"world:reasoner", "world:listener"}
    assert str(tmp_path) not in (out / "overoptimise.json").read_text()
    assert len(found.curves) == 2 * 7


def test_the_same_seed_gives_the_same_file_and_json_is_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for name in ("one", "two"):
        assert main(["lab", "overoptimise", "world:reasoner", *SMALL, "--out", str(tmp_path / name), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
        assert json.loads((tmp_path / name / "overoptimise.json").read_text()) == told[-1]
        del told[-1]["environment"]
    assert told[0] == told[1]


def test_of_few_prompts_all_have_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--prompts", "2", "--pictures", "2", "--references", "1", "--resamples", "20", "--json"]
    assert main(["lab", "overoptimise", "world:reasoner", *words]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["policies"] == 2


def test_without_policies_nobody_is_asked_about_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "overoptimise", "world:reasoner", *SMALL[:4], "--policies", "0", "--resamples", "20"]) == 0
    shown = capsys.readouterr().out
    assert "0 of 12 comparisons" in shown and "policy" not in shown and "β =" not in shown


def test_wrong_calls_are_told_before_a_model_is_loaded(
    loaded: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for words, message in (
        (["world:reasoner", "world:reasoner"], "world:reasoner: is given twice"),
        (["world:reasoner", *SMALL, "--policies", "5"], "--policies is 5 of 4 prompts"),
        (["world:reasoner", *SMALL, "--policies", "1"], "--policies is 1, expected 0 or at least 2"),
        (["world:reasoner", *SMALL, "--references", "4"], "--references is 4 of 3 pictures"),
        (["world:reasoner", *SMALL, "--out", str(tmp_path / "file")], "is a file"),
        (["world:reasoner", str(tmp_path), *SMALL], str(tmp_path)),
        (["world:reasoner", *SMALL, "--listener", "a=b,colour=red"], "colour"),
    ):
        assert main(["lab", "overoptimise", *words]) in (1, 2)
        assert message in capsys.readouterr().err
    assert loaded == []


def test_models_are_named_by_their_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("naive/model", "listener/model", "other"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert names_of_models(["world:reasoner", "naive/model", f"{tmp_path}/listener/model", "other/"]) == [
        "world:reasoner", "naive", "listener", "other",
    ]  # fmt: skip
