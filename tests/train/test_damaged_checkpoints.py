"""A damaged checkpoint is named, with its file, and the whole one before it is taken: never a silent or a raw error."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from earshot.cli.main import main
from earshot.errors import InputError
from earshot.files import write_json
from earshot.rundir import RunDir
from earshot.train.checkpoints import MANIFEST, OURS, fault_of, latest_checkpoint, rewind, seal
from tests.vlm.models import tiny

FILES = (
    *("chat_template.jinja", "config.json", "earshot.json", OURS, "generation_config.json", "model.safetensors"),
    *("optimizer.pt", "processor_config.json", "rng_state.pth", "scheduler.pt", "tokenizer.json"),
    *("tokenizer_config.json", "trainer_state.json", "training_args.bin"),
)  # of a checkpoint; the run at the end of this file holds the list to that


def flipped(file: Path, times: int, seed: int) -> None:
    data, draw = bytearray(file.read_bytes()), random.Random(seed)
    for bit in draw.sample(range(8 * len(data)), times):
        data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def elsewhere(file: Path) -> None:
    """A link to what is no longer there."""
    file.unlink()
    file.symlink_to("gone")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "empty": lambda file: file.write_bytes(b""),
    "one bit": lambda file: flipped(file, 1, 0),
    "three bits": lambda file: flipped(file, 3, 1),
    "deleted": Path.unlink,
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a broken link": elsewhere,
}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints as transformers writes them, whole."""
    checkpoints = RunDir(tmp_path_factory.mktemp("runs") / "run").checkpoints
    for step in (4, 5):
        folder = checkpoints / f"checkpoint-{step}"
        tiny("llava").save(folder)
        for name in ("optimizer.pt", "rng_state.pth", "scheduler.pt", "training_args.bin"):
            torch.save({"a": torch.arange(16)}, folder / name)
        write_json(folder / "trainer_state.json", {"global_step": step, "max_steps": 6})
        write_json(folder / OURS, {"bad_steps": 0, "in_a_row": 0})
        seal(folder)
        assert {file.name for file in folder.iterdir()} == {*FILES, MANIFEST}
    return checkpoints.parent


@pytest.fixture
def run(sealed: Path, tmp_path: Path) -> RunDir:
    return RunDir(Path(shutil.copytree(sealed, tmp_path / "run")))


def passed_over(run: RunDir, *words: str) -> None:
    told: list[str] = []
    found = latest_checkpoint(run, tell=told.append)
    assert found is not None and found.step == 4
    (line,) = told
    assert line.startswith("checkpoint-5 is passed over: ") and [w for w in words if w not in line] == [], line


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_of_every_file_is_told_and_the_one_before_is_taken(run: RunDir, damage: str) -> None:
    newest, kept = run.checkpoints / "checkpoint-5", run.path / "kept"
    for name in (*FILES, MANIFEST):
        shutil.copy(newest / name, kept)
        DAMAGES[damage](newest / name)
        # A bit of the manifest may turn up as that of the file which it is about.
        passed_over(run, *([name] if name != MANIFEST or damage in ("half", "empty", "deleted") else []))
        if (newest / name).is_dir():
            (newest / name).rmdir()
        kept.replace(newest / name)
    assert latest_checkpoint(run, tell=pytest.fail) is not None


@pytest.mark.parametrize("why", ["damaged", "of an earlier version"])
def test_where_none_is_whole_nothing_is_begun_anew_over_them(run: RunDir, why: str) -> None:
    for folder in run.checkpoints.iterdir():
        if why == "damaged":
            flipped(folder / "model.safetensors", 1, 0)
        else:
            (folder / MANIFEST).unlink()
            (folder / OURS).unlink()
    assert latest_checkpoint(run) is None
    with pytest.raises(InputError, match="none of its checkpoints can be gone on from"):
        rewind(run, None)
    assert len([*run.checkpoints.iterdir()]) == 2


def test_one_that_was_cut_off_while_it_was_written_is_begun_anew(run: RunDir) -> None:
    shutil.rmtree(run.checkpoints / "checkpoint-4")
    (run.checkpoints / "checkpoint-5" / MANIFEST).unlink()
    rewind(run, latest_checkpoint(run))
    assert not [*run.checkpoints.iterdir()]


def test_a_bit_of_a_manifest_that_flips_is_told_or_changes_nothing(run: RunDir) -> None:
    folder = run.checkpoints / "checkpoint-5"
    kept = (folder / MANIFEST).read_bytes()
    for seed in range(150):
        flipped(folder / MANIFEST, 1, seed)
        if fault_of(folder) is None:
            assert json.loads((folder / MANIFEST).read_bytes()) == json.loads(kept)
        (folder / MANIFEST).write_bytes(kept)


def test_a_file_that_may_not_be_read_is_told(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def denied(self: Path, *args: object, **kwargs: object) -> object:
        if self.name == "optimizer.pt" and self.parent.name == "checkpoint-5":
            raise PermissionError(13, os.strerror(13))
        return real(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", denied)  # root may read whatever the file's mode is
    passed_over(run, "Permission denied")


def test_links_to_files_that_are_as_they_were_written_are_taken(run: RunDir, tmp_path: Path) -> None:
    folder = run.checkpoints / "checkpoint-5"
    for name in FILES:
        shutil.move(folder / name, tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    found = latest_checkpoint(run, tell=pytest.fail)
    assert found is not None and found.step == 5
    flipped(tmp_path / "optimizer.pt", 1, 0)
    passed_over(run, "optimizer.pt")


def test_without_any_whole_checkpoint_each_is_told(run: RunDir) -> None:
    for folder in run.checkpoints.iterdir():
        (folder / MANIFEST).unlink()  # as earlier versions and other programs write them
    told: list[str] = []
    assert latest_checkpoint(run, tell=told.append) is None
    assert [line.split(" is passed over: it has no manifest.json")[0] for line in told] == [
        "checkpoint-5",
        "checkpoint-4",
    ]


def test_a_run_is_resumed_from_the_checkpoint_before_the_damaged_one(
    models: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "sft.yaml"
    table = {"max_steps": 3, "save_steps": 1, "per_device_train_batch_size": 2, "save_total_limit": 3}
    told = {"model": {"path": str(models / "llava"), "device": "cpu"}, "data": {"train": str(pairs)}, "trl": table}
    config.write_text(json.dumps({**told, "out": str(tmp_path / "run")}))
    assert main(["train", "sft", str(config)]) == 0
    run = RunDir(tmp_path / "run")
    newest = run.checkpoints / "checkpoint-3"
    assert {file.name for file in newest.iterdir()} == {*FILES, MANIFEST}
    whole = (run.model / "model.safetensors").read_bytes()
    shutil.rmtree(run.model)
    flipped(newest / "optimizer.pt", 3, 0)
    capsys.readouterr()
    assert main(["train", "sft", str(config), "--resume"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "checkpoint-3 is passed over: optimizer.pt has changed since it was written" in out
    assert (run.model / "model.safetensors").read_bytes() == whole
