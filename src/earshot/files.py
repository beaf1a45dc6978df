"""Opening the files that people name: regular ones only, so that a pipe or a device is refused and never waited for."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from earshot.errors import InputError


def open_regular(path: Path, *, what: str) -> BinaryIO:
    """Opens a file for reading its bytes.

    Args:
        path: The file.
        what: What it should be, for messages.

    Raises:
        InputError: There is none, it may not be read, or it is a folder, a pipe or a device.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # or a named pipe would not answer
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file, expected {what}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected {what}; check the path") from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    found = "a folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "a pipe or a device"
    os.close(descriptor)
    raise InputError(f"{path}: is {found}, expected {what}; give the name of a regular file")


def read_regular(path: Path, limit: int, *, what: str) -> bytes:
    """All bytes of a file.

    Args:
        path: The file.
        limit: The most that it may hold, in bytes.
        what: What it should be, for messages.

    Raises:
        InputError: As `open_regular`, or it holds more.
    """
    with open_regular(path, what=what) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{path}: is larger than {limit} bytes, expected {what}; check the path")
    return data
