"""Kills a command at random moments, calls it again, and compares what it leaves with an undisturbed call."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PRELOADED: Final = (
    *("tests.kills.harness", "tests.train.shapes", "earshot.cli.main", "earshot.cli.train", "earshot.train.grpo"),
    *("earshot.train.sft", "earshot.cli.evaluate", "earshot.cli.judge", "earshot.evaluate", "earshot.judging.to_file"),
    *("earshot.judging.model", "earshot.cli.data", "earshot.data.importing", "earshot.report", "matplotlib.pyplot"),
    *("earshot.lab.commands.experiment", "earshot.world.make", "peft"),
)
PATIENCE_S: Final = 120.0
"""For a command that is not killed, and for one that a killed command left at work."""

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([*PRELOADED])


@dataclass(frozen=True)
class Job:
    """A command whose result must not depend on how often it was killed.

    Attributes:
        name: For the table.
        words: After `earshot`, when it writes into a folder.
        made: What is compared of that folder.
        group: Whether every second kill takes the commands that it has started along.
        share: Of the kills, against those of other jobs.
        done: How it refuses to do again what it had done when it was killed.
    """

    name: str
    words: Callable[[Path], Sequence[str]]
    made: Callable[[Path], Any]
    group: bool = False
    share: float = 1.0
    done: str = ""


@dataclass
class Tally:
    """What came of a job's runs."""

    runs: int = 0
    kills: int = 0
    different: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)


def survive(job: Job, folder: Path, *, kills: int, a_run: int, rng: random.Random) -> Tally:
    """Runs a job undisturbed once, then again and again, killed `a_run` times each, until so many kills are done.

    A kill falls anywhere between the process's start and the time that the undisturbed one took.

    Raises:
        AssertionError: The undisturbed call failed.
    """
    alone, log, tally = folder / "alone", folder / "log", Tally()
    began = time.monotonic()
    assert ended(start(job.words(alone), log)) == 0, log.read_text()
    seconds, expected = time.monotonic() - began, job.made(alone)
    while tally.kills < kills and not tally.by_hand:
        out = folder / f"run-{tally.runs}"
        tally.runs += 1
        for _ in range(min(a_run, kills - tally.kills)):
            process = start(job.words(out), log)
            process.join(rng.uniform(0, seconds))
            if not process.is_alive():
                break
            whole = job.group and tally.kills % 2
            (os.killpg if whole else os.kill)(process.pid, signal.SIGKILL)
            process.join()
            tally.kills += 1
        code = _finish(job, out, log)
        if code != 0 and not (code == 2 and job.done and job.done in log.read_text()):
            tally.by_hand.append(f"{out}: exit {code}: {log.read_text()[-2000:]}")
        elif left := [*left_behind(out)]:
            tally.by_hand.append(f"{out}: leaves {', '.join(left)}")
        elif job.made(out) != expected:
            tally.different.append(str(out))
        else:
            shutil.rmtree(out, ignore_errors=True)
    return tally


def left_behind(out: Path) -> Iterator[str]:
    """Names of unfinished files that a job has left in its folder or beside it; locks are none."""
    for file in (*out.rglob(".tmp-*"), *out.parent.glob(f".tmp-*{out.name}*")):
        if not file.name.endswith("lock"):
            yield file.relative_to(out.parent).as_posix()


def _finish(job: Job, out: Path, log: Path) -> int | None:
    """The exit code of an undisturbed call, made again while a command is still at work that a kill has orphaned."""
    until = time.monotonic() + PATIENCE_S
    while True:
        log.write_bytes(b"")
        code = ended(start(job.words(out), log))
        told = log.read_text()
        if not (code and job.group and "still at work" in told) or time.monotonic() > until:
            return code
        time.sleep(0.5)


def start(words: Sequence[str], log: Path) -> Any:
    """The process of `earshot WORDS`."""
    process = _processes.Process(target=_work, args=([*words], str(log)))
    process.start()
    return process


def ended(process: Any) -> int | None:
    """The exit code of a process that is left alone; None where it did not end in time."""
    process.join(PATIENCE_S)
    code: int | None = process.exitcode
    if code is None:
        process.kill()
    return code


def _work(words: list[str], log: str) -> None:
    """In a process of its own: `earshot WORDS`, its output in the log."""
    os.setsid()
    multiprocessing.set_start_method("fork", force=True)  # as a command has it
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from earshot.cli.main import main

    sys.exit(main(words))


def files_of(out: Path, *, but: Sequence[str] = ()) -> dict[str, str]:
    """The hash of every file in a folder, but those of these names and unfinished ones."""
    files = [out] if out.is_file() else [*out.rglob("*")]
    return {
        file.relative_to(out.parent if out.is_file() else out).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file() and file.name not in but and not file.name.startswith(".")
    }
