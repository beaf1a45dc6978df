"""Locks that die with their process: one writer a folder, or a file."""

from __future__ import annotations

import fcntl
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from earshot.errors import InputError, one_line
from earshot.files import TEMPORARY_PREFIX, remove_left, writing

LOCK_FILE = f"{TEMPORARY_PREFIX}lock"
"""In a folder that one process writes."""


@contextmanager
def locked(
    path: Path,
    *,
    taken: str,
    then: str = "wait for it, or choose another place",
    shared: bool = False,
    wait: bool = False,
    remove: bool = False,
) -> Iterator[int]:
    """Holds a lock that one process at a time can have, and gives its descriptor, by which children may hold it too.

    The system lets go of it when the last that holds it dies, however it dies.

    Args:
        path: The lock's file, which is made and says who holds it.
        taken: The message where another process has it; who that is follows.
        then: What to do about it, which ends the message.
        shared: Whether others may hold it so, too.
        wait: Whether to wait for it in place of an error.
        remove: Whether its file goes when it is let go of.

    Raises:
        InputError: Another process has it.
    """
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, how)
            except BlockingIOError as error:
                holder = one_line(os.pread(descriptor, 1000, 0).decode(errors="replace")) or "not known which"
                raise InputError(f"{taken} ({holder}); {then}") from error
            if not _is_at(descriptor, path):  # who held it has removed it, and another may hold a new one
                continue
            os.truncate(descriptor, 0)
            if not shared:
                os.pwrite(descriptor, _this_process().encode(), 0)
            try:
                yield descriptor
            finally:
                if remove:
                    path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _this_process() -> str:
    command = one_line(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))[:200]
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {platform.node()}: {command}, since {since}"


_own_locks: set[int] = set()


def _let_go() -> None:
    """In a forked child, such as a loader's worker: it writes nothing, and outlives a parent that is killed."""
    while _own_locks:
        os.close(_own_locks.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Holds a folder, or a file that is to be written whole, for one process until it ends, however it ends.

    What a killed writer of the file has left beside it is removed; of the lock, nothing stays. Forked children do not
    hold it.

    Raises:
        InputError: Another process writes it; the message says which.
    """
    folder = path.is_dir()
    lock = path / LOCK_FILE if folder else path.with_name(f"{LOCK_FILE}-{path.name}")
    with locked(lock, taken=f"{path}: another process writes there", remove=True) as descriptor:
        _own_locks.add(descriptor)
        try:
            if not folder:
                remove_left(path.parent, path.name)
            with writing(path):
                yield
        finally:
            _own_locks.discard(descriptor)
