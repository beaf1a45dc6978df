"""Workers of a Ray cluster judge a file to the bytes that one process makes of it, whoever dies meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earshot.errors import InputError, ListenerUnavailable
from earshot.files import read_jsonl
from earshot.judging import on_ray
from earshot.judging.on_ray import open_ray
from tests.judging.constant import Constant
from tests.judging.test_to_file import judge, make, wait_for_parts

ROOT = Path(__file__).resolve().parents[2]


def test_places_are_counted_by_machine():
    machine = {"CPU": 8.0, "GPU": 3.0}
    # 3 GPUs hold one worker of 2, not one and a half; two thirds of a GPU leave a third of it unused.
    for gpus, places in ((0.0, 8), (1.0, 3), (2.0, 1), (3.0, 1), (4.0, 0), (0.5, 6), (0.67, 3), (0.1, 8)):
        assert on_ray._places(machine, gpus) == places
    assert on_ray._places({"CPU": 4.0}, 1.0) == 0
    assert on_ray._places({}, 0.0) == 0


def test_a_worker_has_a_gpu_where_there_are_any_and_the_device_does_not_say_otherwise():
    assert on_ray._gpus("auto", None, 8.0) == 1
    assert on_ray._gpus("auto", None, 0.0) == 0
    assert on_ray._gpus("cpu", None, 8.0) == 0
    assert on_ray._gpus("cuda", None, 0.0) == 1  # for which there will be no place
    assert on_ray._gpus("cuda", 0.5, 8.0) == 0.5
    for device, gpus in (("cpu", 1.0), ("cuda", 0.0)):
        with pytest.raises(InputError, match="leave out one of them"):
            on_ray._gpus(device, gpus, 8.0)
    with pytest.raises(InputError, match=r"is 1\.5, expected a whole number"):
        on_ray._gpus("auto", 1.5, 8.0)


def constant(device):
    return Constant(), {}


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'earshot-rm\[ray\]'"), open_ray(constant):
        pass


def test_a_cluster_that_does_not_answer_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(InputError, match=f"{address}: no Ray cluster answers"), open_ray(constant, address=address):
        pass


def start(folder, name, trouble="none", tolerate=0):
    """A job on two workers, which has loaded no model yet."""
    pytest.importorskip("ray")
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    (folder / "log").touch()
    command = [sys.executable, str(Path(__file__).with_name("on_ray.py"))]
    command += [name, "out.parquet", "log", trouble, str(tolerate)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)


def asked(folder):
    return (folder / "log").read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl"])
def test_two_workers_make_the_same_bytes_as_one_process(tmp_path, name):
    source = make(tmp_path, 300, name, row7={"first": "gone.png"}, row90={"prompt": None})
    assert start(tmp_path, name, tolerate=2).communicate(timeout=240)[0] == "300 2\n"
    judge(source, tmp_path / "local.parquet", tolerate=2)
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    assert sorted(asked(tmp_path)) == sorted(f"grey {k}" for k in range(300) if k not in (7, 90))
    assert not (tmp_path / "out.parquet.parts").exists()


@pytest.mark.slow
def test_when_a_worker_dies_its_part_is_judged_again(tmp_path):
    source = make(tmp_path, 300)
    child = start(tmp_path, source.name, "dies")
    assert child.communicate(timeout=240)[0] == "300 0\n"
    judge(source, tmp_path / "local.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    # It died after the second batch of four of the part that begins at row 25.
    twice = [f"grey {k}" for k in range(25, 33)]
    assert sorted(asked(tmp_path)) == sorted([f"grey {k}" for k in range(300)] + twice)


@pytest.mark.slow
def test_a_part_that_kills_every_worker_ends_the_work(tmp_path):
    source = make(tmp_path, 100)
    child = start(tmp_path, source.name, "deadly")
    err = child.communicate(timeout=240)[1]
    assert child.returncode == 1
    assert err.splitlines()[-1].startswith("EarshotError: a worker died 4 times over the same part")
    assert asked(tmp_path).count("grey 30") == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "message"),
    [("listener", "ListenerUnavailable: the listener is gone"), ("bug", "ZeroDivisionError: by zero")],
)
def test_an_error_of_the_model_is_raised_as_it_is_and_not_tried_again(tmp_path, trouble, message):
    source = make(tmp_path, 100)
    child = start(tmp_path, source.name, trouble)
    assert child.communicate(timeout=240)[1].splitlines()[-1] == message
    assert child.returncode == 1
    assert asked(tmp_path).count("grey 30") == 1


@pytest.mark.slow
def test_begun_on_one_engine_it_ends_on_the_other(tmp_path):
    source, parts = make(tmp_path, 2000), tmp_path / "out.parquet.parts"
    judge(source, tmp_path / "local.parquet")
    with pytest.raises(ListenerUnavailable):
        judge(source, tmp_path / "out.parquet", Breaks("grey 240"))
    before = {row["row"] for part in parts.glob("part-*") for row in read_jsonl(part)}
    child = start(tmp_path, source.name)
    wait_for_parts(parts, 20, child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    between = {row["row"] for part in parts.glob("part-*") for row in read_jsonl(part)}
    assert len(before) == 225 and len(between) >= 500
    # Ray's worker outlives the driver by a moment, and may still write into the log.
    time.sleep(2)
    assert not {f"grey {k}" for k in before} & set(asked(tmp_path))
    assert judge(source, tmp_path / "out.parquet", Constant(tmp_path / "rest")) == (2000, 0)
    rest = (tmp_path / "rest").read_text().splitlines()
    assert sorted(rest) == sorted(f"grey {k}" for k in set(range(2000)) - between)
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


class Breaks(Constant):
    """Its listener is gone at one prompt."""

    def __init__(self, prompt):
        super().__init__()
        self.prompt = prompt

    def answer(self, questions, wanted=None):
        if any(question.pair.prompt == self.prompt for question in questions):
            raise ListenerUnavailable("gone")
        return super().answer(questions)
