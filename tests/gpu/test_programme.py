"""The programme for a GPU (benchmarks/gpu): its phases are known, fit their time, and tell of what went wrong."""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.gpu import lines, plan, speed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (lines, plan):
        monkeypatch.setattr(module, "OUT", tmp_path)
    return tmp_path


def test_all_limits_together_leave_a_machine_that_is_lent_for_ten_minutes_in_time() -> None:
    assert plan.INSTALLING_S + sum(phase.limit_s for phase in plan.PHASES.values()) <= plan.TOTAL_S <= 580
    assert plan.PHASES["speed"].limit_s >= sum(plan.SPEED.values())


def test_every_phase_is_one_that_can_be_run() -> None:
    assert [*speed.PARTS] == [*plan.SPEED]
    asked = {word for phase in plan.PHASES.values() for word in phase.words if word.startswith("tests/gpu/")}
    there = {file for file in (ROOT / "tests" / "gpu").glob("test_*.py") if "pytest.mark.gpu\n" in file.read_text()}
    assert {ROOT / word for word in asked} == there
    assert plan.chosen([]) == {name: [*plan.SPEED] if name == "speed" else [] for name in plan.PHASES}
    assert plan.chosen(["speed/token", "facts", "speed/steps"]) == {"speed": ["token", "steps"], "facts": []}
    for unknown in ("sped", "speed/tokens", "test"):
        with pytest.raises(SystemExit, match=f"no phase '{unknown}', expected one of facts, .*speed/token"):
            plan.chosen([unknown])


def test_its_page_names_its_phases_and_no_others() -> None:
    page = (ROOT / "benchmarks" / "gpu" / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z/]+)`", page, flags=re.MULTILINE)
    phases = [name for name in plan.PHASES if name != "speed"] + [f"speed/{part}" for part in plan.SPEED]
    assert sorted(named) == sorted(phases)
    for call in re.findall(r"^    bash .*plan\.sh(.*)$", page, flags=re.MULTILINE):
        plan.chosen(call.split("#")[0].split())


def test_what_is_carried_has_a_pin() -> None:
    names = re.search(r'^names="(.*?)"', (ROOT / "benchmarks/gpu/carry.sh").read_text(), flags=re.DOTALL | re.MULTILINE)
    assert names is not None
    pins = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    alike = {name.lower().replace("-", "_") for name in pins}
    assert {name.lower().replace("-", "_") for name in names[1].split()} <= alike


def told(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_a_phase_that_fails_is_late_or_fell_back_says_so_and_the_next_one_runs(out: Path) -> None:
    def breaks() -> lines_found:
        raise ValueError("broken")

    def falls_back() -> lines_found:
        warnings.warn("a token's pass is not captured as a graph: no", stacklevel=1)
        return {"token_ms": 1.0}

    def late() -> lines_found:
        time.sleep(5)
        return {}

    for name, measure in (("a", breaks), ("b", falls_back), ("c", late), ("d", lambda: {"token_ms": 2.0})):
        lines.run(name, measure, 0.3)
    broken, fallen, too_late, right = told(out)
    assert broken["error"] == "ValueError: broken"
    assert fallen["error"] == "fell back: a token's pass is not captured as a graph: no" and fallen["token_ms"] == 1.0
    assert str(too_late["error"]).startswith("TimeoutError") and float(str(too_late["s"])) < 3
    assert right["token_ms"] == 2.0 and "error" not in right
    assert plan.summary(told(out)) == 1 and plan.summary(told(out)[3:]) == 0
    assert (out / "summary.txt").read_text().startswith("figures of one run; 1 lines, 0 bad")


lines_found = dict[str, object]
WRITES = """
import os, sys
from benchmarks.gpu.lines import note
for part in sys.argv[1:]:
    if part == "token":
        os._exit(3)
    note(f"speed/{part}")
"""


def test_the_parts_behind_one_that_broke_the_process_get_another(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks.py").write_text(WRITES)
    monkeypatch.setenv("OUT", str(out))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    monkeypatch.setitem(plan.PHASES, "speed", plan.Phase(["breaks"], 30))
    assert plan.main(["speed/build", "speed/ceilings", "speed/token", "speed/vision"]) == 1
    assert [line["phase"] for line in told(out)] == [
        *("speed/build", "speed/ceilings", "plan/speed"),
        *("speed/build", "speed/vision", "plan/speed"),
    ]


def test_tests_write_their_figures(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "test_two.py"
    file.write_text(
        "import pytest\n\ndef test_a(record_property):\n    record_property('nats', 0.5)\n\n"
        "def test_b():\n    assert 1 == 2\n\ndef test_c():\n    pytest.skip('no GPU')\n"
    )
    monkeypatch.setenv("OUT", str(out))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.gpu.lines", "-c", "/dev/null", str(file)]
    subprocess.run(command, cwd=ROOT, capture_output=True)
    a, b, c = told(out)
    assert (a["phase"], a["nats"], "error" in a) == ("test/two/test_a", 0.5, False)
    assert "assert 1 == 2" in str(b["error"]) and c["skipped"] == "Skipped: no GPU"


@pytest.mark.parametrize(
    ("asked", "hidden"), [("", True), ("not slow and not gpu", True), ("gpu", False), ("gpu and not slow", False)]
)
def test_a_gpu_is_hidden_from_tests_that_did_not_ask_for_it(
    asked: str, hidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conftest import pytest_configure

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # so that it is put back
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    pytest_configure(SimpleNamespace(option=SimpleNamespace(markexpr=asked)))
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == ("" if hidden else None)
