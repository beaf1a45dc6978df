"""One writer a folder, or a file."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from earshot.errors import InputError
from earshot.locks import locked, sole_writer


def test_a_lock_is_one_processs_at_a_time_and_dies_with_it(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from earshot.locks import locked\n"
        "with locked(Path(sys.argv[1]), taken='taken'): print('mine', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"mine\n"
        who = rf"another is at work \(process {other.pid} on .*: -c .*, since 2\d+-.*\); wait for it"
        with pytest.raises(InputError, match=who), locked(tmp_path / "lock", taken="another is at work"):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    for _ in range(2):
        with locked(tmp_path / "lock", taken="another is at work"):
            pass


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, lock = fcntl.flock, tmp_path / ".tmp-lock"

    def removed_first(descriptor: int, how: int) -> None:
        flock(descriptor, how)
        if lock.exists() and not lock.read_text():  # as by a holder that ended between our opening and our locking
            lock.unlink()
            lock.write_text("another's")

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with sole_writer(tmp_path):
        assert lock.read_text().startswith(f"process {os.getpid()} on")
    assert list(tmp_path.iterdir()) == []


def test_of_a_file_what_a_killed_writer_left_goes_and_nothing_else(tmp_path: Path) -> None:
    kept = {".tmp-0123456789ab-other.html", ".tmp-notes-page.html", "page.html"}
    for name in (*kept, ".tmp-0123456789ab-page.html", ".tmp-lock-page.html"):
        (tmp_path / name).write_text("x")
    with sole_writer(tmp_path / "page.html"):
        with pytest.raises(InputError, match=rf"page\.html: another process writes there \(process {os.getpid()} on"):
            sole_writer(tmp_path / "page.html").__enter__()
        with sole_writer(tmp_path / "other.html"), sole_writer(tmp_path):
            pass
    assert {path.name for path in tmp_path.iterdir()} == kept - {".tmp-0123456789ab-other.html"}


def test_a_forked_child_does_not_keep_what_its_killed_parent_held(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        if (parent := os.fork()) == 0:
            with sole_writer(tmp_path):
                if (worker := os.fork()) == 0:
                    time.sleep(60)
                    os._exit(0)
                (tmp_path / "worker").write_text(str(worker))
                os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(parent, 0)
    worker = int((tmp_path / "worker").read_text())
    try:
        with sole_writer(tmp_path):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
