"""`earshot doctor` says what is installed and what is not, as a table and as JSON."""

import importlib.metadata
import json
import os
import re
import tomllib
from pathlib import Path

import pytest

from earshot.cli import doctor
from earshot.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_json_tells_versions_device_and_memory(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["packages"]["core"]["numpy"] == importlib.metadata.version("numpy")
    assert facts["torch"]["device"] == "cpu"
    assert facts["torch"]["bf16_fast"] == (facts["torch"]["bf16_speedup"] > 1.2)
    assert 1 <= facts["cpu_cores_usable"] <= facts["cpu_cores"]
    assert 0 < facts["memory_gib"] <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 + 0.1
    assert facts["offline"]["HF_HUB_OFFLINE"] == "1"


def test_the_table_is_for_people(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for name in ("earshot", "core", "train", "serve", "report", "dev", "machine", "device", "bfloat16", "hub"):
        assert re.search(rf"^{name} ", text, re.MULTILINE)


def test_what_is_missing_comes_with_the_command_that_installs_it(capsys, monkeypatch):
    monkeypatch.setitem(doctor.PARTS, "serve", ["numpy", "no-such-package"])
    assert main(["doctor"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "missing: no-such-package (pip install 'earshot[serve]')" in text


def test_without_torch_the_doctor_still_answers(capsys, monkeypatch):
    find_spec = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["torch"] is None
    assert main(["doctor"]) == 0
    assert "torch is not installed" in capsys.readouterr().out


def test_the_packages_of_each_part_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {"core": project["dependencies"], **project["optional-dependencies"]}
    names = {part: {re.match(r"[\w-]+", need)[0] for need in needs} for part, needs in declared.items()}
    assert {part: set(packages) for part, packages in doctor.PARTS.items()} == names


@pytest.mark.parametrize("part", list(doctor.PARTS))
def test_every_package_has_one_tested_version(part):
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {name.lower() for name in doctor.PARTS[part]} <= pinned
