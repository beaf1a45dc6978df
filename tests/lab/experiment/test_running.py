"""What is missing is made, once; what is cut off is continued; what changed is said. A stand-in makes the files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from earshot.errors import EarshotError, InputError
from earshot.lab.experiment.plan import expand
from earshot.lab.experiment.records import Record
from earshot.lab.experiment.running import Experiment
from tests.lab.experiment.made_up import calls, plan_of, plan_tree, stand_in


class Bench:
    """An experiment whose commands are a stand-in's."""

    def __init__(self, folder: Path) -> None:
        self.desk, self.out, self.tree = folder / "desk", folder / "x", plan_tree(folder / "x")
        self.program = stand_in(self.desk)

    def go(self, *, arms: tuple[str, ...] = (), seeds: tuple[int, ...] = (), **options: Any) -> list[str]:
        plan = plan_of(self.tree)
        experiment = Experiment(plan, say=lambda line: None, program=self.program, **options)
        return experiment.carry_out(expand(plan, arms, seeds))

    def new_calls(self) -> list[str]:
        found = calls(self.desk)
        (self.desk / "calls").unlink(missing_ok=True)
        return [
            " ".join(line.split()[:2]) + " " + next((w for w in line.split() if "seed-" in w), "") for line in found
        ]


@pytest.fixture()
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_all_runs_are_made_once_and_recorded_with_hashes(bench: Bench) -> None:
    assert bench.go() == []
    made = bench.new_calls()
    assert made[0].startswith("world make")
    assert len(made) == 1 + 4 * 2
    record = json.loads((bench.out / "listener" / "seed-1" / "run.json").read_text())["steps"]
    assert record["train"]["status"] == "finished" and record["train"]["outputs"]["model"].startswith("sha256:")
    assert record["train"]["inputs"]["data"]["train"].startswith("sha256:")
    judged = record["eval/test"]
    assert judged["inputs"]["model"] == record["train"]["outputs"]["model"]
    assert judged["inputs"]["listeners"]["held-out"].startswith("sha256:") and judged["inputs"]["seed"] == 1
    assert set(judged["outputs"]) == {"metrics.json", "predictions.jsonl"}
    assert bench.go() == [] and bench.new_calls() == []


def test_commands_can_be_carried_out_here_and_what_they_raise_ends_the_experiment(bench: Bench) -> None:
    asked: list[str] = []

    def here(words: Sequence[str]) -> None:
        asked.append(" ".join(words[:2]))
        if words[0] == "train" and len(asked) == 2:
            raise KeyboardInterrupt
        subprocess.run([*bench.program, *words], check=True)

    with pytest.raises(KeyboardInterrupt):
        bench.go(here=here, seeds=(0,))
    assert asked == ["world make", "train grpo"]
    assert Record(bench.out / "naive" / "seed-0").steps["train"]["status"] == "running"
    assert bench.go(here=here, seeds=(0,)) == []
    assert asked[2:] == ["train grpo", "eval --model"] * 2


def test_out_of_distribution_sets_may_have_their_own_size(bench: Bench) -> None:
    assert "ood-pairs" not in Experiment(plan_of(bench.tree)).preparations([])[0].inputs  # as in records made before
    bench.tree["world"]["ood_pairs"] = 5
    step = Experiment(plan_of(bench.tree)).preparations([])[0]
    assert " --ood-pairs 5 " in " ".join(step.words) and step.inputs["ood-pairs"] == 5


@pytest.mark.slow
def test_another_seed_or_arm_makes_only_what_is_missing(bench: Bench) -> None:
    bench.go(seeds=(0,))
    bench.new_calls()
    assert bench.go() == []
    assert {line.split("seed-")[1][0] for line in bench.new_calls()} == {"1"}
    bench.tree["arms"]["blind"] = {"kind": "grpo", "overrides": {"listener": {"control": "blind"}}}
    bench.tree["evaluation"]["batch"] = 7  # how it is computed, not what
    assert bench.go() == []
    made = bench.new_calls()
    assert len(made) == 4 and all("/blind/" in line for line in made)


@pytest.mark.slow
def test_a_failed_run_is_recorded_with_its_log_and_the_rest_goes_on_and_the_next_call_tries_again(bench: Bench) -> None:
    (bench.desk / "fail").write_text("naive/seed-0/train.yaml\nlistener/seed-1/eval")
    problems = bench.go()
    assert len(problems) == 2
    assert problems[0].startswith("naive seed 0, train: exit code 3; boom: naive/seed-0/train.yaml")
    kept = Record(bench.out / "naive" / "seed-0").steps["train"]
    assert kept["status"] == "failed" and kept["exit_code"] == 3 and kept["log_tail"][0] == "reading"
    assert Record(bench.out / "naive" / "seed-1").output("eval/test") is not None
    (bench.desk / "fail").unlink()
    bench.new_calls()
    assert bench.go() == []
    assert len(bench.new_calls()) == 3  # its training and evaluation, and the other's evaluation


