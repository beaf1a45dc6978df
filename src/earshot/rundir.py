"""Files that survive a crash, and the run directory made of them.

A file is written whole (temporary name in the same folder, fsync, rename, fsync of the folder) or is append-only JSON
Lines, one write a call. JSON has no NaN: a number that is not finite is written as null, which readers take as
"could not be computed".
"""

from __future__ import annotations

import dataclasses
import fcntl
import glob
import importlib.metadata
import json
import math
import os
import platform
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, NoReturn

from earshot import __version__
from earshot.config.yaml_text import to_yaml
from earshot.errors import CannotWrite, DataError, InputError, disk_is_full, one_line
from earshot.files import open_regular, read_regular

TEMPORARY_PREFIX = ".tmp-"
"""How the name of a file begins that is still being written; readers ignore such files."""

LOCK_FILE = f"{TEMPORARY_PREFIX}lock"
"""In a folder that one process writes."""

MAX_JSON_BYTES = 256_000_000
"""Of a JSON document that is read whole; what is larger is something else given by mistake."""

_PACKAGES = (
    *(
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "accelerate",
        "peft",
        "trl",
        "vllm",
        "deepspeed",
    ),
    *("datasets", "huggingface-hub", "numpy", "scipy", "pillow", "pyarrow", "pydantic", "jaxtyping", "fastapi"),
    *("httpx2", "matplotlib"),
)


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
    return f"process {os.getpid()} on {platform.node()}: {command}, since {_now()}"


_own_locks: set[int] = set()


def _let_go() -> None:
    """In a forked child, such as a loader's worker: it writes nothing, and outlives a parent that is killed."""
    while _own_locks:
        os.close(_own_locks.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Holds a folder, or a file that is to be written whole, for one process until it ends, however it ends.

    What a killed writer of the file has left beside it is removed; of the lock, nothing stays.

    Forked children do not hold it.

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


def remove_left(folder: Path, name: str = "*") -> None:
    """Removes what killed writers have left of a file, or of all files, in a folder that nobody else writes now."""
    pattern = f"{TEMPORARY_PREFIX}{'[0-9a-f]' * 12}-{name if name == '*' else glob.escape(name)}"
    for left in folder.glob(pattern):
        _remove(left)


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


class _Place:
    """Where a file or a folder of a run lies, by its name in the run's folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: RunDir, kind: type[RunDir]) -> Path:
        return run.path / self._name


@dataclasses.dataclass(frozen=True, slots=True)
class RunDir:
    """The folder of one run; the attributes say where each of its files lies."""

    path: Path

    config = _Place("config.yaml")
    environment = _Place("environment.json")
    metrics_log = _Place("metrics.jsonl")
    rollouts = _Place("rollouts")
    checkpoints = _Place("checkpoints")
    model = _Place("model")
    errors_log = _Place("errors.jsonl")
    settings = _Place("evaluation.json")
    """What the predictions were made with; they are only added to with the same."""
    parts = _Place("predictions.parts")
    predictions = _Place("predictions.jsonl")
    people = _Place("people.jsonl")
    metrics = _Place("metrics.json")

    @classmethod
    def create(cls, path: Path, *, resume: bool = False) -> RunDir:
        """Makes the folder of a new run, or with `resume` takes up the one that is there.

        Taking up a run repairs the ends of its JSON Lines files, so that appending can go on.

        Raises:
            InputError: A run is there and `resume` is off, or the folder holds something that is no run.
        """
        run = cls(Path(path))
        if run.exists():
            if not resume:
                raise InputError(f"{path}: a run is already there; resume it (--resume) or choose another folder")
            for log in (run.metrics_log, run.errors_log, run.predictions):
                repair_jsonl(log)
            return run
        if run.path.exists() and not run.path.is_dir():
            raise InputError(f"{path}: is a file, expected the folder of a run; choose another name")
        if run.path.is_dir() and any(not f.name.startswith(TEMPORARY_PREFIX) for f in run.path.iterdir()):
            raise InputError(f"{path}: holds other files and no run; choose an empty or a new folder")
        run.path.mkdir(parents=True, exist_ok=True)
        return run

    def exists(self) -> bool:
        """Whether a run has begun here: one of the files is there that every run starts by writing."""
        begun = (self.config, self.environment, self.metrics_log, self.predictions)
        return any(file.exists() for file in begun)

    def evaluations(self) -> list[RunDir]:
        """The folders that may hold an evaluation: the run's own, and those in its `eval/`."""
        return [self, *(RunDir(folder) for folder in sorted((self.path / "eval").glob("*")) if folder.is_dir())]

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keeps the resolved configuration, in the order of its keys; `load_config` reads it back as it was."""
        write_text(self.config, to_yaml(plain(config)))


def names_of_runs(paths: Sequence[Path]) -> list[str]:
    """The name of each run's folder, with more of its path where two folders have the same name."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while depth < 8 and len({p[-depth:] for p in parts}) < len({*parts}):
        depth += 1
    return ["/".join(p[-depth:]) for p in parts]


def describe_environment(**extra: Any) -> dict[str, Any]:
    """What a run was made with: commit, versions, platform, CPU count and time, and whatever is passed besides.

    Neither the user, the machine's name nor an absolute path is in it, so that a run directory can be published.
    """
    versions = {"earshot": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "time": _now(),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": versions,
        "platform": f"{sys.platform} {platform.release()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        **extra,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _commit() -> str | None:
    """The commit of Earshot's own sources, `-dirty` where they differ from it; None outside a repository."""
    folder = Path(__file__).resolve().parent
    # Hooks set GIT_DIR, which would name another repository than the one these sources lie in.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=folder, env=environ, capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # Installed into another project's tree, the sources are in its folder but not among its files.
    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and git("status", "--porcelain", "--", ".") else commit
