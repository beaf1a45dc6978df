"""What a record knows of a step: finished, cut off, or made of something else."""

import json
from pathlib import Path

import pytest

from earshot.errors import DataError
from earshot.lab.experiment.hashing import Hashes, folder_hash
from earshot.lab.experiment.records import Record, Step, differences, log_tail


def step(folder: Path, **inputs: object) -> Step:
    return Step("train", folder / "train", ("train", "grpo"), inputs, ("model",))


def test_a_step_is_missing_then_interrupted_then_finished(tmp_path: Path) -> None:
    one = step(tmp_path, steps=3)
    assert Record(tmp_path).state(one) == ("missing", [])
    Record(tmp_path).keep(one, "running")
    assert Record(tmp_path).state(one) == ("interrupted", [])
    Record(tmp_path).keep(one, "finished", outputs={"model": "sha256:1"})
    assert Record(tmp_path).state(one) == ("stale", [f"{one.folder}: what it made is gone"])
    (one.folder / "model").mkdir(parents=True)
    assert Record(tmp_path).state(one) == ("finished", [])
    assert Record(tmp_path).output("train") == {"model": "sha256:1"}
    Record(tmp_path).drop("train")
    assert Record(tmp_path).state(one) == ("missing", []) and Record(tmp_path).output("train") is None


def test_a_change_makes_it_stale_and_is_named_also_before_it_was_finished(tmp_path: Path) -> None:
    Record(tmp_path).keep(step(tmp_path, trl={"max_steps": 3, "lr": 1e-5}, model="sha256:a"), "running")
    state, changed = Record(tmp_path).state(step(tmp_path, trl={"max_steps": 4, "lr": 1e-5}, model="sha256:b", new=1))
    assert state == "stale"
    assert changed == ["model: its content", "new: None → 1", "trl.max_steps: 3 → 4"]


def test_tuples_and_lists_and_the_order_of_keys_are_no_difference() -> None:
    assert differences({"a": [1, 2], "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": (1, 2)}) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"steps": 3}', '{"steps": {"train": {}}}'])
def test_a_broken_record_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match="no record"):
        Record(tmp_path)


def test_the_tail_of_a_log_has_no_empty_lines_and_survives_bytes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert log_tail(log) == []
    log.write_bytes(b"\xff\n" + b"".join(b"line %d\r\n\n" % i for i in range(50)))
    assert log_tail(log)[-1] == "line 49" and len(log_tail(log)) == 20


def test_a_folders_hash_tells_names_and_contents_and_not_when_it_was_made(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        (folder / "images").mkdir(parents=True)
        (folder / "metadata.jsonl").write_text("x")
        (folder / "dataset.json").write_text(json.dumps(folder.name))
        (folder / ".tmp-1").write_text(folder.name)
    assert folder_hash(a) == folder_hash(b)
    (b / "metadata.jsonl").rename(b / "metadata.json")
    assert folder_hash(a) != folder_hash(b)
    hashes = Hashes()
    before = hashes.of(str(a))
    (a / "metadata.jsonl").write_text("y")
    assert hashes.of(str(a)) == before  # read once
    hashes.forget(tmp_path)
    assert hashes.of(str(a)) != before
    assert hashes.of("owner/name") == "owner/name" and hashes.of("world:listener").startswith("sha256:")
