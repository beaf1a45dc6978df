"""A registered plan stands in git before its first run, is run as it stands there, and its changes are told."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from earshot.config import load_config, to_yaml
from earshot.errors import InputError
from earshot.lab.experiment.config import ExperimentConfig
from earshot.lab.experiment.registration import amendments, check_registered, register, registrations
from tests.lab.experiment.made_up import plan_tree


class Repository:
    """A git repository with a plan and its page."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file, self.page = folder, folder / "plan.yaml", folder / "plan.md"
        self.tree: dict[str, Any] = plan_tree(folder / "out") | {"registered": "plan.md"}
        self.git("init", "-q")
        self.write()
        self.page.write_text("What is asked.")

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *words], cwd=self.folder, check=True, capture_output=True)

    def write(self, **changed: Any) -> None:
        self.tree |= changed
        self.file.write_text(to_yaml(self.tree))

    def commit(self) -> None:
        self.git("add", "plan.yaml", "plan.md")
        self.git("commit", "-qm", "plan")

    def plan(self, *overrides: str) -> ExperimentConfig:
        return load_config(ExperimentConfig, self.file, list(overrides))


@pytest.fixture()
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_plan_that_is_not_committed_is_not_run(repository: Repository) -> None:
    with pytest.raises(
        InputError, match=r"plan\.yaml: isn't in git; a registered plan and its page are committed before"
    ):
        register(repository.plan(), repository.file)
    repository.commit()
    repository.page.write_text("What was found.")
    with pytest.raises(InputError, match=r"plan\.md: was changed since it was committed"):
        register(repository.plan(), repository.file)
    repository.git("checkout", "plan.md")
    with pytest.raises(InputError, match=r"is registered, and not run with other keys \(reference"):
        register(repository.plan("reference=listener"), repository.file)
    assert registrations(repository.folder / "out") == []
    register(repository.plan(), repository.file)
    register(repository.plan(), repository.file)
    assert len(registrations(repository.folder / "out")) == 1


def test_it_may_run_in_another_folder(repository: Repository, tmp_path: Path) -> None:
    repository.commit()
    elsewhere = repository.plan(f"out={tmp_path / 'elsewhere'}")
    register(elsewhere, repository.file)
    check_registered(elsewhere)


def test_what_is_changed_later_is_written_down_with_the_runs_that_were_known(repository: Repository) -> None:
    repository.commit()
    register(repository.plan(), repository.file)
    run = repository.folder / "out" / "naive" / "seed-0"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    repository.write(primary=repository.tree["primary"][:1])
    with pytest.raises(InputError, match="the plan isn't the one of commit"):
        check_registered(repository.plan())
    repository.commit()
    register(repository.plan(), repository.file)
    check_registered(repository.plan())
    first, second = amendments(registrations(repository.folder / "out"))
    assert (first["changed"], first["runs"], second["runs"]) == ([], 0, 1)
    assert any("primary" in one for one in second["changed"])
    assert first["commit"] != second["commit"]


def test_no_other_plan_is_read_or_run_in_its_folder(repository: Repository) -> None:
    with pytest.raises(InputError, match="no registration lies there"):
        check_registered(repository.plan())
    repository.commit()
    register(repository.plan(), repository.file)
    del repository.tree["registered"]
    repository.write()
    for refuse in (check_registered, lambda plan: register(plan, repository.file)):
        with pytest.raises(InputError, match="holds runs of a registered plan; choose another 'out'"):
            refuse(repository.plan())


def test_outside_a_repository_nothing_is_registered(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(to_yaml(plan_tree(tmp_path / "out") | {"registered": "plan.md"}))
    with pytest.raises(InputError, match="lies in no git repository"):
        register(load_config(ExperimentConfig, file), file)
