"""`earshot doctor` says what is installed and what is not, as a table and as JSON."""

import importlib.metadata
import json
import os
import re
import tomllib
from pathlib import Path

from earshot.cli import doctor
from earshot.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_json_tells_versions_device_and_memory(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["packages"]["core"]["numpy"] == importlib.metadata.version("numpy")
    assert facts["torch"]["device"] == "cpu"
    assert 1 <= facts["cpu_cores_usable"] <= facts["cpu_cores"]
    assert 0 < facts["memory_gib"] <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 + 0.1
    assert facts["offline"]["HF_HUB_OFFLINE"] == "1"


def test_the_table_is_for_people(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for name in ("earshot", "core", "train", "serve", "report", "dev", "machine", "device", "hub"):
        assert re.search(rf"^{name} ", text, re.MULTILINE)


def test_what_is_missing_comes_with_the_command_that_installs_it(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "parts", lambda: {"serve": ["numpy", "no-such-package"]})
    assert main(["doctor"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "missing: no-such-package (pip install 'earshot-rm[serve]')" in text


def test_without_torch_the_doctor_still_answers(capsys, monkeypatch):
    find_spec = doctor.importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name))
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["torch"] is None
    assert main(["doctor"]) == 0
    assert "torch is not installed" in capsys.readouterr().out


def test_packages_are_told_by_the_extra_that_brings_them(monkeypatch):
    needs = [
        "numpy<3,>=2.0",
        "ray[data]<2.64; extra == 'ray'",
        "uvloop>=0.21; (sys_platform != 'win32') and extra == \"serve\"",
    ]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: needs)
    assert doctor.parts() == {"core": ["numpy"], "ray": ["ray"], "serve": ["uvloop"]}


def test_every_package_has_one_tested_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(need for needs in project["optional-dependencies"].values() for need in needs),
    ]
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {re.match(r"[\w-]+", need)[0].lower() for need in declared} <= pinned
