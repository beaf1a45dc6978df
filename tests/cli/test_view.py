"""`earshot view`: what wrong calls get, and that it says where it is and ends when it is told to."""

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from earshot.cli.main import main
from tests.view.runs import make_pair_set, make_run


def test_wrong_calls_are_one_line_that_names_the_next_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path / "nowhere")]) == 2
    assert "is no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["view", str(tmp_path / "empty")]) == 2
    err = capsys.readouterr().err
    assert "'earshot eval --model MODEL" in err
    assert len(err.splitlines()) == 1
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "config.yaml").touch()
    assert main(["view", str(tmp_path / "runs")]) == 2
    assert capsys.readouterr().err.endswith(f"holds no run; try 'earshot view {tmp_path}/runs/a'\n")


def test_a_taken_port_is_said_before_anything_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", make_pair_set(tmp_path / "data"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["view", str(run), "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another --port" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_it_says_where_it_is_answers_there_and_ends_well_when_interrupted(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_pair_set(tmp_path / "data"))
    command = [sys.executable, "-m", "earshot.cli.main", "view", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[0]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert b"<title>Earshot view</title>" in answer.read()
            server.send_signal(signal.SIGINT)
            _, err = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, err) == (0, "")
