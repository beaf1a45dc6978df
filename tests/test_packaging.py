"""The wheel, as it is installed outside the checkout, beside the package index's other program of this name."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.ways import beside_the_other

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel in it, and the metadata of the other `earshot`."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("earshot_rm-*.whl")
    packages = folder / "packages"
    zipfile.ZipFile(wheel).extractall(packages)
    beside_the_other(packages)
    return packages


def called(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(installed)
    command = [sys.executable, "-P", "-m", "earshot", *words]
    return subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True)


def test_it_is_ours_that_answers_and_it_knows_its_own_packages(installed: Path) -> None:
    assert called(installed, "--version").stdout.startswith("earshot 0.")
    told = called(installed, "doctor", "--json")
    assert '"trl"' in told.stdout, told.stderr


def test_its_long_description_leads_to_no_file_that_an_index_lacks(installed: Path) -> None:
    (metadata,) = installed.glob("earshot_rm-*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    assert "Description-Content-Type: text/markdown" in text and "## I measure a scorer" in text
    assert not re.search(r"\]\((?!https?:)", text) and "docs/method.md" in text


def test_its_configurations_are_there_by_name(installed: Path) -> None:
    there = installed / "earshot" / "configs"
    for file in (ROOT / "configs").rglob("*.yaml"):
        assert (there / file.relative_to(ROOT / "configs")).read_bytes() == file.read_bytes()
    told = called(installed, "lab", "experiment", "run", "experiments/smoke", "--dry-run")
    assert told.returncode == 0 and "listener" in told.stdout, told.stderr
    told = called(installed, "train", "grpo", "qwen2.5-vl-7b-lore", "data.train=x", "out=y")
    assert told.returncode == 2 and "qwen2.5-vl-7b-lora" in told.stderr
