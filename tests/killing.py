"""Ending a process at each of its steps on the disk, as a SIGKILL or a power cut would."""

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

_STEPS = ("open", "os.", "fcntl.", "shutil.")


def killed_at_each_step(work: Callable[[], object], place: Path, *, every: int = 1) -> Iterator[int]:
    """Calls `work` in a child that is killed just before its first step below `place`, then before its second, ...

    Yields:
        The step before which the child was just killed; it ends when a child came to its end.
    """
    for step in range(0, 10_000, every):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, which this child bears
            child = os.fork()
        if child == 0:
            try:
                _kill_before(step, place)
                work()
                os._exit(0)
            except BaseException:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, "the child failed"
            return
        yield step


def _kill_before(step: int, place: Path) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event.startswith(_STEPS) and any(str(place) in str(one) for one in arguments if isinstance(one, str | Path)):
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(hook)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
