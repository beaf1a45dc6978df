"""Files that survive a crash, and the opening of those that people name.

A file is written whole (temporary name in the same folder, fsync, rename, fsync of the folder) or is append-only JSON
Lines, one write a call. JSON has no NaN: a number that is not finite is written as null, which readers take as
"could not be computed". Only regular files are opened, so that a pipe or a device is refused and never waited for.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NoReturn

from earshot.errors import CannotWrite, DataError, InputError, disk_is_full

TEMPORARY_PREFIX = ".tmp-"
"""How the name of a file begins that is still being written; readers ignore such files."""

MAX_JSON_BYTES = 256_000_000
"""Of a JSON document that is read whole; what is larger is something else given by mistake."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a temporary path for a file or a folder, and puts what was written there in the place of `path` at the end.

    The temporary name lies in the same folder and keeps the suffix. After an exception `path` is as it was before. A
    folder that is there is moved aside first: a crash just then leaves both, whole, under temporary names.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with writing(path):
            yield temporary
            for written in (*temporary.rglob("*"), temporary):
                fsync(written)
            if temporary.is_dir() and path.exists():
                _exchange(temporary, path)
            else:
                temporary.replace(path)
            fsync(path.parent)
    finally:
        _remove(temporary)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tells of a disk that is full, or a quota that is used up, by one kind of error that names the place.

    Raises:
        CannotWrite: There was no room.
    """
    try:
        yield
    except CannotWrite:
        raise
    except Exception as error:
        if not disk_is_full(error):
            raise
        found = getattr(error, "strerror", None) or "no room is left on its disk"
        raise CannotWrite(f"{path}: cannot be written ({found}); make room there and give the same command") from error


def _beside(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{path.name}")


def fsync(path: Path) -> None:
    """Returns when a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(new: Path, path: Path) -> None:
    old = _beside(path)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_folder(folder: Path, what: str) -> None:
    """Sees that a folder is there or can be made.

    Args:
        folder: Which.
        what: It is to be, in the words of the message: `the folder of a run`.

    Raises:
        InputError: It, or a folder that it is in, is a file.
    """
    place = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if place is not None and not place.is_dir():
        raise InputError(f"{place}: is a file, expected {what}; choose another name")


def remove_left(folder: Path, name: str = "*") -> None:
    """Removes what killed writers have left of a file, or of all files, in a folder that nobody else writes now."""
    pattern = f"{TEMPORARY_PREFIX}{'[0-9a-f]' * 12}-{name if name == '*' else glob.escape(name)}"
    for left in folder.glob(pattern):
        _remove(left)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, which is not held in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file whole: a reader sees the old content or the new, never a part."""
    with whole(path) as temporary:
        temporary.write_bytes(text.encode())


def write_json(path: Path, obj: Any) -> None:
    """Writes one JSON document whole, indented; NaN and infinities become null."""
    with whole(path) as temporary:
        temporary.write_bytes(_encode(obj, indent=2) + b"\n")


def read_json_object(path: Path, *, what: str) -> dict[str, Any]:
    """The object in a JSON file.

    Args:
        path: The file.
        what: What it should hold, for messages.

    Raises:
        InputError: It cannot be read, or is larger than such a file can be.
        DataError: It holds no JSON object.
    """
    found = parse_jsonl_line(read_regular(path, MAX_JSON_BYTES, what=what))
    if isinstance(found, str):
        raise DataError(f"{path}: holds {found}, expected {what} as one JSON object; mend the file or make it again")
    return found


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends one JSON object a line in a single write, and returns when it is on the disk.

    NaN and infinities become null. NumPy numbers and arrays, dataclasses and paths are written as plain values. A
    file has one writer at a time.

    Raises:
        DataError: The file ends in a half-written line; `repair_jsonl` takes it off.
    """
    data = b"".join(_encode(row) + b"\n" for row in rows)
    if not data:
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            raise DataError(f"{path}: ends in a half-written line; call repair_jsonl before appending")
        with writing(path):
            while data:  # one write, unless the system takes only a part of it
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, whole; the rows are taken one by one, and written as `append_jsonl` does."""
    with whole(path) as temporary, temporary.open("wb") as file:
        file.writelines(_encode(row) + b"\n" for row in rows)


def read_jsonl(path: Path, *, allow_cut: bool = True) -> Iterator[dict[str, Any]]:
    """Yields the object on each line of a JSON Lines file, without holding the file in memory.

    Blank lines, and a byte-order mark at the beginning, are passed over.

    Args:
        path: The file.
        allow_cut: Drop a last line that a crash left half-written. Where the file was written whole, this is False
            and such a line is an error like any other.

    Raises:
        InputError: There is no such file.
        DataError: A line is no JSON object; the message names the file and the line.
    """
    with open_regular(path, what="a JSON Lines file") as lines:
        for number, line in enumerate(lines, start=1):
            row = parse_jsonl_line(line)
            if isinstance(row, dict):
                yield row
            elif not line.strip():
                continue
            elif line.endswith(b"\n") or not allow_cut:
                what = row if line.endswith(b"\n") else f"a half-written last line ({row})"
                raise DataError(f"{path}:{number}: found {what}, expected one JSON object; mend or remove the line")


def repair_jsonl(path: Path) -> int:
    """Takes a half-written last line off a JSON Lines file, so that it can be appended to.

    A last line that is complete but for its newline is kept and given one. A missing file is left missing.

    Returns:
        The number of bytes removed.
    """
    data = path.read_bytes() if path.exists() else b""
    start = data.rfind(b"\n") + 1
    if start == len(data):
        return 0
    with path.open("r+b") as file:
        if isinstance(parse_jsonl_line(data[start:]), dict):
            file.seek(len(data))
            file.write(b"\n")
            dropped = 0
        else:
            file.truncate(start)
            dropped = len(data) - start
        file.flush()
        os.fsync(file.fileno())
    return dropped


def parse_jsonl_line(line: bytes) -> dict[str, Any] | str:
    """The JSON object in a line, or in a file, with or without a byte-order mark; or what is there instead."""
    try:
        value = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        return "bytes that are not UTF-8"
    except RecursionError:
        return "brackets nested too deeply"
    except ValueError as error:
        return f"no JSON ({error})"
    return value if isinstance(value, dict) else f"a JSON {type(value).__name__}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _encode(obj: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8."""
    value = plain(obj)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent).encode()
    except UnicodeEncodeError:  # a lone surrogate, which models do write; \uXXXX can carry it
        return json.dumps(value, allow_nan=False, indent=indent).encode()


def plain(obj: Any) -> Any:
    """The value as dicts, lists, text and finite numbers: what JSON and YAML can hold; NaN and infinities are None."""
    if obj is None or isinstance(obj, bool):
        return obj
    if isinstance(obj, str):
        return str.__str__(obj)  # of an enum that is text: its value, not its name
    if isinstance(obj, int):
        return int(obj)
    if isinstance(obj, float):
        return float(obj) if math.isfinite(obj) else None
    if isinstance(obj, Mapping):
        return {str(key): plain(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple | set | frozenset):
        return [plain(value) for value in obj]
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return {field.name: plain(getattr(obj, field.name)) for field in dataclasses.fields(obj)}
    if isinstance(obj, PurePath):
        return obj.as_posix()
    if hasattr(obj, "tolist"):  # NumPy and torch, which this layer does not import
        return plain(obj.tolist())
    raise TypeError(f"a {type(obj).__name__} cannot be written as JSON")


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
