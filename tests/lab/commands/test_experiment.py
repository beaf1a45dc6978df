"""`earshot lab experiment`: what it prints and refuses, and (slow) the smallest plan from world to figures."""

import json
from pathlib import Path

import pytest

from earshot.cli.main import main
from earshot.config import to_yaml
from earshot.lab.experiment.power import pilot_components
from earshot.lab.experiment.summary import summarise, write_summary
from earshot.lab.experiment.tables import Results
from tests.lab.experiment.made_up import make_experiment

SMOKE = Path(__file__).resolve().parents[3] / "configs" / "experiments" / "smoke.yaml"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("experiment"))


def test_a_dry_run_says_what_is_missing_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "experiment", "run", str(SMOKE), f"out={tmp_path / 'x'}", "--dry-run", "--arms", "naive"]) == 0
    out = capsys.readouterr().out
    assert "plan, data: missing" in out and "naive seed 1, train: missing" in out and "listener" not in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--arms", "nave"], "no arm 'nave', did you mean 'naive'"),
        (["--seeds", "9"], "no seed '9'"),
        (["--seeds", "x"], "--seeds: seeds are 'x', expected such as 0-4"),
        (["seeds=0,0"], "hold one twice"),
    ],
)
def test_wrong_calls_are_refused(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "experiment", "run", str(SMOKE), "--dry-run", *words]) == 2
    assert problem in capsys.readouterr().err


def test_a_summary_is_written_reported_and_asked_for_power(
    experiment: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["lab", "experiment", "summarise", str(experiment), "--out", str(tmp_path / "kept")]) == 0
    assert "9 evaluations" in capsys.readouterr().out
    assert main(["lab", "experiment", "report", str(tmp_path / "kept"), "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "results.md").read_text().startswith("# page: results\n")
    assert main(["lab", "experiment", "power", str(tmp_path / "kept"), "--difference", "0.05"]) == 0
    assert "| test | 120 (60) |" in capsys.readouterr().out
    assert main(["lab", "experiment", "power", str(tmp_path / "kept"), "--endpoint", "luck"]) == 2
    assert "--endpoint luck: not in this pilot" in capsys.readouterr().err


def test_recorded_runs_are_not_made_again(experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    assert main(["lab", "experiment", "summarise", str(experiment), "--out", str(kept)]) == 0
    plan = to_yaml(json.loads((experiment / "plan.json").read_text()))
    (tmp_path / "plan.yaml").write_text(plan)
    again = ["lab", "experiment", "run", str(tmp_path / "plan.yaml"), f"out={tmp_path / 'new'}", "--dry-run"]
    assert main([*again, "--recorded", str(kept)]) == 0
    out = capsys.readouterr().out
    assert "9 of 9 runs are recorded there" in out and "seed 0, train" not in out
    assert main([*again, "--recorded", str(kept), "seeds=0-3"]) == 0
    out = capsys.readouterr().out
    assert "9 of 12 runs are recorded there" in out and "naive seed 3, train: missing" in out and "seed 2" not in out
    assert main([*again, "--recorded", str(kept), "base.grpo.trl.max_steps=4"]) == 0
    assert "0 of 9 runs are recorded there" in capsys.readouterr().out
    other = tmp_path / "other"
    assert main(["lab", "experiment", "summarise", str(experiment), str(kept), "--out", str(other)]) == 0
    assert "9 evaluations" in capsys.readouterr().out


def test_the_control_prints_its_rates(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--simulations", "4", "--seeds", "3", "--prompts", "60", "--arms", "2", "--difference", "0.2"]
    assert main(["lab", "experiment", "control", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["design"]["difference"] == 0.2 and found["rates"]["simulations"] == 4
    assert main(["lab", "experiment", "control", *words]) == 0
    assert "planted difference shown, corrected" in capsys.readouterr().out


def test_the_control_takes_a_pilots_variances(
    experiment: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_summary(summarise(experiment), experiment)
    words = ["lab", "experiment", "control", "--pilot", str(experiment), "--simulations", "2", "--prompts", "50"]
    assert main([*words, "--json"]) in (0, 1)
    design = json.loads(capsys.readouterr().out)["design"]
    assert design["components"] == pilot_components(summarise(experiment), "test", "accuracy")._asdict()
    assert main([*words, "--set", "nowhere"]) == 2


@pytest.mark.slow
def test_the_smallest_plan_runs_from_the_world_to_the_figures_and_then_has_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "smoke"
    assert main(["lab", "experiment", "run", str(SMOKE), f"out={out}"]) == 0
    capsys.readouterr()
    assert main(["lab", "experiment", "run", str(SMOKE), f"out={out}"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 4 runs are done")  # and nothing before it
    assert main(["lab", "experiment", "report", str(out)]) == 0
    results = Results(summarise(out))
    assert results.summary.about["missing"] == [] and results.summary.about["sets"]["test"]["pairs"] == 24
    assert results.absolute["listener", "test", "disagreement.held-out"].n > 0
    assert {decision.seeds for _, decision in results.primary} == {2}
    assert (out / "results.md").read_text().startswith("# smoke: results")
