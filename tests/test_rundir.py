"""The run directory."""

from __future__ import annotations

import getpass
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot.config import Config, load_config, parse_yaml
from earshot.errors import InputError
from earshot.files import append_jsonl, read_jsonl, write_json
from earshot.rundir import RunDir, describe_environment


def test_a_run_is_not_written_over(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "runs" / "one")
    run.write_config({"seed": 1, "path": Path("a") / "b", "sizes": (1, 2)})
    with pytest.raises(InputError, match="already there"):
        RunDir.create(run.path)
    assert RunDir.create(run.path, resume=True) == run
    assert parse_yaml(run.config.read_text()) == {"seed": 1, "path": "a/b", "sizes": [1, 2]}


def test_a_runs_configuration_reads_back_as_it_was(tmp_path: Path) -> None:
    class Words(Config):
        trl: dict[str, Any]

    run = RunDir.create(tmp_path / "run")
    words = Words(trl={"a": "1e-5", "b": "0o17", "e": "12e3", "no": "no", "x": 1e-5, "y": None, "z": ["~", "0x1f"]})
    run.write_config(words.model_dump())
    assert load_config(Words, run.config) == words


def test_resuming_repairs_the_logs(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run")
    append_jsonl(run.metrics_log, [{"step": 1}])
    with run.metrics_log.open("ab") as log:
        log.write(b'{"step"')
    append_jsonl(RunDir.create(run.path, resume=True).metrics_log, [{"step": 2}])
    assert list(read_jsonl(run.metrics_log)) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_with_other_content_is_never_taken(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "thesis.txt").write_text("chapter one")
    with pytest.raises(InputError, match="holds other files"):
        RunDir.create(tmp_path, resume=resume)
    with pytest.raises(InputError, match="is a file"):
        RunDir.create(tmp_path / "thesis.txt", resume=resume)


def test_an_evaluation_that_was_killed_before_its_first_file_is_taken_up(tmp_path: Path) -> None:
    RunDir(tmp_path).parts.mkdir()
    assert RunDir.create(tmp_path, resume=True).path == tmp_path


def test_resuming_nothing_begins_a_run(tmp_path: Path) -> None:
    assert RunDir.create(tmp_path / "new", resume=True).path.is_dir()


def test_the_environment_names_versions_and_nobody(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run")
    write_json(run.environment, describe_environment(seed=7))
    found = json.loads(run.environment.read_text())
    assert found["seed"] == 7
    assert found["packages"]["numpy"] == np.__version__
    assert found["python"] == platform.python_version()
    assert found["cpu_count"] == os.cpu_count()
    text = run.environment.read_text()
    assert str(Path.home()) + "/" not in text and str(Path.cwd()) not in text
    assert not any(word in text.split('"') for word in (getpass.getuser(), platform.node()))
