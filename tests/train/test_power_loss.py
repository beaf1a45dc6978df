"""Power may be lost between any two calls that write a checkpoint: what is on the disk then is a run to go on with."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.trainer import TRAINER_STATE_NAME

from earshot.rundir import RunDir
from earshot.train.checkpoints import Checkpoints, latest_checkpoint

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "config.json", "adapter/weights.bin")


class Disk:
    """What of a folder would be left by a loss of power, as far as POSIX promises anything.

    A file's bytes are on the disk once the file was synced, and a name once its folder was; what is removed may be gone
    at once.

    Attributes:
        root: The folder.
        images: After each call: what the folder then holds at worst, name by name; None are bytes that may be anything.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images: list[dict[str, bytes | None]] = []
        self._bytes: dict[int, bytes] = {}
        self._names: dict[Path, set[str]] = {root: {entry.name for entry in root.iterdir()}}

    def synced(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_dir():
            self._names[path] = {entry.name for entry in path.iterdir()}
        else:
            self._bytes[path.stat().st_ino] = path.read_bytes()

    def called(self) -> None:
        self._names = {folder: names for folder, names in self._names.items() if folder.is_dir()}
        self.images.append(dict(self._on_disk(self.root)))

    def _on_disk(self, folder: Path) -> Iterator[tuple[str, bytes | None]]:
        known = self._names.get(folder, set())
        for entry in folder.iterdir():
            if entry.name not in known:
                continue
            if entry.is_dir():
                yield from self._on_disk(entry)
            else:
                now = entry.read_bytes()
                kept = self._bytes.get(entry.stat().st_ino)
                yield entry.relative_to(self.root).as_posix(), kept if kept == now else None


@contextmanager
def watched(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def after(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            found = real(*args, **kwargs)
            if name == "fsync":
                disk.synced(args[0])
            disk.called()
            return found

        return call

    with monkeypatch.context() as patch:
        for name in ("fsync", "rename", "replace", "unlink", "rmdir", "mkdir"):
            patch.setattr(os, name, after(name, getattr(os, name)))
        yield


def write_checkpoint(run: RunDir, step: int, saver: Checkpoints) -> None:
    """What transformers writes, none of it synced, and then what we do."""
    folder = run.checkpoints / f"checkpoint-{step}"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"{name} of step {step}".encode() * 50)
    (folder / TRAINER_STATE_NAME).write_text(json.dumps({"max_steps": 9}))
    state = SimpleNamespace(global_step=step, is_world_process_zero=True)
    together = SimpleNamespace(wait_for_everyone=lambda: None)
    saver.on_save(SimpleNamespace(output_dir=str(run.checkpoints), distributed_state=together), state, None)


def test_whatever_is_on_the_disk_there_is_a_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()

    def sign(folder: Path) -> None:
        (folder / "earshot.json").write_text("{}")

    trainer = SimpleNamespace(args=SimpleNamespace(output_dir=str(run.checkpoints)))
    saver = Checkpoints(sign, trainer, lambda step: True, keep=1)
    disk = Disk(run.path)
    counted = []
    with watched(disk, monkeypatch):
        for step in (1, 2, 3):
            write_checkpoint(run, step, saver)
            counted.append(len(disk.images))
    for number, image in enumerate(disk.images):
        for lost in (b"", b"\0" * 40):  # what unsynced bytes come to on file systems that keep the names
            there = RunDir(tmp_path / "image")
            for name, data in image.items():
                (there.path / name).parent.mkdir(parents=True, exist_ok=True)
                (there.path / name).write_bytes(lost if data is None else data)
            found = latest_checkpoint(there)
            done = sum(number >= count - 1 for count in counted)
            assert (0 if found is None else found.step) >= done, f"after call {number} of {len(disk.images)}"
            shutil.rmtree(there.path, ignore_errors=True)
    assert len(disk.images) > 60
