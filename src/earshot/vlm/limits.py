"""A first run of what a folder brings, in a copy of this process that may take little time and memory."""

from __future__ import annotations

import os
import resource
import select
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

_SECONDS: Final = 3  # of a processor
_PATIENCE_S: Final = 60.0  # by the clock, on a machine that has no processor free
_MIB: Final = 200
_OUT_OF_MEMORY: Final = 3


def beyond_limits(work: Callable[[], object]) -> str | None:
    """Which limit a piece of work breaks, such as `3 s`; None where it comes to an end, with whatever error.

    It is done in a process of its own, which ends with it and leaves nothing here. It may call no code that needs
    threads or a GPU, since neither is in a copy.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of copies beside threads, which the work has no use for
        line, theirs = os.pipe()
        child = os.fork()
    if child == 0:
        _work(work)
    os.close(theirs)
    try:
        ended, _, _ = select.select([line], [], [], _PATIENCE_S)  # closed when the process ends
    finally:
        os.close(line)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status) if ended else -signal.SIGKILL
    return None if code == 0 else f"{_MIB} MiB" if code == _OUT_OF_MEMORY else f"{_SECONDS} s"


def _work(work: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_CPU, _SECONDS)
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
        except OSError:  # not on Linux: time alone is limited
            pages = 0
        if pages:
            _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + (_MIB << 20))
        code = 0
        work()
    except MemoryError:
        code = _OUT_OF_MEMORY
    finally:
        os._exit(code)  # nothing of the process that this is a copy of is closed or written


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))
