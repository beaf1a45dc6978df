"""Beside torchvision every number is what it is without; `make test-torchvision` brings it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
AS_IT_IS = "import runpy; runpy.run_module('tests.vlm.numbers', run_name='__main__', alter_sys=True)"
HIDDEN = f"import sys; sys.modules['torchvision'] = None; {AS_IT_IS}"


def numbers(folder: Path, code: str) -> dict[str, Any]:
    folder.mkdir()
    done = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads((folder / "numbers.json").read_text()))


def test_images_evaluations_and_trainings_are_the_same_with_and_without_torchvision(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    beside, alone = numbers(tmp_path / "beside", AS_IT_IS), numbers(tmp_path / "alone", HIDDEN)
    assert (beside.pop("torchvision"), alone.pop("torchvision")) == (True, False)
    assert beside == alone
    assert len(beside["images"]) > 30 and len(beside["evaluated"]) == 4 and all(beside["trained"].values())
