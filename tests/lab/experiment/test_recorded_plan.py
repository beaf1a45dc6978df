"""Results in this repository that were made under a plan: git says that the plan is older than each of them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from earshot.lab.experiment.config import ExperimentConfig
from earshot.lab.experiment.summary import ABOUT

ROOT = Path(__file__).resolve().parents[3]


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def is_before(one: str, other: str) -> bool:
    """Whether a commit is an ancestor of another, or is it."""
    words = ["git", "merge-base", "--is-ancestor", one, other]
    return subprocess.run(words, cwd=ROOT, capture_output=True, check=False).returncode == 0


def told(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


RECORDED = [file for file in sorted((ROOT / "docs" / "experiments").glob(f"*/{ABOUT}")) if told(file).get("registered")]

needs_history = pytest.mark.skipif(
    not (ROOT / ".git").exists() or git("rev-parse", "--is-shallow-repository") == "true",
    reason="the history of the repository is not here",
)


def test_there_is_a_result_of_the_second_plan() -> None:
    assert ROOT / "docs" / "experiments" / "plan-2" / ABOUT in RECORDED


@needs_history
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.parent.name)
def test_the_plan_is_older_than_every_result_of_it(file: Path) -> None:
    about = told(file)
    first, *_, last = [about["registered"][0], *about["registered"]]
    steps = [(run["arm"], run["seed"], name, step) for run in about["runs"] for name, step in run["steps"].items()]
    done = [one for one in steps if one[3].get("status") == "finished"]
    assert done
    for arm, seed, name, step in done:
        assert is_before(first["commit"], step["commit"]), f"{arm} {seed} {name} was run before its plan stood in git"
    # Committed by whoever has not committed it yet, a result is younger than all that is.
    recorded = git("log", "--diff-filter=A", "--format=%H", "--", str(file.relative_to(ROOT))).splitlines() or ["HEAD"]
    assert all(is_before(one["commit"], recorded[-1]) for one in (first, last))


@needs_history
@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.parent.name)
def test_what_is_asked_of_the_results_is_what_the_plan_asked(file: Path) -> None:
    about = told(file)
    commit, page = about["registered"][-1]["commit"], about["registered"][-1]["page"]
    plan = ExperimentConfig.model_validate(
        yaml.safe_load(git("show", f"{commit}:configs/experiments/{Path(page).stem}.yaml"))
    ).model_dump(mode="json")
    asked = [
        one
        | {
            "against": one["against"] or plan["reference"],
            "against_endpoint": one["against_endpoint"] or one["endpoint"],
        }
        for one in plan["primary"]
    ]
    assert about["primary"] == asked
    assert about["reference"] == plan["reference"] and about["mixtures"] == plan["mixtures"]
    assert {run["arm"] for run in about["runs"]} == set(plan["arms"])