@pytest.mark.slow
def test_a_command_that_ends_well_without_its_product_has_failed(bench: Bench) -> None:
    bench.program = (sys.executable, "-c", "")
    with pytest.raises(EarshotError, match=r"plan, data: train is not there; no log"):
        bench.go()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "value", "changed"),
    [
        (("base", "grpo", "trl", "max_steps"), 4, "trl.max_steps: 3 → 4"),
        (("evaluation", "samples"), 2, "samples: 1 → 2"),
        (("world", "test_pairs"), 9, "test-pairs: 8 → 9"),
    ],
)
def test_a_change_is_said_and_nothing_is_made_or_removed_without_redo(
    bench: Bench, place: tuple[str, ...], value: Any, changed: str
) -> None:
    bench.tree["base"]["sft"] = {}
    bench.go()
    bench.new_calls()
    table = bench.tree
    for step in place[:-1]:
        table = table[step]
    table[place[-1]] = value
    before = sorted(path for path in bench.out.rglob("*") if path.is_file())
    with pytest.raises(InputError, match="--redo") as caught:
        bench.go()
    assert changed in str(caught.value)
    assert bench.new_calls() == [] and before == sorted(path for path in bench.out.rglob("*") if path.is_file())
    assert bench.go(redo=True) == [] and bench.new_calls() != []
    assert bench.go() == [] and bench.new_calls() == []


@pytest.mark.slow
def test_a_changed_pair_set_or_lost_model_is_found(bench: Bench) -> None:
    bench.go()
    (bench.out / "data" / "train" / "metadata.jsonl").write_text("other pairs")
    with pytest.raises(InputError, match=r"naive seed 0, train .*data\.train: its content\) and 3 more steps"):
        bench.go()
    bench.go(redo=True)
    (bench.out / "naive" / "seed-0" / "train" / "model" / "model.safetensors").unlink()
    (bench.out / "naive" / "seed-0" / "train" / "model").rmdir()
    with pytest.raises(InputError, match="what it made is gone"):
        bench.go()


@pytest.mark.slow
def test_redoing_a_training_redoes_its_evaluations(bench: Bench) -> None:
    bench.go(arms=("naive",), seeds=(0,))
    bench.new_calls()
    bench.tree["base"]["grpo"]["trl"]["learning_rate"] = 1e-3
    bench.go(arms=("naive",), seeds=(0,), redo=True)
    assert [line.split()[0] for line in bench.new_calls()] == ["train", "eval"]


@pytest.mark.slow
def test_models_of_the_plan_and_arms_that_train_nothing(bench: Bench) -> None:
    bench.tree["models"] = {"other": {"command": ["model", "{out}"]}}
    bench.tree["arms"]["warm"] = {"kind": "none"}
    bench.tree["arms"]["other"] = {"kind": "grpo", "overrides": {"listener": {"paths": "plan:other"}}}
    assert bench.go(arms=("warm", "other"), seeds=(0,)) == []
    made = calls(bench.desk)
    assert made[1] == f"model {bench.out}/models/other"
    assert "--model world:reasoner" in made[2] and "warm/seed-0/eval/test" in made[2]
    assert sum(line.startswith("train") for line in made) == 1


@pytest.mark.slow
def test_threads_are_divided_among_the_jobs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    program = bench.desk / "program.py"
    text = program.read_text()
    program.write_text(f"import os\nprint('threads', os.environ['OMP_NUM_THREADS'])\n{text}")
    assert bench.go(jobs=2) == []
    assert (bench.out / "naive" / "seed-0" / "logs" / "train.log").read_text().strip() == "threads 2"


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_where_it_was(bench: Bench, tmp_path: Path) -> None:
    (bench.desk / "hang").write_text("listener/seed-0/train.yaml")
    (tmp_path / "plan.json").write_text(json.dumps(bench.tree))
    root = Path(__file__).resolve().parents[3]
    code = (
        f"import json, sys; sys.path.insert(0, {str(root)!r})\n"
        "from earshot.lab.experiment.running import Experiment\nfrom earshot.lab.experiment.plan import expand\n"
        "from tests.lab.experiment.made_up import plan_of\n"
        f"plan = plan_of(json.load(open({str(tmp_path / 'plan.json')!r})))\n"
        f"Experiment(plan, program={bench.program!r}).carry_out(expand(plan, ['listener'], [0]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, start_new_session=True)
    while not (bench.desk / "hanging").exists():
        assert process.poll() is None
        time.sleep(0.05)
    with pytest.raises(InputError, match="still at work here"):
        bench.go()
    process.kill()
    process.wait()
    with pytest.raises(InputError, match="still at work here"):  # its command has outlived it
        bench.go()
    os.killpg(process.pid, signal.SIGKILL)
    time.sleep(0.2)
    (bench.desk / "hang").unlink()
    assert Record(bench.out / "listener" / "seed-0").steps["train"]["status"] == "running"
    assert bench.go(arms=("listener",), seeds=(0,)) == []
    trained = [line for line in calls(bench.desk) if line.startswith("train")]
    assert [line.endswith("--resume") for line in trained] == [False, True]


@pytest.mark.slow
def test_half_a_world_is_made_anew(bench: Bench) -> None:
    (bench.out / "data" / "train").mkdir(parents=True)
    plan = plan_of(bench.tree)
    step = Experiment(plan).preparations([])[0]
    Record(bench.out).keep(step, "running")
    assert bench.go(seeds=(0,)) == []
