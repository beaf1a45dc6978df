"""The model in other processes answers as it does here; one that dies takes its batch down, and nothing else."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from earshot.errors import ListenerUnavailable, ModelError
from earshot.predictions.judgement import Judgement
from earshot.serve import processes
from earshot.serve.batching import Batcher
from earshot.serve.engine import NoWorker, WorkerDied
from earshot.serve.queueing import Hearing
from earshot.serve.refusals import Refusal
from earshot.serve.workers import DEVICE_LOST, Workers, device_lost
from tests.judging.opinions import Hears, shade
from tests.serve.engines import nowhere, odd, opinionated
from tests.serve.test_batching import FAR, asked
from tests.serve.test_life import wait


def test_other_processes_answer_as_the_model_does_here() -> None:
    here = opinionated(0)
    questions = [
        here.question(prompt="a grey square", first=shade(a), second=shade(b), seed=seed)
        for a, b in ((100, 140), (140, 100), (120, 110))
        for seed in (0, 1)
    ]
    pairs, traces = [question.pair for question in questions], ["one", None, "three", None, "five", "six"]
    with Workers(opinionated, 2) as engine:
        assert engine.samples == 1 and engine.listener is not None and engine.listener.name == Hears().name
        for _ in range(3):  # whoever of the two is asked
            assert engine.try_answer(questions) == here.answer(questions)
            np.testing.assert_array_equal(engine.listener.p_first(pairs, traces), Hears().p_first(pairs, traces))
        batcher = Batcher(engine, at_once=2)
        batcher.start()
        hearings = [Hearing(pair, trace) for pair, trace in zip(pairs, traces, strict=True)]
        assert batcher.listen(hearings, FAR).result(20) == Hears().p_first(pairs, traces).tolist()
        batcher.stop()


def test_the_error_of_loading_is_the_models_own() -> None:
    with pytest.raises(ModelError, match="there is no model for process 0"), Workers(nowhere, 2):
        pytest.fail("nothing was loaded")


@pytest.mark.slow
def test_who_leaves_is_dropped_while_the_model_writes(tmp_path: Path) -> None:
    with Workers(partial(odd, folder=tmp_path)) as engine:
        batcher = Batcher(engine, batch=2, linger_s=5.0)
        batcher.start()
        leaves, stays = batcher.compare(asked("wait"), FAR), batcher.compare(asked("stay"), FAR)
        assert wait((tmp_path / "begun").exists)
        assert leaves.cancel()
        assert stays.result(20)
        assert (tmp_path / "seen").read_text() == "False True"
        assert batcher.compare(asked("next"), FAR).result(20)  # not taken for what came late
        batcher.stop()


def test_a_question_over_which_processes_die_costs_no_other_and_is_refused_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Workers(partial(odd, folder=tmp_path), 2) as engine:
        batcher = Batcher(engine, batch=4, at_once=2, linger_s=0.2)
        batcher.start()
        futures = {name: batcher.compare(asked(name), FAR) for name in ("one", "die", "fail", "two")}
        assert futures["one"].result(30) and futures["two"].result(30)
        with pytest.raises(Refusal, match="asked no more") as died:
            futures["die"].result(30)
        assert (died.value.status, died.value.code) == (422, "deadly_question")
        with pytest.raises(Refusal) as failed:
            futures["fail"].result(30)
        assert failed.value.code == "listener_unavailable"
        assert wait(lambda: all(worker.up() for worker in engine._pool._workers))
        with pytest.raises(Refusal, match="asked no more"):
            batcher.compare(asked("three", "die"), FAR).result(0)
        batcher.stop()
        pids = (tmp_path / "pids").read_text().split()
        assert len(pids) == len(set(pids)) == 5  # two at first, then three that died: over the batch, and "die" twice
    assert "exit code 3" in caplog.text


def test_a_process_that_is_killed_over_a_question_costs_nobody_an_answer(tmp_path: Path) -> None:
    with Workers(partial(odd, folder=tmp_path)) as engine:
        batcher = Batcher(engine, batch=2, linger_s=0.2)
        batcher.start()
        futures = [batcher.compare(asked(name), FAR) for name in ("once", "two")]
        assert wait((tmp_path / "once").exists)
        os.kill(int((tmp_path / "pids").read_text()), signal.SIGKILL)
        assert wait(lambda: not engine.up())
        assert all(future.result(30) for future in futures) and engine.up()
        batcher.stop()


def test_a_process_whose_device_breaks_ends_itself_and_another_answers(tmp_path: Path) -> None:
    with Workers(partial(odd, folder=tmp_path)) as engine:
        with pytest.raises(WorkerDied) as died:
            engine.try_answer(asked("break"))
        assert died.value.code == DEVICE_LOST
        assert isinstance(engine.try_answer(asked("a"))[0], Judgement)
        with pytest.raises(ListenerUnavailable):  # an error that leaves the device as it was
            engine.try_answer(asked("fail"))
        assert len((tmp_path / "pids").read_text().split()) == 2


def test_a_device_that_does_not_answer_is_lost_whatever_the_failure_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        def is_initialized(self) -> bool:
            return True

        def synchronize(self) -> None:
            if broken:
                raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda()))
    broken = False
    assert not device_lost(ValueError("CUDA error"))
    assert device_lost(RuntimeError("CUDA error: unspecified launch failure"))
    broken = True
    assert device_lost(ValueError("some index"))


def test_another_model_takes_over_while_what_was_asked_of_the_last_is_answered_by_it(tmp_path: Path) -> None:
    with Workers(partial(odd, folder=tmp_path), 2) as engine, ThreadPoolExecutor() as threads:
        wanted = threading.Event()
        wanted.set()
        slow = threads.submit(engine.try_answer, asked("wait"), lambda k: wanted.is_set())
        assert wait((tmp_path / "begun").exists)
        engine.renew(partial(odd, folder=tmp_path, samples=3))
        assert engine.samples == 3 and engine.up() == 2 and not slow.done()
        first, second, *new = map(int, (tmp_path / "pids").read_text().split())
        assert len(new) == 2
        assert wait(
            lambda: psutil.pid_exists(first) + psutil.pid_exists(second) == 1
        )  # the one that had nothing in hand
        assert isinstance(engine.try_answer(asked("a"))[0], Judgement)
        wanted.clear()
        assert isinstance(slow.result(20)[0], Judgement)
        assert wait(lambda: not psutil.pid_exists(first) and not psutil.pid_exists(second))
        os.kill(new[0], signal.SIGKILL)  # in whose place the new model comes, too
        assert wait(lambda: len((tmp_path / "pids").read_text().split()) == 5 and engine.up() == 2, 30)


def test_a_model_that_does_not_load_leaves_the_last_one_where_it_is(tmp_path: Path) -> None:
    with Workers(partial(odd, folder=tmp_path), 2) as engine:
        (tmp_path / "broken").touch()
        with pytest.raises(ModelError, match="the files are gone"):
            engine.renew(partial(odd, folder=tmp_path, samples=3))
        assert engine.samples == 1 and engine.up() == 2
        assert isinstance(engine.try_answer(asked("a"))[0], Judgement)
        assert len((tmp_path / "pids").read_text().split()) == 2


def test_an_idle_process_that_is_killed_is_missed_and_comes_back_unasked(tmp_path: Path) -> None:
    with Workers(partial(odd, folder=tmp_path)) as engine:
        os.kill(int((tmp_path / "pids").read_text()), signal.SIGKILL)
        assert wait(lambda: not engine.up())
        assert wait(engine.up, 30)
        assert engine.try_answer(asked("one"))


@pytest.mark.slow
def test_without_a_process_there_is_an_error_and_no_wait_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE_S", 0.2)
    monkeypatch.setattr(processes, "_AGAIN_S", (0.0, 0.1))
    with Workers(partial(odd, folder=tmp_path)) as engine:
        assert engine.up()
        (tmp_path / "broken").touch()
        with pytest.raises(WorkerDied, match="exit code 3"):
            engine.try_answer(asked("die"))
        with pytest.raises(NoWorker, match="has come up"):
            engine.try_answer(asked("one"))
        assert wait(lambda: not engine.up())
        (tmp_path / "broken").unlink()
        monkeypatch.setattr(processes, "PATIENCE_S", 30.0)
        assert engine.try_answer(asked("one"))  # it was begun again until it came up


def test_a_server_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    script = (
        "import sys, time; from functools import partial; from pathlib import Path\n"
        "from earshot.serve import Workers; from tests.serve.engines import odd\n"
        "if __name__ == '__main__':\n"
        f"    with Workers(partial(odd, folder=Path({str(tmp_path)!r})), 2):\n"
        "        print('up', flush=True); time.sleep(60)\n"
    )
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, str(tmp_path / "script.py")]
    places = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None and server.stdout.readline() == "up\n"
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        os.kill(pids[0], signal.SIGTERM)  # as a supervisor does that stops a whole group
        time.sleep(0.1)
        assert len(pids) == 2 and all(alive(pid) for pid in pids)
        server.send_signal(signal.SIGKILL)
    assert wait(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
