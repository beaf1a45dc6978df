"""Who writes a pair set: one process a folder, over what a killed one left, and over nothing else."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from earshot.data.importing import import_set
from earshot.data.pairset import PairSet, read_pairs
from earshot.data.rows import iter_rows
from earshot.data.writer import PairSetWriter
from earshot.errors import CannotWrite, DataError, InputError
from earshot.locks import sole_writer
from earshot.types import Pair
from tests.killing import contents, killed_at_each_step

Write = Callable[..., Path]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    for n in range(2):
        Image.new("RGB", (9, 9), (90 * n, 0, 0)).save(folder / f"{n}.png")
    group = {"id": "g", "prompt": "a cat", "generations": ["0.png", "1.png"], "ranking": [1, 2]}
    (folder / "test.json").write_text(json.dumps([group]))
    return folder


def test_an_import_killed_at_any_step_is_begun_anew_by_the_same_call(source: Path, tmp_path: Path) -> None:
    import_set("imagereward", source, tmp_path / "undisturbed")
    expected, out = contents(tmp_path / "undisturbed"), tmp_path / "deep" / "out"
    told: list[str] = []
    half_written = n_kills = 0
    for _ in killed_at_each_step(lambda: import_set("imagereward", source, out), out):
        n_kills += 1
        half_written += out.is_dir() and any(out.glob(".tmp-*-metadata.parquet"))
        if (out / "metadata.parquet").exists():  # it was killed when it had done all but to let go of the lock
            with pytest.raises(InputError, match="holds a finished pair set"):
                import_set("imagereward", source, out)
        else:
            import_set("imagereward", source, out, tell=told.append)
        assert contents(out) == expected
        shutil.rmtree(out)
    assert n_kills > 20
    assert told == [f"{out}: a pair set that was never finished is removed and begun anew"] * half_written != []


def test_a_killed_writer_leaves_what_readers_call_half_written(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    next(step for step in killed_at_each_step(lambda: import_set("imagereward", source, folder), folder) if step == 20)
    for reading in (read_pairs, PairSet, iter_rows):
        with pytest.raises(DataError, match="half-written"):
            reading(folder)


@pytest.mark.parametrize(
    "name", ["notes.txt", ".tmp-notes", "images/cat.png", "images/3f/cat.png", "images/cats/x", "truth.jsonl", "d/x"]
)
def test_what_is_not_ours_is_not_touched(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    (folder / "images" / "3f").mkdir(parents=True)
    (folder / "images" / "3f" / f"{'3f' * 16}.png").touch()
    (folder / ".tmp-0123456789ab-metadata.parquet").touch()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("keep")
    before = contents(folder)
    with pytest.raises(InputError, match="holds other files"):
        PairSetWriter(folder)
    assert contents(folder) == before


def test_links_to_other_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / f"{'3f' * 16}.png").write_text("keep")
    for name in ("images", "images/3f"):
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(tmp_path / "mine")
        (folder / ".tmp-0123456789ab-metadata.parquet").touch()
        with pytest.raises(InputError, match="holds other files"):
            PairSetWriter(folder)
    assert (tmp_path / "mine" / f"{'3f' * 16}.png").read_text() == "keep"


def test_images_without_the_mark_of_a_writer_are_somebodys(tmp_path: Path) -> None:
    (tmp_path / "images" / "3f").mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds other files \(images\)"):
        PairSetWriter(tmp_path)


def test_a_folder_has_one_writer_who_is_named_to_the_second(pairs: list[Pair], tmp_path: Path) -> None:
    folder = tmp_path / "set"
    taken = rf"set: another process writes there \(process {os.getpid()} on .*, since 2.*\); wait for it"
    with PairSetWriter(folder) as writer:
        writer.add(pairs[0])
        for second in (lambda: PairSetWriter(folder), lambda: sole_writer(folder).__enter__()):
            with pytest.raises(InputError, match=taken):
                second()
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "images", "metadata.parquet"]


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from earshot.data.writer import PairSetWriter\n"
        "with PairSetWriter(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    )
    folder = tmp_path / "set"
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"mine\n"
        with pytest.raises(InputError, match=rf"another process writes there \(process {other.pid} on"):
            PairSetWriter(folder)
        other.send_signal(signal.SIGKILL)
        other.wait()
    with pytest.raises(DataError, match="no pair was written"), PairSetWriter(folder):
        pass
    assert list(folder.iterdir()) == []


def test_a_place_below_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "deep" / "set"):
        with pytest.raises(InputError, match=r"/file: is a file, expected a folder for the pair set"):
            PairSetWriter(folder)


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with (
        pytest.raises(CannotWrite, match=r"set: cannot be written \(No space left on device\); make room"),
        PairSetWriter(tmp_path / "set") as writer,
    ):
        writer.add(pairs[0])
    assert list(tmp_path.iterdir()) == []


def test_linked_images_take_no_room_and_others_are_copied(
    write: Write, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list(read_pairs(write(pairs)))
    for name, link in (("linked", True), ("copied", False)):
        with PairSetWriter(tmp_path / name, link=link) as writer:
            for pair in first:
                writer.add(pair)
        assert contents(tmp_path / name / "images") == contents(tmp_path / "set" / "images")
        same = [path.samefile(tmp_path / "set" / path.relative_to(tmp_path / name))
                for path in (tmp_path / name / "images").rglob("*.png")]  # fmt: skip
        assert same == [link] * 4

    def other_disk(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", other_disk)
    with PairSetWriter(tmp_path / "far", link=True) as writer:
        writer.add(first[0])
    assert len(contents(tmp_path / "far" / "images")) == 2


@pytest.mark.slow
def test_the_removal_of_what_was_left_can_be_killed_too(source: Path, tmp_path: Path) -> None:
    import_set("imagereward", source, tmp_path / "undisturbed")
    expected, left, out = contents(tmp_path / "undisturbed"), tmp_path / "left", tmp_path / "out"
    next(step for step in killed_at_each_step(lambda: import_set("imagereward", source, left), left) if step == 30)
    shutil.copytree(left, out)
    for step in killed_at_each_step(lambda: import_set("imagereward", source, out), out, every=4):
        import_set("imagereward", source, out)
        assert contents(out) == expected
        shutil.rmtree(out)
        shutil.copytree(left, out)
        if step == 20:  # by then it is begun anew
            break
